"""What PROTOCOL does not know ([?]) is met in opposite ways: a sandbox is made, used and ended, whichever of them the Hub takes."""
# ctest: timeout=300
import threading

import pytest
from agent import wait_until
from jobs import Driver
from localhub import Accounts
from localhub.accounts import Token
from table import FAR, SOON, create, hub, served  # noqa: F401

USE = """
box = client.create(timeout_ms=60000, labels=["team=a-b_c"], client_key=args[0])
value = box.id
assert client.create(client_key=args[0], timeout_ms=60000).id == box.id
assert box.run("cat; exit 3", input=b"in").__dict__.items() >= {"code": 3, "out": b"in"}.items()
data = os.urandom(1 << 20) * 3
box.write("/tmp/a", data)
assert box.read("/tmp/a") == data
process = box.start("echo first; read x; echo $x", input_open=1)
assert process.next()[1] == b"first\\n"
process.input(b"second\\n")
assert process.next()[1] == b"second\\n"
rows = client.list(labels=["team=a-b_c"])
assert [(row["id"], row["running"]) for row in rows] == [(box.id, True)], rows
again = client.connect(box.id)
assert again.run("echo there").out == b"there\\n"
box.kill(timeout_ms=30000)
assert client.list(labels=["team=a-b_c"]) == []
for call in (lambda: box.run("true"), lambda: again.run("true", call_timeout_ms=20000), lambda: client.connect(value), lambda: client.kill(value)):
    try:
        call()
        raise AssertionError("it is still there")
    except sbx.Error as error:
        assert error.name in ("ERROR_AGENT", "ERROR_NOT_FOUND") and value in error.message, error
"""
OPPOSITES = {"gone": (404, 410, 502, 503), "no_port": (404, 503), "unready": (404, 503, "refuse"), "reuse": (True, False), "max_body": (0, 1 << 20),
             "expose_form": ("host", "path"), "label_dots": (True, False), "list_environment": (True, False), "cancel_delay": (0.0, 0.6),
             "cancel_grace": (0.0, 2.0), "logs_end": ("close", "stay"), "metrics_after_end": (500, 406, 200), "boot_delay": (0.0, 0.4),
             "ratelimit_headers": (True, False), "max_timeout": (None, 86400)}


@pytest.mark.parametrize("dial,value", [(dial, value) for dial in OPPOSITES for value in OPPOSITES[dial]])
def test_made_used_and_ended(hub, dial, value):
    hub.dial(**{dial: value})
    known = len(hub.jobs)
    done = hub.driver.ask(USE, f"{dial}-{value}".replace(".", "-"))
    assert done.name == "OK" and len(hub.jobs) == known + 1, done
    assert hub.jobs[done.value].stage == "CANCELED" and not hub.requests.of("metrics")


@pytest.mark.parametrize("stage", ["ERROR", "CANCELED", "COMPLETED"])
def test_a_lifetime_that_passes(hub, stage):
    """Calls then name the stage and what the Hub says of it."""
    hub.dial(timeout_stage=stage, timeout_message="Time is over")
    done = hub.driver.ask("""
box = client.create(lifetime_ms=2000, timeout_ms=60000)
value = [box.id]
for call in (lambda: box.run("sleep 1000"), lambda: box.run("true"), lambda: box.read("/etc/passwd"), lambda: client.connect(box.id)):
    try:
        call()
        value.append(["OK", ""])
    except sbx.Error as error:
        value.append([error.name, error.message])
""")
    job_id, running, *later, connecting = done.value
    assert done.name == "OK" and hub.jobs[job_id].request["timeoutSeconds"] == 2 and hub.jobs[job_id].stage == stage, done.value
    # The agent may have had the time to end the command, and to say so.
    assert running[0] in ("OK", "ERROR_AGENT"), running
    for name, message in later:
        assert name == "ERROR_AGENT" and job_id in message and stage in message and "Time is over" in message, message
    assert connecting[0] == "ERROR_NOT_FOUND" and job_id in connecting[1] and stage in connecting[1], connecting


@pytest.mark.parametrize("ends", ["close", "stay"])
def test_a_log_that_stays_open(hub, ends):
    hub.dial(logs_end=ends, fail_at="running", die_after=0, fail_message="Out of luck")
    done = create(hub)
    assert done.name == "AGENT" and "Out of luck" in done.message and done.seconds < 4 + SOON, done


