"""The Hub's own client, unmodified, uses our agent as the host of its pools: SandboxPool over two hosts, commands, files, kill, another program, the
death of a host. (Which settings it needs for a program of ours is said in tests/hub/test_client.py.) Later generations of it adopt only hosts
that they have started, with their own command; ours finds theirs by the labels."""
# ctest: timeout=400
import json
import sys

import pytest

pytest.importorskip("huggingface_hub")
from agent import wait_until  # noqa: E402
from conftest import prepared  # noqa: E402
from localhub import Hub  # noqa: E402
from localhub.ask import ask  # noqa: E402

START = """
import concurrent.futures, json, os, sys, time
from huggingface_hub import *
from huggingface_hub.errors import *
"""


@pytest.fixture(scope="module")
def hub():
    with Hub(tls=True) as hub:  # it takes no host by plain HTTP
        yield prepared(hub)


@pytest.fixture(autouse=True)
def nothing_is_left(hub):
    yield
    for job in hub.living():
        ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")
    wait_until(lambda: not hub.jobs.running(), 20, "the end of all jobs")


def theirs(hub, script, *args, **env):
    done = hub.run([sys.executable, "-c", START + script, *args], env=hub.environ(**env), capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}\n{[(job.stage, job.message, job.logs[-10:]) for job in hub.jobs]}"
    return done.stdout


def test_a_hundred_over_two_hosts(hub):
    known = len(hub.hosts())
    theirs(hub, """
with SandboxPool(image="local/unverified", sandboxes_per_host=50, max_hosts=2, warm_up=2) as pool:
    with concurrent.futures.ThreadPoolExecutor(16) as executor:
        boxes = list(executor.map(lambda n: pool.create(env={"N": n}), range(100)))
        assert len({box.id for box in boxes}) == 100 and pool.num_hosts == 2 and pool.num_sandboxes == 100
        assert list(executor.map(lambda box: box.run("echo $N").stdout.strip(), boxes)) == [str(n) for n in range(100)]
        try:
            pool.create()
            raise AssertionError("there is no room")
        except SandboxError as error:
            assert "max_hosts" in str(error), error
        box = boxes[7]
        assert box.host_id == box.id.split(".")[0]
        data = os.urandom(3_000_000)
        box.files.write("data", data)
        assert box.files.read("data") == data and box.files.stat("data").size == len(data)
        box.files.mkdir("a/b")
        assert {e.name for e in box.files.list(".")} >= {"a", "data"} and not box.files.exists("nothing")
        box.files.delete("a", recursive=True)
        process = box.run(["sleep", "1000"], background=True)
        assert [p.running for p in box.processes() if p.id == process.id] == [True] and process.kill() is True
        assert box.run("echo err >&2; exit 4", check=False).exit_code == 4
        again = Sandbox.connect(box.id)
        assert again.files.read("data") == data
        again.close()
        Sandbox.kill(boxes[8].id)
        box.kill()
        new = pool.create()
        assert new.host_id == box.host_id and new.run("echo in").stdout == "in\\n"
        list(executor.map(lambda box: box.kill(), boxes[9:]))
""")
    assert len(hub.hosts()) == known + 2 and not hub.living()


def test_from_another_program_and_after_a_death(hub):
    first = theirs(hub, """
pool = SandboxPool(image="local/unverified", name="theirs", sandboxes_per_host=2)
boxes = [pool.create() for _ in range(3)]
print(json.dumps([box.id for box in boxes]))
os._exit(0)  # leaves all of it behind
""")
    ids = json.loads(first)
    dead = ids[0].split(".")[0]
    theirs(hub, """
pool = SandboxPool.connect("theirs")
box = pool.create()
assert box.run("echo in").stdout == "in\\n" and box.host_id == sys.argv[1]
assert Sandbox.connect(sys.argv[2]).run("echo there").stdout == "there\\n"
""", ids[2].split(".")[0], ids[0])
    ask(hub, "POST", f"/api/jobs/alice/{dead}/cancel")
    theirs(hub, """
try:
    Sandbox.connect(sys.argv[1])
    raise AssertionError("its host has ended")
except SandboxError:
    pass
pool = SandboxPool.connect("theirs")
box = pool.create()
assert box.run("echo on").stdout == "on\\n" and box.host_id != sys.argv[1].split(".")[0]
""", ids[0])


def test_ours_uses_theirs(hub):
    theirs(hub, """
pool = SandboxPool(image="local/unverified", name="both", sandboxes_per_host=2)
box = pool.create()
box.files.write("a", "theirs")
print(box.id)
os._exit(0)
""")
    hub.program.run("""
client = sbx.Client()
[row] = pools.list_all(client)
assert (row["name"], row["hosts"], row["image"], row["sandboxes_per_host"]) == ("both", 1, "local/unverified", 2), row
pool = pools.connect(client, "both")
[row] = pool.sandboxes()
with client.connect(row["id"]) as box: assert box.read("a") == b"theirs"
with pool.sandbox() as own:
    assert own.run("echo in").out == b"in\\n"
    own.write("b", b"ours")
    other = pool.sandbox()  # one more than theirs carries: another host, of the same kind
    assert other.id.split(".")[0] != own.id.split(".")[0] and other.run("echo in").out == b"in\\n"
    info = pool.info()
    assert (info["image"], info["sandboxes"], len(info["hosts"])) == ("local/unverified", 3, 2), info
    assert [h["ours"] for h in info["hosts"]].count(True) == 1
    other.close()
assert pool.delete() == 2
""")
    assert not hub.living()


def test_they_find_sandboxes_of_ours(hub):
    """By their ids: later generations of pools adopt no hosts of others, and say so."""
    program = hub.program.start("""
pool = pools.create(sbx.Client(), name="ours", image="local/unverified")
box = pool.sandbox()
print(box.id, flush=True)
sys.stdin.readline()
""")
    name = program.stdout.readline().strip()
    out = theirs(hub, """
try:
    box = Sandbox.connect(sys.argv[1])
    print(box.run("echo in").stdout)
except SandboxError as error:
    print("refused:", error)
""", name)
    assert out.strip() == "in" or "does not run the sandbox bootstrap command" in out, out
    assert program.communicate("\n", timeout=60)[1] == ""
