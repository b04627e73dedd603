"""Every dial and fault of the API does what it says, for as long as it says; where PROTOCOL is unsure, both ways."""
# ctest: timeout=600
import datetime
import email.utils
import http.client
import json
import time

import pytest
from agent import wait_until
from localhub import Accounts, Dials, Hub
from localhub.ask import ask, ask_port, request_of, run


def ended(job, timeout=30):
    wait_until(lambda: not job.running and job.container is None, timeout, "the end of the job")
    return job


KINDS = {"harnesses": ("GET", "/api/agent-harnesses"), "whoami": ("GET", "/api/whoami-v2"), "hardware": ("GET", "/api/jobs/hardware"),
         "create": ("POST", "/api/jobs/alice"), "list": ("GET", "/api/jobs/alice"), "inspect": ("GET", "/api/jobs/alice/ID"),
         "cancel": ("POST", "/api/jobs/alice/ID/cancel"), "labels": ("PUT", "/api/jobs/alice/ID/labels"),
         "logs": ("GET", "/api/jobs/alice/ID/logs"), "metrics": ("GET", "/api/jobs/alice/ID/metrics"), "telemetry": ("HEAD", "/api/telemetry/x"),
         "expose": ("PUT", "/api/jobs/alice/ID/expose"), "duplicate": ("POST", "/api/jobs/alice/ID/duplicate"),
         "resolve": ("GET", "/buckets/huggingface/sbx-server/resolve/sbx-server")}


def ask_kind(hub, kind, job_id):
    method, path = KINDS[kind]
    body = {"create": request_of("true"), "labels": {"labels": {}}, "expose": {}}.get(kind)
    return ask(hub, method, path.replace("ID", job_id), body)


