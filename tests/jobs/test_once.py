"""A job is made once and a command runs once, whatever becomes of replies."""
# ctest: timeout=300
import threading

import pytest
from agent import wait_until
from jobs import Driver
from localhub import Accounts, Hub
from localhub.ask import ask

from conftest import Program

KEEP = "box = client.create(timeout_ms=args[0], detached=1, **args[1]); box.run('true'); value = box.id"
# Three seconds of silence are enough here.
SCALE = {"SBX_TEST_SCALE": "15"}


@pytest.fixture(scope="module")
def served():
    with Hub() as hub:
        hub.program = Program(hub)
        with Driver(hub, **SCALE) as driver:
            hub.driver = driver
            yield hub


@pytest.fixture
def hub(served):
    yield served
    served.clear_faults()
    for job in served.jobs.running():
        ask(served, "POST", f"/api/jobs/alice/{job.id}/cancel")
    served.dial(scheduling_delay=0.02)
    wait_until(lambda: not served.jobs.running(), 20, "the end of all jobs")


def running(hub):
    return [job.id for job in hub.jobs.running()]


LOST = {"after": {"cut": "after"}, "orderly": {"cut": "after", "orderly": True}, "500": {"status": 500, "acts": True},
        "504": {"status": 504, "acts": True}, "524": {"status": 524, "acts": True}, "garbage": {"status": 200, "body": "x", "acts": True},
        "other": {"status": 200, "body": {"ok": True}, "acts": True}, "hang": {"hang": True, "acts": True}}


@pytest.mark.parametrize("how,key", [*((how, None) for how in LOST), ("after", "a-key"), ("500", "a-key")])
def test_a_lost_reply(hub, how, key):
    """The job that was made is the one that is used, and no other was asked for."""
    known = len(hub.jobs)
    hub.fault("create", count=1, **LOST[how])
    done = hub.driver.ask(KEEP, 60000, {"client_key": key} if key else {})
    assert done.name == "OK" and running(hub) == [done.value] and len(hub.jobs) == known + 1, done


@pytest.mark.parametrize("off", [None, "job-end"])
def test_a_job_that_comes_late(hub, off):
    """A request that was taken for lost has its effect when another one has been made: the one that is not used ends."""
    hub.dial(scheduling_delay=2.0)
    known = len(hub.jobs)
    hub.fault("create", cut="before", late=3.0, count=1)
    with Driver(hub, off=off) as driver:
        done = driver.ask(KEEP, 60000, {})
    assert done.name == "OK" and len(hub.jobs) == known + 2, done
    if off is None:
        wait_until(lambda: running(hub) == [done.value], 20, "the end of the other one")
    assert len(running(hub)) == (1 if off is None else 2)


GIVEN_UP = {"hang-made": {"hang": True, "acts": True}, "hang": {"hang": True}, "late": {"delay": 0.8}, "late-400": {"status": 400, "delay": 0.8},
            "after": {"cut": "after"}, "500": {"status": 500, "acts": True}, "late-made": {"cut": "before", "late": 1.0}}


@pytest.mark.parametrize("end", ["deadline", "cancel"])
@pytest.mark.parametrize("how", GIVEN_UP)
def test_given_up_in_the_middle(hub, how, end):
    hub.dial(scheduling_delay=1000)
    hub.fault("create", **GIVEN_UP[how])
    done = hub.driver.ask("""
cancel = sbx.Cancel()
if args[0] == "cancel": threading.Timer(0.4, cancel.now).start()
client.create(timeout_ms=400 if args[0] == "deadline" else 60000, cancel=cancel)
""", end)
    assert done.name == ("CANCELED" if end == "cancel" else "TIMEOUT") and done.seconds < 10, done
    if how == "late-made":
        wait_until(lambda: hub.jobs.last().created > 0, what="the job")
    wait_until(lambda: not hub.jobs.running(), 25, "the end of what was made")


