"""Waiting for a sandbox is quick and kind: the agent is found soon after it answers, and neither it nor the Hub is asked too often."""
# ctest: timeout=300
from table import FAR, hub, served  # noqa: F401

MAKE = "box = client.create(timeout_ms=args[0]); value = [box.id, time.time()]"


def test_a_machine_that_comes_late(hub):
    """Two seconds of scheduling: a question to the agent every 50 ms at most, and hardly any to the Hub."""
    hub.dial(scheduling_delay=2.0)
    done = hub.driver.ask(MAKE, FAR)
    job, until = hub.jobs[done.value[0]], done.value[1]
    health = [r for r in hub.requests.of("proxy", path="/health", job=job.id)]
    inspects = [r for r in hub.requests.of("inspect", path=job.id) if r.at <= until]
    waited = until - job.created
    assert done.seconds >= 2 and 5 <= len(health) <= waited / 0.05, (len(health), waited)
    assert 2 <= len(inspects) <= 5 + waited - 2, (len(inspects), waited)
    assert len(hub.requests.of("create", path="/alice")) == 1
    connections = {r.connection for r in health}
    assert len(connections) <= 3, connections


def test_an_agent_that_answers_at_once(hub):
    """From the start of the job's command to the handle; the quickest of several, as this machine has other things to do."""
    took = []
    for delay in (0.02, 0.3, 0.7):
        hub.dial(scheduling_delay=delay)
        done = hub.driver.ask(MAKE, FAR)
        took.append(done.value[1] - hub.jobs[done.value[0]].started)
    assert min(took) < 1, took
