"""A host is booted once and a sandbox is made once, whatever becomes of replies; what was given up leaves nothing."""
# ctest: timeout=400
import time

import pytest
from agent import wait_until
from conftest import PoolDriver
from localhub.ask import ask

SCALE = {"SBX_TEST_SCALE": "15"}  # three seconds of silence are enough here
LOST = {"after": {"cut": "after"}, "500": {"status": 500, "acts": True}, "504": {"status": 504, "acts": True},
        "garbage": {"status": 200, "body": "x", "acts": True}, "hang": {"hang": True, "acts": True}, "before": {"cut": "before"}}
ONE = """
pool = pools.create(client, timeout_ms=40000, **args[0])
box = pool.sandbox(timeout_ms=40000)
assert box.run("echo in").out == b"in\\n"
rows = [row["id"] for row in pool.sandboxes()]
value = [box.id, rows]
box.close(); pool.close()
"""


@pytest.fixture(scope="module")
def driver(served):
    with PoolDriver(served, **SCALE) as driver:
        yield driver


@pytest.mark.parametrize("how", LOST)
def test_the_host(shared_hub, driver, how):
    hub, known = shared_hub, len(shared_hub.jobs)
    hub.fault("create", count=1, **LOST[how])
    done = driver.ask(ONE, {})
    assert done.name == "OK" and done.value[1] == [done.value[0]] and len(hub.jobs) == known + 1, done
    assert [event["what"] for event in done.events if event["event"] == "pool.host"][0] == "booted"
    wait_until(lambda: not hub.living(), 20, "the end of the host")


@pytest.mark.parametrize("kind", ["whoami", "list", "cancel"])
@pytest.mark.parametrize("how", ["after", "500", "before"])
def test_what_is_asked_of_the_hub(shared_hub, driver, kind, how):
    hub, known = shared_hub, len(shared_hub.jobs)
    hub.fault(kind, count=2, **LOST[how])
    done = driver.ask(ONE, {})
    assert done.name == "OK" and done.value[1] == [done.value[0]] and len(hub.jobs) == known + 1, done
    wait_until(lambda: not hub.living(), 20, "the end of the host")


AT_THE_HOST = {"lost": {"cut": "after"}, "never there": {"cut": "before"}, "orderly": {"cut": "after", "orderly": True},
               "broken off": {"cut": "reply", "bytes": 20}, "hang": {"hang": True}, "502": {"status": 502}}


@pytest.mark.parametrize("how", AT_THE_HOST)
@pytest.mark.parametrize("method,path", [("POST", "/v1/sandboxes"), ("GET", "/v1/sandboxes"), ("DELETE", "/v1/sandboxes/"), ("GET", "/health")])
def test_what_is_asked_of_the_host(shared_hub, driver, method, path, how):
    """One sandbox is made for one call, and none is left."""
    hub = shared_hub
    hub.fault("proxy", method=method, path=path, count=2, **AT_THE_HOST[how])
    done = driver.ask("""
pool = pools.create(client, timeout_ms=40000)
box = pool.sandbox(timeout_ms=40000)
assert box.run("echo in").out == b"in\\n"
rows = [row["id"] for row in pool.sandboxes()]
with pools.connect(sbx.Client(), pool.name) as again:
    with again.sandbox(timeout_ms=40000) as other:
        assert other.run("echo in").out == b"in\\n" and other.id != box.id
        other.kill()
box.kill()
value = [box.id, rows]
box.close(); pool.close()
""")
    assert done.name == "OK" and done.value[1] == [done.value[0]], done
    wait_until(lambda: not hub.living(), 20, "the end of the host")


