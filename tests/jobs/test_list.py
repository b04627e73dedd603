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
