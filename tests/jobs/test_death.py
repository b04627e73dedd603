"""A sandbox whose job ends while it is used, and the truth about one that is killed."""
# ctest: timeout=300
import threading
import time

import pytest
from agent import wait_until
from localhub.ask import ask
from table import SOON, hub, served  # noqa: F401

USE = """
box = client.create(idle_timeout_ms=600000)
process = box.start("echo before; sleep 1000")
assert process.next()[1] == b"before\\n"
background = box.start("sleep 1000", background=1)
said = {}
def work(name, call):
    try:
        call()
        said[name] = ["OK", "", time.monotonic()]
    except sbx.Error as error:
        said[name] = [error.name, error.message, time.monotonic()]
calls = dict(run=lambda: box.run("sleep 1000"), next=process.next, wait=background.wait, follow=background.next,
             input=lambda: box.run("cat >/dev/null; sleep 1000", input=b"x" * (1 << 20)))
threads = [threading.Thread(target=work, args=item) for item in calls.items()]
for thread in threads: thread.start()
sbx.wait_until(lambda: len([p for p in box.processes() if p["running"]]) == 4, 30, "the commands")
box.write("/tmp/ready", b"")
open(args[0], "w").close()
for thread in threads: thread.join(60)
later = dict(run=lambda: box.run("true"), read=lambda: box.read("/tmp/ready"), start=lambda: box.start("true"), info=box.info,
             next=process.next, input=lambda: background.input(b"x"))
for name, call in later.items(): work("later " + name, call)
begin = time.monotonic()
box.kill()
said["kill"] = ["OK", "", time.monotonic() - begin]
value = said
"""


def on_loop(hub, function, *args):
    hub.loop.call_soon_threadsafe(function, *args)


