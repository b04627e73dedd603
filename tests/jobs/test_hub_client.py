"""Ids and labels are those that the Hub's own client understands, both ways: the unmodified huggingface_hub and this library each use what the
other one has made. (Which settings that client needs for a program of ours is said in tests/hub/test_client.py.)"""
# ctest: timeout=300
import sys

import pytest

pytest.importorskip("huggingface_hub")
from agent import wait_until  # noqa: E402
from localhub import Accounts  # noqa: E402

THEIRS = "import sys\nfrom huggingface_hub import *\n"


def theirs(hub, text, *args, token=None):
    done = hub.run([sys.executable, "-c", THEIRS + text, *args], env=hub.environ(token=token), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
    return done.stdout.strip()


def test_they_use_ours(either_hub):
    hub = either_hub
    ours = hub.program.run("""
box = sbx.Client().create(image="local/unverified", detached=1, labels=["team=red"])
box.write("/tmp/a", b"ours")
print(box.id)
""").strip()
    theirs(hub, """
[job] = [job for job in list_jobs(labels={"hf-sandbox": "1", "hf-sandbox-mode": "dedicated", "team": "red"})]
assert job.id == sys.argv[1] and job.status.stage == "RUNNING", job
for name in (job.id, "alice/" + job.id):
    box = Sandbox.connect(name)
    assert box.files.read("/tmp/a") == b"ours"
    assert box.run("cat /tmp/a; exit 3", check=False).exit_code == 3
    box.files.write("/tmp/b", "theirs")
    process = box.run(["sleep", "1000"], background=True)
    assert [p.running for p in box.processes() if p.pid == process.pid] == [True]
    assert process.kill() is True
    box.close()
""", ours)
    hub.program.run("box = sbx.Client().connect(sys.argv[1]); assert box.read('/tmp/b') == b'theirs'", ours)
    assert hub.jobs[ours].stage == "RUNNING"
    theirs(hub, "Sandbox.kill(sys.argv[1])", ours)
    assert hub.jobs[ours].stage == "CANCELED"
    wait_until(lambda: not hub.jobs[ours].processes(), what="the end of its processes")
    hub.program.run("""
try:
    sbx.Client().connect(sys.argv[1])
    raise AssertionError("it is still there")
except sbx.Error as error:
    assert error.code == sbx.NOT_FOUND and "CANCELED" in error.message, error
""", ours)


def test_we_use_theirs(either_hub):
    hub = either_hub
    made = theirs(hub, """
box = Sandbox.create(image="local/unverified")
box.files.write("/tmp/a", "theirs")
box.close()
print(box.id)
""")
    hub.program.run("""
client = sbx.Client()
row, = client.list()
assert row["id"] == sys.argv[1] and row["running"] and row["stage"] == "RUNNING" and row["image"] == "local/unverified", row
for name in (row["id"], "alice/" + row["id"]):
    box = client.connect(name)
    assert box.read("/tmp/a") == b"theirs"
    assert box.run("cat /tmp/a; exit 3").__dict__.items() >= {"code": 3, "out": b"theirs"}.items()
    box.write("/tmp/b", bytes(range(256)))
    box.close()
""", made)
    assert theirs(hub, "print(Sandbox.connect(sys.argv[1]).files.read('/tmp/b').hex())", made) == bytes(range(256)).hex()
    assert hub.jobs[made].stage == "RUNNING"
    hub.program.run("sbx.Client().connect(sys.argv[1]).kill()", made)
    assert hub.jobs[made].stage == "CANCELED"


def test_another_token_opens_neither(hub):
    """The same user's: the sandbox's key is that of the token that made it, to both."""
    ours = hub.program.run("print(sbx.Client().create(detached=1).id)").strip()
    made = theirs(hub, "box = Sandbox.create(image='local/unverified'); box.close(); print(box.id)")
    assert "403" in theirs(hub, """
try:
    Sandbox.connect(sys.argv[1]).run("true")
except Exception as error:
    print(error)
""", ours, token=Accounts.ALICE_OTHER)
    assert hub.program.run("""
try:
    sbx.Client(hub_token=sys.argv[2]).connect(sys.argv[1]).run("true")
except sbx.Error as error:
    print(error.name)
""", made, Accounts.ALICE_OTHER).strip() == "ERROR_AUTH"
    hub.program.run("for name in sys.argv[1:]: sbx.Client().kill(name)", ours, made)
    assert not hub.jobs.running()
