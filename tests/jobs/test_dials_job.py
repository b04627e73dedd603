"""Every failure of a job and of the proxy before it during a creation: what the caller is told, and that no job is left running."""
# ctest: timeout=300
import json
import re
import select
import socket
import threading

import pytest
from agent import wait_until
from localhub.faults import rate_limit_headers
from table import FAR, SOON, create, hub, served  # noqa: F401


@pytest.mark.parametrize("stage", ["ERROR", "CANCELED", "DELETED", "COMPLETED"])
@pytest.mark.parametrize("at", ["scheduling", "boot", "running"])
def test_a_job_that_ends(hub, at, stage):
    """A terminal stage fails at once, with id, stage and message."""
    hub.dial(fail_at=at, fail_stage=stage, fail_message="No more\ncapacity \x1b[31mleft", die_after=0)
    done = create(hub)
    job, = done.jobs
    assert done.name == "AGENT" and done.seconds < SOON and done.creates == 1, done
    assert job.id in done.message and stage in done.message and re.search("No more.capacity .*left", done.message), done
    assert not re.search(r"[\x00-\x1f]", done.message)


def events_of(lines):
    return "".join(f'data: {{"timestamp":"x","data":{line}}}\n\n' for line in lines)


def test_the_last_lines_of_the_log(hub):
    """They are in the text, the last ones first of all; no secret is."""
    hub.dial(fail_at="boot", boot_delay=1.0, fail_message="Out of luck")
    secret = "geheim-9876"
    known = len(hub.jobs)

    def log():
        job = wait_until(lambda: len(hub.jobs) > known and hub.jobs.last(), what="the job")
        lines = [f"line {n} " + "x" * 60 for n in range(30)] + [
            f"token {hub.token} and {job.secrets['SBX_TOKEN']}", f"S={secret}{secret}", "the last line \x1b[31m\u20ac"]
        hub.fault("logs", status=200, body=events_of(map(json.dumps, lines)), headers={"Content-Type": "text/event-stream"})
        return job

    result = []
    thread = threading.Thread(target=lambda: result.append(log()))
    thread.start()
    done = create(hub, secrets=[f"S={secret}"])
    thread.join(20)
    job = result[0]
    assert done.name == "AGENT" and job.id in done.message and "ERROR: Out of luck" in done.message, done
    assert "the last line" in done.message and "\u20ac" in done.message and "S=***" in done.message and "line 1 " not in done.message, done
    for hidden in (hub.token, secret, job.secrets["SBX_TOKEN"]):
        assert hidden not in done.message and hidden not in str(done.events)


@pytest.mark.parametrize("how", [{"status": 500}, {"status": 403}, {"hang": True}, {"cut": "after"}], ids=["500", "403", "hang", "cut"])
def test_a_log_that_cannot_be_had(hub, how):
    hub.dial(fail_at="boot", fail_message="Out of luck")
    hub.fault("logs", **how)
    done = create(hub)
    assert done.name == "AGENT" and done.jobs[0].id in done.message and "ERROR: Out of luck" in done.message, done
    assert done.seconds < 4 + SOON


def test_an_image_that_is_none(hub):
    done = create(hub, image="no/such:image")
    assert done.name == "AGENT" and "Failed to pull image 'no/such:image'" in done.message and done.seconds < SOON, done


@pytest.mark.parametrize("phase", ["scheduling_delay", "boot_delay"])
def test_what_takes_too_long(hub, phase):
    hub.dial(**{phase: 1000})
    done = create(hub, 700)
    stage = "SCHEDULING" if phase == "scheduling_delay" else "RUNNING"
    assert done.name == "TIMEOUT" and done.seconds < 0.7 + SOON, done
    assert "700 ms" in done.message and done.jobs[0].id in done.message and stage in done.message, done
    assert [job.stage for job in done.jobs] == ["CANCELED"]


# ---------------------------------------------------------------- The proxy

@pytest.mark.parametrize("unready", [404, 500, 502, 503, 504, "refuse", "hang"])
def test_not_ready_yet(hub, unready):
    hub.dial(unready=unready, boot_delay=0.4)
    done = create(hub)
    assert done.name == "OK" and done.creates == 1, done


