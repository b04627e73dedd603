"""How long a creation waits for the Hub: the limits that it names, and the deadline of the call, which bounds everything."""
# ctest: timeout=300
import pytest
from jobs import Driver
from localhub.faults import rate_limit_headers
from table import MADE, NEEDS, SOON, create, hub, served  # noqa: F401


@pytest.mark.parametrize("kind,form", [("whoami", "retry-after"), ("whoami", "ratelimit"), *((kind, "both") for kind in NEEDS)])
def test_rate_limits(hub, kind, form):
    """The time that the Hub names is waited, and no longer; one that is beyond the deadline fails at once. A creation that only has to be
    looked after goes on meanwhile."""
    hub.rate_limit(kind, seconds=1, form=form, count=1)
    done = create(hub, **NEEDS[kind])
    assert done.name == "OK" and (done.seconds >= 1 or kind in MADE), done
    hub.rate_limit(kind, seconds=100, form=form)
    done = create(hub, **NEEDS[kind])
    if kind in MADE:
        assert done.name == "OK", done
        return
    assert done.name == "BUSY" and done.seconds < SOON and "429" in done.message, done
    assert done.creates == (1 if kind == "create" else 0)


@pytest.mark.parametrize("off", [None, "asked-pause"])
@pytest.mark.parametrize("status", [500, 503])
def test_a_pause_after_a_fault(hub, status, off):
    """Retry-After counts with any answer that is asked for again: of the Hub, and of its proxy."""
    later = {"status": status, "count": 1, "headers": {"Retry-After": "4"}}
    hub.fault("whoami", **later)
    hub.fault("proxy", path="/v1/files/stat", **later)
    known = len(hub.requests)
    with Driver(hub, off=off) as driver:
        done = driver.ask("box = client.create(timeout_ms=60000); box.stat('/etc')")
    assert done.name == "OK", done
    requests = hub.requests.all()[known:]
    for asked in ([r.at for r in requests if r.kind == "whoami"], [r.at for r in requests if "/v1/files/stat" in r.path]):
        assert len(asked) == 2 and (asked[1] - asked[0] >= 4) == (off is None), asked


def test_a_limit_is_kept_while_waiting(hub):
    hub.dial(boot_delay=1000)
    hub.rate_limit("inspect", seconds=100)
    done = create(hub, 4000)
    assert done.name == "TIMEOUT" and len(hub.requests.of("inspect", path=done.jobs[0].id)) == 1, done


@pytest.mark.parametrize("how", [{"hang": True}, {"status": 500}, {"status": 503, "headers": rate_limit_headers(0, 0, "retry-after")},
                                 {"cut": "after"}, {"cut": "before"}], ids=["hang", "500", "503", "after", "before"])
@pytest.mark.parametrize("kind", NEEDS)
def test_the_deadline_bounds_everything(hub, kind, how):
    hub.dial(scheduling_delay=1000)
    hub.fault(kind, **how)
    done = create(hub, 600, **NEEDS[kind])
    assert done.name in ("TIMEOUT", "CONNECTION", "BUSY") and done.seconds < 0.6 + SOON, done
    if done.name == "TIMEOUT":
        assert "600 ms" in done.message
    if kind in MADE:
        assert done.jobs[0].id in done.message and "SCHEDULING" in done.message, done
