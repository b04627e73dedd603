"""What list and reap make of the Hub's answers: nothing counts that was not asked for, and ages are those of the Hub's clock."""
# ctest: timeout=120
import json

import pytest
from localhub.ask import ask


def plain_job(hub):
    """One that is no sandbox at all."""
    made = ask(hub, "POST", "/api/jobs/alice", {"command": ["sleep", "1000"], "arguments": [], "environment": {}, "flavor": "cpu-basic",
                                                "dockerImage": "python:3.12", "labels": {"team": "red"}})
    assert made.status == 200, made
    return made.json["id"]


@pytest.mark.parametrize("off", [None, "answer-labels"])
def test_a_list_of_foreign_jobs(hub, off):
    """A Hub that makes nothing of the query: others' sandboxes and plain jobs stay, and no key leads to them."""
    red, blue = json.loads(hub.program.run("""
client = sbx.Client()
print(json.dumps([client.create(labels=["team=" + team], detached=1).id for team in ("red", "blue")]))
"""))
    plain = plain_job(hub)
    hub.fault("list", status=200, body=[hub.jobs[id].as_json() for id in (red, blue, plain)])
    out = json.loads(hub.program.run("""
client = sbx.Client()
rows = [row["id"] for row in client.list(labels=["team=red"])]
box = client.create(client_key="mine", detached=1)
print(json.dumps([rows, box.id, client.reap(labels=["team=red"])]))
""", off=off))
    running = {job.id for job in hub.jobs.running()}
    if off is None:
        assert out[0] == [red] and out[1] not in (red, blue, plain) and out[2] == 1
        assert running == {blue, plain, out[1]}
    else:
        assert out == [[red, blue, plain], red, 3] and not running


AGES = """
client = sbx.Client()
box = client.create()
half = client.list(min_age_ms=1800000)
rows = client.list()
client.create(detached=1)
time.sleep(1.1)  # Date tells whole seconds, and who is in doubt is young
print(json.dumps([len(half), rows[0]["cost_micro_usd"], client.reap(min_age_ms=1800000), client.reap(min_age_ms=1)]))
"""
FIRST = 1000  # millionths of a dollar: more than anything costs here that has not run for an hour


@pytest.mark.parametrize("off", [None, "hub-clock"])
@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_clock_that_is_another(hub, ahead, off):
    """An hour behind, what has just been made would look old and be ended; an hour ahead, nothing would ever be."""
    hub.dials.set(clock_ahead=ahead)
    half, cost, old, new = json.loads(hub.program.run(AGES, off=off))
    if off is None:
        assert (half, old, new) == (0, 0, 1) and cost < FIRST, (half, cost, old, new)
    elif ahead < 0:
        assert (half, old, new) == (1, 1, 0) and cost > FIRST, (half, cost, old, new)
    else:
        assert (half, old, new) == (0, 0, 0)


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 06 Now 1994 08:49:37 GMT", "Sun, 06 Nov 1994"])
def test_a_hub_that_tells_no_time(hub, date):
    """Then this computer's clock counts."""
    made = hub.program.run("print(sbx.Client().create(detached=1).id)").strip()
    hub.fault("list", status=200, body=[hub.jobs[made].as_json()], headers={"Date": date})
    assert hub.program.run("client = sbx.Client(); print(client.reap(min_age_ms=3600000), client.reap(min_age_ms=1))") == "0 1\n"
