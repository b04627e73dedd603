"""Every failure dial of the Hub's API at every request of a creation: what the caller is told, how long it took, and that no job is left
running. test_dials_time.py has limits and deadlines, test_dials_job.py what comes after the request."""
# ctest: timeout=300
import pytest
from jobs import Driver
from table import FAR, MADE, MAKE, NEEDS, SOON, create, hub, served  # noqa: F401

CODES = {400: "INVALID", 401: "AUTH", 403: "AUTH", 404: "NOT_FOUND", 410: "NOT_FOUND", 413: "TOO_LARGE"}


@pytest.mark.parametrize("status", CODES)
@pytest.mark.parametrize("kind", NEEDS)
def test_refused(hub, kind, status):
    """What no patience overcomes fails at once, and says what was answered to what; about a job, which one."""
    hub.dial(scheduling_delay=1000)
    hub.fault(kind, status=status)
    done = create(hub, **NEEDS[kind])
    assert done.name == CODES[status] and done.status == status and done.seconds < SOON, done
    assert str(status) in done.message and f"Fault {status}" in done.message and "sbx_sandbox_create" in done.message, done
    # Without the agent in it, the request may pass where its size was refused.
    assert done.creates == (2 if (kind, status) == ("create", 413) else 1 if kind in ("create", *MADE) else 0)
    for job in done.jobs:
        assert job.id in done.message and job.stage == "CANCELED", done


PASSING = (408, 429, 500, 502, 503, 504)


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize("kind", NEEDS)
def test_passing(hub, kind, status):
    """What passes is overcome. A job may have been made in spite of a 5xx: one that was is looked for before another is asked for."""
    hub.fault(kind, status=status, count=1)
    done = create(hub, **NEEDS[kind])
    assert done.name == "OK", done
    assert done.creates == (2 if kind == "create" else 1) and len(done.jobs) == 1


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("kind", NEEDS)
def test_cut(hub, kind, cut):
    hub.fault(kind, cut=cut, count=1)
    done = create(hub, **NEEDS[kind])
    assert done.name == "OK" and len(done.jobs) == 1, done
    assert done.creates == (2 if (kind, cut) == ("create", "before") else 1)


@pytest.mark.parametrize("kind", NEEDS)
def test_slow(hub, kind):
    hub.fault(kind, delay=0.3, count=1)
    done = create(hub, **NEEDS[kind])
    assert done.name == "OK" and done.creates == 1, done


def test_control(hub):
    """Without its end a creation that fails leaves a job."""
    with Driver(hub, off="job-end") as driver:
        hub.dial(scheduling_delay=1000)
        assert driver.ask(MAKE, 300, {}).name == "TIMEOUT"
        assert len(hub.jobs.running()) == 1
    for job in hub.jobs.running():
        hub.driver.ask("client.kill(args[0])", job.id)