def test_control_of_giving_up(hub):
    hub.dial(scheduling_delay=1000)
    hub.fault("create", hang=True, acts=True)
    with Driver(hub, off="job-end", **SCALE) as driver:
        assert driver.ask("client.create(timeout_ms=300)").name == "TIMEOUT"
        assert len(hub.jobs.running()) == 1


# ---------------------------------------------------------------- Keys

def together(drivers, text, *args):
    answers = [None] * len(drivers)

    def work(n):
        answers[n] = drivers[n].ask(text, *args)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(drivers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("delay", [0, 0.2])
def test_two_programs_with_one_key(hub, delay):
    """At the same time: both get the same sandbox, and it is the only one that is left."""
    if delay:
        hub.fault("create", delay=delay)
    with Driver(hub) as other:
        for n in range(3):
            one, two = together([hub.driver, other], KEEP, 60000, {"client_key": f"both-{delay}-{n}".replace(".", "")})
            assert one.name == two.name == "OK" and one.value == two.value, (one, two)
            wait_until(lambda v=one.value: running(hub) == [v], 20, "the end of the other one")
            hub.driver.ask("client.kill(args[0])", one.value)


@pytest.mark.parametrize("delay", [0, 1.5])
def test_a_key_whose_sandbox_died(hub, delay):
    """Also where the Hub still shows it as running for a while."""
    first = hub.driver.ask(KEEP, 60000, {"client_key": "died"})
    assert hub.driver.ask(KEEP, 60000, {"client_key": "died"}).value == first.value
    hub.jobs[first.value].dial(cancel_delay=delay, unready=502)
    hub.fault("proxy", status=502, path="/health", job=first.value)
    ask(hub, "POST", f"/api/jobs/alice/{first.value}/cancel")
    second = hub.driver.ask(KEEP, 60000, {"client_key": "died"})
    assert second.name == "OK" and second.value != first.value, second
    wait_until(lambda: running(hub) == [second.value], what="the end of the first one")


@pytest.mark.parametrize("off", [None, "key-token"])
def test_a_key_of_another_token(hub, off):
    """The same user's other token gives another key of the sandbox: that is said at once, and nothing is ended."""
    first = hub.driver.ask(KEEP, 60000, {"client_key": "shared"})
    with Driver(hub, off=off) as driver:
        done = driver.ask("box = client.create(client_key='shared', detached=1)", client={"hub_token": Accounts.ALICE_OTHER})
    assert done.name == ("AUTH" if off is None else "OK"), done
    assert running(hub) == [first.value]


# ---------------------------------------------------------------- Commands, through the proxy

ONCE = """
calls = {"run": lambda c: box.run(c, call_timeout_ms=30000), "start": lambda c: list(box.start(c)),
         "background": lambda c: box.start(c, background=1).wait()}
box = client.create()
value = {}
def once(name):
    box.write("/tmp/" + name, b"")   # a used connection stands ready
    try:
        calls[name]("echo x >> /tmp/" + name)
        value[name] = "OK"
    except sbx.Error as error:
        value[name] = str(error)
threads = [threading.Thread(target=once, args=(name,)) for name in calls]
for thread in threads: thread.start()
for thread in threads: thread.join()
value = [value, [len(box.read("/tmp/" + name).split()) for name in calls]]
"""
HOW = {"before": {"cut": "before"}, "after": {"cut": "after"}, "reply": {"cut": "reply", "bytes": 9}, "hang": {"hang": True},
       **{str(status): {"status": status} for status in (404, 429, 500, 502, 503, 504)}, "delay": {"delay": 0.3}}


@pytest.mark.parametrize("how", HOW)
def test_commands_run_once(hub, how):
    """Our agent honours keys: what was lost is asked for again, and is the same command."""
    faults = [hub.fault("proxy", path=path, method="POST", count=3, **HOW[how]) for path in ("/v1/exec", "/v1/processes")]
    done = hub.driver.ask(ONCE)
    assert done.name == "OK" and set(done.value[0].values()) == {"OK"}, (done, done.value)
    assert done.value[1] == [1, 1, 1] and sum(map(hub.proxy.hits, faults)) >= 2