@pytest.mark.parametrize("most", [0, 1 << 20, 100000])
def test_a_body_that_is_too_large(hub, most):
    """A file goes in parts, which pass as long as they can. What cannot pass is refused whole, and that is said."""
    hub.dial(max_body=most)
    done = hub.driver.ask("""
box = client.create(timeout_ms=60000)
value = {}
def attempt(name, call):
    try:
        call()
        value[name] = ["OK", 0]
    except sbx.Error as error:
        value[name] = [error.name, error.http_status]
        assert error.message.startswith("sbx_"), error.message
data = os.urandom(3 << 20)
def run(): assert box.run("wc -c", input=data).out == b"%d\\n" % len(data)
def write():
    box.write("/tmp/a", data)
    assert box.read("/tmp/a") == data
attempt("run", run)
attempt("write", write)
attempt("stat", lambda: box.stat("/tmp/a"))
sbx.wait_until(lambda: not any(row["running"] for row in box.processes()), 20, "the end of what was refused")
""")
    refused = ["ERROR_TOO_LARGE", 413]
    assert done.name == "OK" and done.value == {
        "run": refused if most else ["OK", 0], "write": refused if most == 100000 else ["OK", 0],
        "stat": ["ERROR_NOT_FOUND", 404] if most == 100000 else ["OK", 0]}, (done, done.value)


def test_input_of_a_start_that_is_refused(hub):
    """Whoever waits for the command is told, once; nothing is written where the lost bytes belong; and the command can be ended."""
    hub.dial(max_body=1 << 20)
    done = hub.driver.ask("""
box = client.create(timeout_ms=60000)
value = []
def attempt(call):
    try:
        value.append(["OK", str(call())])
    except sbx.Error as error:
        value.append([error.name, error.message])
for wait in (False, True):
    for late in (False, True):
        process = box.start("wc -c", input=b"x" * (3 << 20), input_open=1)
        if late: attempt(lambda: process.input(b"end", end=1))
        attempt(lambda: process.wait(20000) if wait else process.next(20000))
        attempt(lambda: process.input(b"end", end=1))
        process.kill()
        assert process.wait(20000).signal == 9
        process.close()
""")
    assert done.name == "OK" and len(done.value) == 10, (done, done.value)
    for name, message in done.value:
        assert name == "ERROR_TOO_LARGE" and message.startswith("sbx_process_start: feeding"), (name, message)


LOSES = """
box = client.create(timeout_ms=60000)
process = box.start("sleep 1000")
open(args[0], "w").close()
sbx.wait_until(lambda: os.path.exists(args[1]), 60)
value = []
for call in (lambda: box.run("true"), lambda: box.write("/tmp/a", b""), lambda: box.read("/etc/passwd"), lambda: box.start("true")):
    begin = time.monotonic()
    try:
        call()
        value.append(["OK", "", 0])
    except sbx.Error as error:
        value.append([error.name, error.message, time.monotonic() - begin])
"""


def lose_access(hub, revoked=False, off=None, **env):
    """What calls say whose token loses its access in the middle of its use: name, message and seconds of each."""
    used, lost = hub.directory / f"used-{len(hub.jobs)}", hub.directory / f"lost-{len(hub.jobs)}"

    def lose():
        wait_until(used.exists, 60, "its use")
        hub.revoke(Accounts.ALICE_OTHER) if revoked else hub.add_token(Token(Accounts.ALICE_OTHER, "alice", "none"))
        lost.touch()

    thread = threading.Thread(target=lose)
    thread.start()
    try:
        with Driver(hub, off=off, **env) as driver:
            done = driver.ask(LOSES, str(used), str(lost), client={"hub_token": Accounts.ALICE_OTHER})
    finally:
        thread.join(60)
        hub.add_token(Token(Accounts.ALICE_OTHER, "alice"))
    job = hub.jobs.last()
    hub.driver.ask("client.kill(args[0])", job.id)
    assert done.name == "OK" and len(done.value) == 4, done
    return done.value


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_loses_its_access(hub, status):
    hub.dial(no_access=status)
    for name, message, seconds in lose_access(hub):
        assert name == "ERROR_AUTH" and str(status) in message and seconds < SOON, (name, message, seconds)


@pytest.mark.parametrize("revoked", [False, True])
def test_a_token_that_the_proxy_does_not_speak_of(hub, revoked):
    """404 may be a passing matter, but the Hub is asked meanwhile, and it says that the token is refused: that is an answer."""
    hub.dial(no_access=404, no_token=404)
    for name, message, seconds in lose_access(hub, revoked):
        assert name in ("ERROR_AUTH", "ERROR_UNKNOWN_OUTCOME") and ("401" if revoked else "403") in message, (name, message)
        assert "asking whether the job runs" in message and seconds < SOON, (message, seconds)


def test_control_of_the_token(hub):
    """Without that it is asked again for as long as silence is borne."""
    hub.dial(no_access=404)
    for name, message, seconds in lose_access(hub, off="doubt-refused", SBX_TEST_SCALE="15"):
        assert name in ("ERROR_UNKNOWN_OUTCOME", "ERROR_CONNECTION") and "404" in message and "403" not in message, (name, message)
        assert seconds > 3, seconds


def test_dots_in_labels_are_never_sent(hub):
    """Where they pass and where they do not."""
    for dots in (True, False):
        hub.dial(label_dots=dots)
        done = create(hub, image="python:3.12-slim", labels=["team=a.b"])
        assert done.name == "INVALID" and not done.jobs, done
        done = create(hub, FAR, image="python:3.12-slim")
        assert done.name == "OK" and not any("." in text for item in done.jobs[0].request["labels"].items() for text in item), done