def test_control_of_the_key(served):
    """Without the agent's promise to make nothing twice a lost reply is told, and nothing is sent again."""
    hub = served
    with PoolDriver(hub, **SCALE) as driver:
        hub.fault("proxy", method="POST", path="/v1/sandboxes", cut="after", count=1)
        hub.fault("proxy", path="/health", status=200, body='{"status":"ok"}')
        done = driver.ask("""
pool = pools.create(client)
pool.sandbox()
""")
        assert done.name == "UNKNOWN_OUTCOME" and "may or may not" in done.message, done
    hub.clear_faults()
    job = hub.hosts()[-1].id
    posts = [r for r in hub.requests.of("proxy") if r.job == job and r.method == "POST" and r.path.endswith("/v1/sandboxes")]
    assert len(posts) == 1 and posts[0].header("x-sandbox-key") is None
    for job in hub.living():
        ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")


@pytest.mark.parametrize("end", ["deadline", "cancel"])
@pytest.mark.parametrize("how", ["waits", "create", "sandboxes"])
def test_given_up(shared_hub, driver, how, end):
    """While the host is scheduled, while the Hub makes it, while the host makes the sandbox."""
    hub = shared_hub
    if how == "waits":
        hub.dial(scheduling_delay=1000)
    elif how == "create":
        hub.fault("create", hang=True, acts=True)
    else:
        hub.fault("proxy", method="POST", path="/v1/sandboxes", cut="after")
    done = driver.ask("""
pool = pools.create(client, warm=-1)
cancel = sbx.Cancel()
if args[0] == "cancel": threading.Timer(0.5, cancel.now).start()
begin = time.monotonic()
try:
    pool.sandbox(timeout_ms=500 if args[0] == "deadline" else 30000, cancel=cancel)
    raise AssertionError("it was made")
except sbx.Error as error:
    value = [error.name, time.monotonic() - begin]
cancel.close(); pool.close()
""", end)
    assert done.name == "OK" and done.value[0] == ("ERROR_TIMEOUT" if end == "deadline" else "ERROR_CANCELED") and done.value[1] < 5, done
    hub.clear_faults()
    wait_until(lambda: not hub.living(), 25, "the end of what was made")


def test_a_sandbox_that_was_given_up_goes(shared_hub, driver):
    """The host goes on, with a place that is free again."""
    hub = shared_hub
    hub.fault("proxy", method="POST", path="/v1/sandboxes", cut="after", count=3)
    done = driver.ask("""
pool = pools.create(client)
try:
    pool.sandbox(timeout_ms=120)
    value = "made"
except sbx.Error as error:
    value = error.name
until = time.monotonic() + 20
keeper = pool.sandbox()
while len(pool.sandboxes()) > 1 and time.monotonic() < until: time.sleep(0.02)
assert [row["id"] for row in pool.sandboxes()] == [keeper.id]
keeper.close(); pool.close()
""")
    assert done.name == "OK" and done.value in ("ERROR_TIMEOUT", "made"), done


@pytest.mark.parametrize("off", ["shared-end", "pool-end", "pool-given-up"])
def test_controls(served, off):
    """What ends sandboxes and hosts that nobody wants is what these switch off."""
    hub = served
    with PoolDriver(hub, off=off) as driver:
        if off == "pool-given-up":
            hub.dial(scheduling_delay=1000)
            done = driver.ask("""
pool = pools.create(client, warm=-1, detached=1)
try: pool.sandbox(timeout_ms=500)
except sbx.Error as error: value = error.name
sbx.kept = pool  # it is not given back with the task
del pool
time.sleep(1)
""")
            assert done.value == "ERROR_TIMEOUT" and len(hub.living()) == 1
        else:
            done = driver.ask("""
pool = pools.create(client)
pool.sandbox().close()
time.sleep(0.5)
value = len(pool.sandboxes())
pool.close()
""")
            assert done.name == "OK" and done.value == (1 if off == "shared-end" else 0), done
            time.sleep(1)
            assert len(hub.living()) == 1
    hub.dial(scheduling_delay=0.02)
    for job in hub.living():
        ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")
    wait_until(lambda: not hub.living(), 20, "the end of all")
