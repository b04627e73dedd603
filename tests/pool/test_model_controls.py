"""The rules of tests/support/pool_model.py are broken when what keeps them is switched off, and hold in the same steps when it is not."""
# ctest: timeout=400
import itertools
import json

import pytest
from conftest import prepared
from localhub import Hub
from pool_crew import Broken, Crew
from pool_model import Model

numbers = itertools.count()


def opened(*how, warm=-1):
    return [{"do": "open", "p": p, "h": f"h{p}", "how": each, "warm": warm, "client": 0, "at": 0.0} for p, each in enumerate(how)]


def made(*programs):
    return [{"do": "sandbox", "p": p, "h": f"h{p}", "b": f"b{p}.{n}", "at": 0.0} for n, p in enumerate(programs)]


def fault(kind, **how):
    return {"event": "fault", "kind": kind, "at": 0, **how}


def cache(how):
    return {"event": "cache", "how": how, "home": 0, "number": 1, "at": 0}


def plan(*steps, per_host=50, max_hosts=0, machines=False, scheduling_delay=0.3, list_environment=True):
    return {"seed": None, "pool": {"name": f"control{next(numbers)}", "sandboxes_per_host": per_host, "max_hosts": max_hosts, "spread": 0}, "machines": machines,
            "hub": {"scheduling_delay": scheduling_delay, "page_size": 100, "list_environment": list_environment}, "steps": steps}


def over_accepting(hub):
    """Hosts that take a hundred sandboxes, whatever they were asked to take."""
    create = hub.jobs.create

    def more(*args):
        job = create(*args)
        job.secrets["SBX_CAPACITY"] = "100"
        return job
    hub.jobs.create = more


TOGETHER = [fault("list", delay=0.3, count=3), *made(0, 1, 2)]  # all have looked before any host is there
ANSWER = json.dumps({"sandboxes": [{"id": "a1b2", "token": "0" * 64}], "rejected": 0})
CONTROLS = {
    "the lock, max_hosts": ("hosts", "pool-lock,pool-race", plan(opened("create", "create", "create"), TOGETHER, max_hosts=1)),
    "the lock, needless hosts": ("boots", "pool-lock,pool-race", plan(opened("create", "create", "create"), TOGETHER)),
    "several computers, max_hosts": ("hosts", "pool-race", plan(opened("create", "create", "create"), TOGETHER, max_hosts=1, machines=True,
                                                               scheduling_delay=1.0)),
    "several computers, needless hosts": ("boots", "pool-race", plan(opened("create", "create", "create"), TOGETHER, machines=True, scheduling_delay=1.0)),
    "hosts of others": ("cancels|answers", "pool-others", plan(opened("create", warm=1), opened("", "connect")[1:], made(1),
                                                       [{"do": "shut", "p": 0, "h": "h0", "at": 0.0}])),
    "sandboxes end with their handles": ("leaks", "shared-end", plan(opened("create"), made(0), [{"do": "close", "p": 0, "b": "b0.0", "at": 0.0}])),
    "the host's capacity": ("capacity", over_accepting, plan(opened("create", "create", warm=1), made(0, 0, 1, 1), per_host=2)),
    "the key that a file remembers": ("errors", "pool-unsure", plan(opened("create", warm=1), [cache("other nonce"), *opened("", "connect")[1:]],
                                                                   made(1), max_hosts=1)),
    **{f"{name}{where}": control for listed, where in ((True, ""), (False, ", short lists")) for name, control in {
        "the size that a file remembers": ("errors", "pool-told", plan(
            opened("create", warm=1), made(0), [cache("large hosts"), *opened("", "connect")[1:]], made(1), per_host=1, list_environment=listed)),
        "the settings that a file remembers": ("hosts", "pool-told", plan(
            opened("create", warm=1), made(0), [cache("other settings"), *opened("", "connect")[1:]], made(1), per_host=1, max_hosts=1,
            list_environment=listed))}.items()},
    "one sandbox for one call": ("once", None, plan(opened("create", "create", warm=1), [
        fault("proxy", method="POST", path="/v1/sandboxes", status=200, body=ANSWER, count=2), *made(0, 1)])),
    "failures": ("errors", None, plan(opened("create"), [fault("create", status=403, count=1), *made(0)])),
}
KEPT = [name for name, (_, off, _) in CONTROLS.items() if off is not None]


def play(plan, off):
    with Hub() as hub:
        prepared(hub)
        if callable(off):
            off(hub)
        with Crew(hub, off=off if isinstance(off, str) else None) as crew:
            Model(crew, plan, patience=4).run()


@pytest.fixture(scope="module")
def hub_and_crew():
    with Hub() as hub, Crew(prepared(hub)) as crew:
        yield hub, crew


@pytest.mark.parametrize("what", CONTROLS)
def test_controls(what):
    rule, off, steps = CONTROLS[what]
    with pytest.raises(Broken, match=f"rule '({rule})' is broken"):
        play(steps, off)


@pytest.mark.parametrize("what", KEPT)
def test_the_same_without_the_fault(hub_and_crew, what):
    hub, crew = hub_and_crew
    Model(crew, CONTROLS[what][2]).run()
    hub.requests.clear()


@pytest.mark.parametrize("delayed,off", [("GET", "pool-retire"), ("GET", None), ("POST", None)])
def test_a_host_that_somebody_begins_to_use(delayed, off):
    """Between the look whether others use it and its cancel: the agent looks and ends at once."""
    path = "/v1/sandboxes" if delayed == "GET" else "/v1/retire"
    steps = plan(opened("create", warm=1), opened("", "connect")[1:], [
        fault("proxy", method=delayed, path=path, delay=0.5, count=1), {"do": "shut", "p": 0, "h": "h0", "at": 0.0},
        {"do": "sandbox", "p": 1, "h": "h1", "b": "b1", "at": 0.2}], [{"do": "use", "p": 1, "b": "b1", "at": 1.0}])
    if off is None:
        play(steps, off)
    else:
        with pytest.raises(Broken, match="rule 'cancels' is broken"):
            play(steps, off)