@pytest.mark.parametrize("status", [401, 403])
def test_the_proxy_refuses_the_token(hub, status):
    hub.fault("proxy", status=status, path="/health")
    done = create(hub)
    assert done.name == "AUTH" and done.seconds < SOON and done.status == status and done.jobs[0].id in done.message, done


@pytest.mark.parametrize("how", [{"status": 404}, {"status": 410}, {"status": 200, "body": "hello"}, {"status": 302, "headers": {"Location": "/x"}},
                                 {"cut": "before"}, {"cut": "after"}, {"cut": "reply", "bytes": 5}, {"hang": True}],
                         ids=["404", "410", "other", "302", "before", "after", "reply", "hang"])
def test_an_agent_that_never_answers(hub, how):
    hub.fault("proxy", path="/health", **how)
    done = create(hub, 900)
    assert done.name == "TIMEOUT" and done.seconds < 0.9 + SOON, done
    assert done.jobs[0].id in done.message and "RUNNING" in done.message, done


@pytest.mark.parametrize("how", [{"status": 429, "headers": rate_limit_headers(0, 1)}, {"status": 500}, {"status": 503}, {"cut": "before"},
                                 {"cut": "after"}, {"cut": "reply", "bytes": 5}, {"delay": 0.3}],
                         ids=["429", "500", "503", "before", "after", "reply", "delay"])
def test_an_agent_that_answers_at_last(hub, how):
    hub.fault("proxy", path="/health", count=2, **how)
    done = create(hub)
    assert done.name == "OK" and done.creates == 1, done


# ---------------------------------------------------------------- What the Hub says

def test_no_address(hub):
    hub.dial(expose_urls=False)
    done = create(hub)
    assert done.name == "PROTOCOL" and done.seconds < SOON and done.jobs[0].id in done.message and "no address" in done.message, done


@pytest.fixture
def elsewhere():
    """A listener at all addresses of this machine; called, it tells whether anybody has come."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        def visited():
            return bool(select.select([listener], [], [], 0)[0])
        visited.port = listener.getsockname()[1]
        yield visited


URLS = {"other": "http://127.0.0.1:{port}/p/{other}--49983.hf.jobs", "name": "https://evil.example:{port}/{id}--49983.hf.jobs",
        "user": "http://user@127.0.0.1:{port}/p/{id}--49983.hf.jobs", "host": "http://127.0.0.2:{port}/p/{id}--49983.hf.jobs",
        "own": "http://127.0.0.1:{port}/p/{id}--49983.hf.jobs"}


@pytest.mark.parametrize("url", URLS)
def test_a_foreign_address(hub, monkeypatch, elsewhere, url):
    """Nothing goes there. What stands at the Hub's own address under the job's name is asked: the control."""
    with open(hub.directory / "hosts", "a") as hosts:
        hosts.write("127.0.0.1 evil.example\n")
    monkeypatch.setattr(type(hub), "port_url", lambda self, job, port: URLS[url].format(id=job.id, other="0" * 24, port=elsewhere.port))
    done = create(hub, 900 if url == "own" else FAR)
    assert elsewhere() == (url == "own")
    if url == "own":
        assert done.name == "TIMEOUT", done
    else:
        assert done.name == "PROTOCOL" and done.jobs[0].id in done.message and "not its own" in done.message, done


@pytest.mark.parametrize("options,dials", [({"labels": ["a.b=c"]}, {}), ({"labels": ["no-value"]}, {}), ({"labels": ["hf-sandbox=2"]}, {}),
                                           ({"labels": ["k=" + "v" * 101]}, {}), ({"lifetime_ms": -1}, {}),
                                           ({"lifetime_ms": 7200000}, {"max_timeout": 3600}), ({"flavor": "no-such"}, {})])
def test_what_cannot_be(hub, options, dials):
    hub.dial(**dials)
    done = create(hub, **options)
    assert done.name == "INVALID" and done.seconds < SOON and not done.jobs, done


def test_a_size_that_is_always_refused(hub):
    hub.dial(max_request=10)
    done = create(hub)
    assert done.name == "TOO_LARGE" and done.creates == 2 and "413" in done.message, done


def test_an_answer_that_is_no_job(hub):
    """It is looked for all the same, and asked for again only so often."""
    hub.fault("create", status=200, body={"id": "../x", "status": {"stage": "RUNNING"}})
    done = create(hub)
    assert done.name == "PROTOCOL" and "describes no job" in done.message and done.creates == 3, done