DEATHS = {
    "agent": (lambda hub, job: on_loop(hub, job.container.kill), "ERROR", "exit code: 137"),
    "canceled": (lambda hub, job: ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel"), "CANCELED", ""),
    "deleted": (lambda hub, job: (on_loop(hub, job.end, "DELETED", "By an\x1b admin"), on_loop(hub, job.container.kill)), "DELETED", "By an"),
    "timeout": (lambda hub, job: (on_loop(hub, job.end, "ERROR", "Job timeout"), on_loop(hub, job.container.kill)), "ERROR", "Job timeout"),
    "forgotten": (lambda hub, job: (on_loop(hub, job.container.kill), hub.jobs.by_id.pop(job.id)), "gone", ""),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_job_that_dies_in_use(hub, death):
    """Every call ends soon, and says which sandbox has ended in which stage, and why; so do those that come later, at once."""
    act, stage, why = DEATHS[death]
    died, used = [], hub.directory / f"used-{death}"

    def kill():
        wait_until(used.exists, 60, "its use")
        died.append(time.monotonic())
        died.append(hub.jobs.last())
        act(hub, hub.jobs.last())

    thread = threading.Thread(target=kill)
    thread.start()
    done = hub.driver.ask(USE, str(used))
    thread.join()
    when, job = died
    assert done.name == "OK" and len(done.value) == 12, (done, done.value)
    for name, (code, text, at) in done.value.items():
        if name == "kill":
            assert code == "OK" and at < SOON
            continue
        if death == "canceled" and code == "OK" and name in ("wait", "next", "later next", "follow", "run", "input"):
            continue  # the agent has had the time to end the command, and to say so
        assert code == "ERROR_AGENT" and job.id in text and stage in text and why in text, (name, code, text)
        assert at - when < SOON and "\x1b" not in text, (name, at - when)
    assert len({text for name, (code, text, _) in done.value.items() if name.startswith("later") and code != "OK"}) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_in_use(hub, status):
    hub.fault("proxy", status=status, path="/v1/exec")
    done = hub.driver.ask("box = client.create(); box.run('true')")
    assert done.name == "AUTH" and done.status == status and done.seconds < SOON, done
    assert len(hub.requests.of("proxy", path="/v1/exec", job=hub.jobs.last().id)) == 1


# ---------------------------------------------------------------- Kill

KILL = "box = client.create(); value = box.id\nbegin = time.monotonic()\nbox.kill(timeout_ms=args[0])"
KILLS = {
    "plain": ({}, {}, "OK", 1), "slow": ({"cancel_delay": 0.7}, {}, "OK", 1), "500-twice": ({}, {"status": 500, "count": 2}, "OK", 3),
    "503": ({}, {"status": 503, "count": 1}, "OK", 2), "cut-before": ({}, {"cut": "before", "count": 1}, "OK", 2),
    "cut-after": ({}, {"cut": "after", "count": 1}, "OK", 2), "made-500": ({}, {"status": 500, "acts": True, "count": 1}, "OK", 2),
    "401": ({}, {"status": 401, "count": 1}, "AUTH", 1), "403": ({}, {"status": 403, "count": 1}, "AUTH", 1),
    "400": ({}, {"status": 400, "count": 1}, "INVALID", 1), "409": ({}, {"status": 409, "count": 1}, "CONFLICT", 1),
    "hang": ({}, {"hang": True, "count": 1}, "TIMEOUT", 1),
}


@pytest.mark.parametrize("how", KILLS)
def test_kill(hub, how):
    """Success is said when the Hub shows that the job has ended, and not before. One that failed leaves the handle the owner, which
    cancels the job when it is given back."""
    dials, fault, outcome, asked = KILLS[how]
    hub.dial(**dials)
    if fault:
        hub.fault("cancel", **fault)
    text = KILL.replace("box.kill", "import urllib.request\nbox.kill") + f"""
url = {hub.endpoint!r} + "/api/jobs/alice/" + box.id
request = urllib.request.Request(url, headers={{"Authorization": "Bearer " + {hub.token!r}}})
value = json.load(urllib.request.urlopen(request))["status"]["stage"]
"""
    done = hub.driver.ask(text, 1500 if how == "hang" else 20000)
    assert done.name == outcome, done
    if outcome == "OK":
        assert done.value == "CANCELED"
        assert len(hub.requests.of("cancel", path=hub.jobs.last().id)) == asked
    else:
        assert hub.jobs.last().id in done.message, done
    wait_until(lambda: not hub.jobs.running(), 20, "the end of the job")


def test_kill_never_confirmed(hub):
    """A Hub that never shows the end: the deadline says what is known."""
    hub.dial(cancel_delay=1000)
    done = hub.driver.ask(KILL, 700)
    job = hub.jobs.last()
    assert done.name == "TIMEOUT" and job.id in done.message and "has not ended yet" in done.message, done
    on_loop(hub, job.end, "CANCELED", None)
    on_loop(hub, lambda: job.container and job.container.kill())


def test_kill_of_what_has_ended(hub):
    """Through the handle, which does not know it yet; by its id; and when the Hub knows it no more."""
    text = "box = client.create(); value = box.id; box.write('/tmp/a', b'')\nopen(args[0], 'w').close()\n" \
           "sbx.wait_until(lambda: os.path.exists(args[0] + '.done'), 30)\nbox.kill()\nfor _ in range(2): box.kill()"

    def meanwhile(path, act):
        wait_until(path.exists, 60, "its use")
        act(hub.jobs.last())
        path.with_suffix(".done").touch()

    for n, act in enumerate((lambda job: on_loop(hub, job.container.kill), lambda job: hub.jobs.by_id.pop(job.id))):
        path = hub.directory / f"ended-{len(hub.jobs)}-{n}"
        job_of = []
        thread = threading.Thread(target=meanwhile, args=(path, lambda job, act=act: (job_of.append(job), act(job))))
        thread.start()
        done = hub.driver.ask(text, str(path))
        thread.join()
        assert done.name == "OK", done
        if n == 1:
            on_loop(hub, job_of[0].end, "CANCELED", None)
            on_loop(hub, lambda: job_of[0].container and job_of[0].container.kill())
    done = hub.driver.ask("client.kill(args[0])", "0" * 24)
    assert done.name == "NOT_FOUND" and "0" * 24 in done.message, done
    ended = hub.driver.ask("box = client.create(); value = box.id; box.kill(); client.kill(value)")
    assert ended.name == "NOT_FOUND" and "has ended" in ended.message, ended