@pytest.fixture(scope="module")
def job(hub):
    return ended(run(hub, "true"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_request_can_fail(hub, job, kind):
    usual = ask_kind(hub, kind, job.id).status
    assert usual in (200, 204) or (kind, usual) == ("metrics", 500)
    for status in (401, 403, 404, 500, 502, 503):
        hub.fault(kind, status=status, count=1)
        reply = ask_kind(hub, kind, job.id)
        assert reply.status == status and (kind == "telemetry" or reply.json["error"])
        assert reply.headers["X-Request-Id"]
    for cut in ("before", "after"):
        hub.fault(kind, cut=cut, count=1)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask_kind(hub, kind, job.id)
    assert ask_kind(hub, kind, job.id).status == usual
    assert hub.requests.of(kind)[-2].fault is not None and hub.requests.of(kind)[-1].fault is None


def test_a_lost_reply_is_one_of_a_job_that_exists(hub):
    """DESIGN 6: acted upon or not is for the client to find out."""
    before = len(hub.jobs)
    hub.fault("create", cut="before", count=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        run(hub, "true", labels={"client-key": "one"})
    assert len(hub.jobs) == before
    hub.fault("create", cut="after", orderly=True, count=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        run(hub, "true", labels={"client-key": "two"})
    assert len(hub.jobs) == before + 1
    [found] = ask(hub, "GET", "/api/jobs/alice?label=client-key%3Dtwo").json
    assert found["id"] == hub.jobs.last().id


def test_a_hanging_and_a_slow_request(hub):
    hub.fault("whoami", hang=True, count=1)
    with pytest.raises(TimeoutError):
        ask(hub, "GET", "/api/whoami-v2", timeout=0.3)
    hub.fault("whoami", delay=0.3, count=1)
    start = time.monotonic()
    assert ask(hub, "GET", "/api/whoami-v2").status == 200 and time.monotonic() - start >= 0.3


@pytest.mark.parametrize("form", ["ratelimit", "retry-after", "both"])
def test_rate_limits(hub, form):
    """PROTOCOL 2, http_backoff: either header, or both."""
    hub.rate_limit("list", seconds=7, form=form, count=1)
    reply = ask(hub, "GET", "/api/jobs/alice")
    assert reply.status == 429
    assert (reply.headers.get("Retry-After") == "7") == (form != "ratelimit")
    if form != "retry-after":
        assert reply.headers["ratelimit"] == '"api";r=0;t=7' and reply.headers["ratelimit-policy"] == '"fixed window";"api";q=500;w=300'
    assert ask(hub, "GET", "/api/jobs/alice").headers["ratelimit"].startswith('"api";r=')


def test_by_chance_and_by_place(hub):
    fault = hub.fault("*", status=500, rate=0.3)
    refused = sum(ask(hub, "GET", "/api/whoami-v2").status == 500 for _ in range(100))
    assert 10 < refused < 55 and fault.hits == refused
    hub.clear_faults()
    fault = hub.fault("inspect", status=404, job="f" * 24)
    job = ended(run(hub, "true"))
    assert ask(hub, "GET", f"/api/jobs/alice/{job.id}").status == 200 and fault.hits == 0
    with pytest.raises(ValueError):
        hub.fault("no such kind", status=500)
    with pytest.raises(ValueError):
        hub.fault("create")


# -- credentials and errors


@pytest.mark.parametrize("token, status", [(Accounts.ALICE, 200), (Accounts.ALICE_READ, 403), (Accounts.ALICE_NONE, 403), (Accounts.BOB, 403),
                                           (Accounts.MALLORY, 403), (Accounts.UNKNOWN, 401), (False, 401)])
def test_who_may_create(hub, token, status):
    reply = ask(hub, "POST", "/api/jobs/alice", request_of("true"), token=token)
    assert reply.status == status
    if status == 401:
        assert reply.headers["X-Error-Message"] == ("Invalid credentials in Authorization header" if token else "Invalid username or password.")


def test_who_may_look(hub, job):
    for token, status in ((Accounts.ALICE_READ, 200), (Accounts.BOB, 403), (Accounts.ALICE_NONE, 403)):
        assert ask(hub, "GET", f"/api/jobs/alice/{job.id}", token=token).status == status
        assert ask(hub, "GET", "/api/jobs/alice", token=token).status == status
    assert ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel", token=Accounts.ALICE_READ).status == 403
    assert ask(hub, "GET", f"/api/jobs/acme/{job.id}").status == 404  # another namespace's
    assert ask(hub, "GET", "/api/jobs/alice/" + "0" * 24).status == 404
    assert ask(hub, "GET", "/api/nothing").status == 404
    user = ask(hub, "GET", "/api/whoami-v2").json
    assert (user["type"], user["name"], [org["name"] for org in user["orgs"]]) == ("user", "alice", ["acme"]) and len(user["id"]) == 24


@pytest.mark.parametrize("change", [{"command": "text"}, {"command": []}, {"spaceId": "alice/tool"}, {"dockerImage": None}, {"flavor": "huge"},
                                    {"timeoutSeconds": 0}, {"timeoutSeconds": "1h"}, {"labels": {"a b": "c"}}, {"labels": {"a": "x" * 101}},
                                    {"environment": {"A=": "b"}}, {"volumes": [{"type": "disk", "source": "a/b", "mountPath": "/x"}]},
                                    {"volumes": [{"type": "bucket", "source": "a/b", "mountPath": "x"}]}, {"expose": {"ports": [0]}},
                                    {"expose": {"ports": [1], "portsPublic": [2]}}])
def test_what_is_no_job(hub, change):
    reply = ask(hub, "POST", "/api/jobs/alice", {**request_of("true"), **change})
    assert reply.status == 400 and reply.json["error"]
    assert ask(hub, "POST", "/api/jobs/alice", b"{no json").status == 400


# -- dials


@pytest.mark.parametrize("fail_at, stage, started", [("scheduling", "ERROR", False), ("scheduling", "CANCELED", False), ("boot", "ERROR", True),
                                                     ("running", "ERROR", True), ("running", "DELETED", True)])
def test_failure_at_every_stage(hub, fail_at, stage, started):
    hub.next_jobs(1, fail_at=fail_at, fail_stage=stage, fail_message="it failed", die_after=0.2)
    job = ended(run(hub, "sleep 1000"))
    assert (job.stage, job.message, job.started is not None) == (stage, "it failed", started)
    assert job.processes() == []


def test_delays(hub):
    hub.next_jobs(1, scheduling_delay=0.4, boot_delay=0.4)
    job = ended(run(hub, "true"))
    assert job.started - job.created >= 0.4 and job.finished - job.started >= 0.4
    hub.next_jobs(1, cancel_delay=0.3)
    job = run(hub, "sleep 1000")
    wait_until(lambda: job.stage == "RUNNING", what="its start")
    assert ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel").json["status"]["stage"] == "RUNNING"
    ended(job)


@pytest.mark.parametrize("stage", ["ERROR", "CANCELED", "COMPLETED"])
def test_stage_after_a_timeout(hub, stage):
    """PROTOCOL 12 [?]."""
    hub.next_jobs(1, timeout_stage=stage, timeout_message="too long")
    job = ended(run(hub, "sleep 1000", timeoutSeconds=1))
    assert (job.stage, job.message) == (stage, "too long")


def test_sizes():
    with Hub(max_secret=1000, max_env=500, max_request=5000, max_timeout=100) as hub:
        def status(**more):
            return ask(hub, "POST", "/api/jobs/alice", request_of("true", **more)).status

        assert status(secrets={"A": "x" * 1000}, environment={"B": "x" * 500}, timeoutSeconds=100) == 200
        assert [status(secrets={"A": "x" * 1001}), status(environment={"B": "x" * 501}), status(timeoutSeconds=101),
                status(secrets={"A": "x" * 5000})] == [400, 400, 400, 413]
        assert len(hub.jobs) == 1


def test_what_is_unsure_both_ways(hub):
    for dots in (True, False):
        hub.dial(label_dots=dots)
        reply = ask(hub, "POST", "/api/jobs/alice", request_of("true", labels={"a": "1.2"}))
        assert reply.status == (200 if dots else 400)
    hub.dial(label_dots=True)
    for listed in (True, False):
        hub.next_jobs(1, list_environment=listed)
        job = run(hub, "true", environment={"A": "1"})
        entry = next(e for e in ask(hub, "GET", "/api/jobs/alice").json if e["id"] == job.id)
        assert ("environment" in entry) == listed and ask(hub, "GET", f"/api/jobs/alice/{job.id}").json["environment"] == {"A": "1"}
    for after in (500, 406, 200):
        hub.next_jobs(1, metrics_after_end=after)
        job = ended(run(hub, "true"))
        assert ask(hub, "GET", f"/api/jobs/alice/{job.id}/metrics").status == after
    hub.next_jobs(1, logs_end="stay")
    job = ended(run(hub, "echo hi"))
    with pytest.raises(TimeoutError):
        ask(hub, "GET", f"/api/jobs/alice/{job.id}/logs", timeout=0.5)


@pytest.mark.parametrize("tls", [False, True])
def test_forms_of_the_urls(tls):
    """PROTOCOL 3, Emulator URL trick; Gen2 pools require https and a host name."""
    with Hub(tls=tls) as hub:
        for form in ("auto", "host", "path"):
            hub.next_jobs(1, expose_form=form, unready=503)
            job = run(hub, "sleep 1000", expose=[49983])
            [url] = job.expose_urls()
            scheme, _, rest = url.partition("://")
            host = rest.split("/")[0].split(":")[0]
            named = form == "host" or (form == "auto" and tls)
            assert scheme == ("https" if tls else "http") and "--49983." in url
            assert host.startswith(job.id) == named and ("/p/" in rest) != named
            assert ask_port(hub, job, 49983, "GET", "/").status == 503
        hub.next_jobs(1, expose_urls=False)
        assert "exposeUrls" not in run(hub, "true", expose=[49983]).as_json()["status"]


def test_dials_are_known_and_documented():
    with pytest.raises(ValueError):
        Dials().set(no_such_dial=1)
    with pytest.raises(ValueError):
        Dials().set(timeout_stage="NEVER")
    from dataclasses import fields
    for field in fields(Dials):
        assert "PROTOCOL" in field.metadata["where"] or "DESIGN" in field.metadata["where"], field.name
        if "[?]" in field.metadata["where"] + field.metadata["meaning"] and field.metadata["choices"] is not None:
            assert len(field.metadata["choices"]) >= 2


def test_over_http(hub):
    """The same from other languages."""
    def admin(method, path, body=None):
        reply = ask(hub, method, f"/_hub/{path}", body, token=False)
        assert reply.status == 200, reply
        return reply.json

    before = len(hub.requests)
    admin("PUT", "dials", {"page_size": 2})
    assert admin("GET", "dials")["page_size"] == 2 and hub.dials.page_size == 2
    admin("PUT", "dials", {"page_size": 100})
    admin("POST", "next-jobs", {"count": 1, "dials": {"scheduling_delay": "inf"}})
    assert len(hub.requests) == before  # the controls are not requests to the Hub
    job = run(hub, "true", expose=[8000])
    admin("PUT", f"jobs/{job.id}/dials", {"unready": 404})
    assert ask_port(hub, job, 8000, "GET", "/").status == 404
    name = admin("POST", "faults", {"kind": "proxy", "status": 500})["name"]
    assert ask_port(hub, job, 8000, "GET", "/").status == 500 and admin("GET", "faults")[name] == 1
    admin("DELETE", f"faults/{name}")
    assert admin("GET", "faults") == {} and ask_port(hub, job, 8000, "GET", "/").status == 404
    admin("POST", "tokens", {"token": "hf_other", "user": "bob", "role": "read"})
    assert ask(hub, "GET", "/api/whoami-v2", token="hf_other").json["name"] == "bob"
    admin("DELETE", "tokens/hf_other")
    assert ask(hub, "GET", "/api/whoami-v2", token="hf_other").status == 401
    assert admin("GET", "requests?kind=whoami")[-1]["status"] == 401
    assert [j["status"]["stage"] for j in admin("GET", "jobs") if j["id"] == job.id] == ["SCHEDULING"]
    assert ask(hub, "PUT", "/_hub/dials", {"nothing": 1}, token=False).status == 400
    ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")


def test_not_from_inside(hub):
    """A job reaches the Hub as anybody does, but not its controls."""
    job = ended(run(hub, ["python3", "-c", f"""
import urllib.request, urllib.error
for path in ("/api/agent-harnesses", "/_hub/dials"):
    try:
        print(urllib.request.urlopen("{hub.endpoint}" + path).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""]))
    assert job.logs[1:] == ["200", "404"]
    assert hub.requests.of("harnesses", job=job.id)


def test_another_clock():
    with Hub(clock_ahead=-3600) as hub:
        job = ended(run(hub, "echo x"))
        reply = ask(hub, "GET", f"/api/jobs/alice/{job.id}")
        date = email.utils.parsedate_to_datetime(reply.headers["Date"]).timestamp()
        made, over = (datetime.datetime.fromisoformat(reply.json[name]).timestamp() for name in ("createdAt", "finishedAt"))
        assert abs(time.time() - 3600 - date) < 60 and made <= over < date + 1, (reply.headers["Date"], reply.json)


def test_silence_can_be_proved():
    with Hub() as hub:
        assert len(hub.requests) == 0 and hub.requests.connections == 0
        import socket
        socket.create_connection(hub.addresses()[0]).close()
        wait_until(lambda: hub.requests.connections == 1, what="the connection")
        assert len(hub.requests) == 0
        ask(hub, "GET", "/api/nothing?x=1")
        [request] = hub.requests
        assert (request.kind, request.path, request.status) == ("unknown", "/api/nothing?x=1", 404)
        assert json.dumps(request.headers) and request.header("authorization") == f"Bearer {hub.token}"
