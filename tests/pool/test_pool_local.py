"""Pools of this computer: the same functions, each sandbox an ordinary local one, as many as the pool carries, whatever programs make them."""
# ctest: timeout=200
import json

import pytest
import sbx

START = "import json, os, sys, threading, time\nimport pools, sbx\nclient = sbx.Client(provider='local', runtime_dir=sys.argv[1])\n"


@pytest.fixture
def runtime(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    yield directory
    sbx.script(START + "client.reap()", directory)
    assert not list(directory.glob("local-*"))


def run(runtime, text, *args, **env):
    return sbx.script(START + text, runtime, *args, env=env).stdout


def test_a_local_pool(runtime):
    run(runtime, """
pool = pools.create(client, name="p", sandboxes_per_host=2, max_hosts=2)
assert pool.warm(3) == 1
boxes = [pool.sandbox(env=[f"N={n}"], limit_processes=64) for n in range(4)]
assert [box.run("echo $N").out for box in boxes] == [b"%d\\n" % n for n in range(4)]
info = pool.info()
assert (info["provider"], info["sandboxes"], info["hosts"][0]["capacity"]) == ("local", 4, 4), info
assert {row["id"] for row in pool.sandboxes()} == {box.id for box in boxes} and all(row["pool"] == "p" for row in pool.sandboxes())
assert [(row["name"], row["provider"], row["sandboxes_per_host"]) for row in pools.list_all(client)] == [("p", "local", 4)]
try:
    pool.sandbox()
    raise AssertionError("a fifth")
except sbx.Error as error:
    assert error.code == sbx.BUSY and "4 sandboxes of at most 4" in error.message, error
boxes[0].kill()
with pool.sandbox() as box:
    assert box.run("echo in").out == b"in\\n"
    for other in (box, boxes[1]):  # they see nothing of each other
        other.write("/tmp/mine", other.id.encode())
    assert box.read("/tmp/mine") == box.id.encode()
pool.sandbox().close()
for box in boxes[1:]: box.close()
assert pool.sandboxes() == []
pool.close()
assert pools.list_all(client) == [] and client.list() == []
client.close()
""")
    assert list(runtime.iterdir()) == []


def test_from_another_program(runtime):
    one = sbx.start_script(START + """
pool = pools.create(client, name="p", sandboxes_per_host=3)
boxes = [pool.sandbox(), pool.sandbox(detached=1)]
boxes[0].write("a", b"by one")
print(json.dumps([box.id for box in boxes]), flush=True)
sys.stdin.readline()
try:
    boxes[0].run("true")
except sbx.Error as error:
    assert error.code == sbx.AGENT, error
""", runtime)
    ids = json.loads(one.stdout.readline())
    run(runtime, """
ids = json.loads(sys.argv[2])
pool = pools.connect(client, "p")
assert {row["id"] for row in pool.sandboxes()} == set(ids)
with client.connect(ids[0]) as box: assert box.read("a") == b"by one"
own = pool.sandbox()
try:
    pool.sandbox()
    raise AssertionError("a fourth")
except sbx.Error as error:
    assert error.code == sbx.BUSY, error
own.close()
assert client.kill(ids[0]) is None
assert [row["id"] for row in pool.sandboxes()] == ids[1:]
pool.close()
""", json.dumps(ids))
    out, err = one.communicate("\n", timeout=30)
    assert one.returncode == 0, err
    # It has ended: what was attached is gone, what was detached is not.
    run(runtime, """
pool = pools.connect(client, "p")
assert [row["id"] for row in pool.sandboxes()] == [json.loads(sys.argv[2])[1]]
assert pool.delete() == 1 and client.list() == [] and pools.list_all(client) == []
try:
    pools.connect(client, "p")
    raise AssertionError("it was deleted")
except sbx.Error as error:
    assert error.code == sbx.NOT_FOUND, error
""", json.dumps(ids))
    assert list(runtime.iterdir()) == []


def test_attached_ones_end_with_the_program(runtime):
    """Also when it ends without giving anything back."""
    run(runtime, """
pool = pools.create(client, name="p")
boxes = [pool.sandbox() for _ in range(2)]
print(len(client.list()))
boxes.clear
""")
    run(runtime, """
until = time.monotonic() + 10
while client.list() and time.monotonic() < until: time.sleep(0.02)
assert client.list() == []
""")


def test_options(runtime):
    run(runtime, """
for options in ({"image": "a"}, {"flavor": "a"}, {"warm": 1}, {"adopt": 1}, {"hub_namespace": "a"}, {"start_timeout_ms": 1}, {"name": "../x"}):
    try:
        pools.create(client, **options)
        raise AssertionError(options)
    except sbx.Error as error:
        assert error.code == sbx.INVALID, error
pool = pools.create(client)
with pool.sandbox(cwd="/tmp", network="host", isolation="full") as box: assert box.run("pwd").out == b"/tmp\\n"
for options in ({"image": "a"}, {"client_key": "a"}, {"limit_disk": 5}):
    try:
        pool.sandbox(**options)
        raise AssertionError(options)
    except sbx.Error as error:
        assert error.code == sbx.INVALID, error
""")


RACE = START + """
pool = pools.create(client, name="p", sandboxes_per_host=7)
made, failed = [], []
def work():
    for _ in range(2):
        try: made.append(pool.sandbox())
        except sbx.Error as error: failed.append(error.name)
threads = [threading.Thread(target=work) for _ in range(3)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([[box.id for box in made], failed]), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("off", [None, "local-pool-lock"])
def test_several_programs(runtime, off):
    programs = [sbx.start_script(RACE, runtime, env={"SBX_TEST_OFF": off} if off else None) for _ in range(3)]
    for program in programs:
        assert program.stdout.readline() == "ready\n", program.communicate()
    for program in programs:
        program.stdin.write("\n")
        program.stdin.flush()
    answers = [json.loads(program.stdout.readline()) for program in programs]
    made = [id for ids, _ in answers for id in ids]
    assert len(set(made)) == len(made)
    if off is None:
        assert len(made) == 7 and {name for _, failed in answers for name in failed} == {"ERROR_BUSY"}, answers
    else:
        assert len(made) > 7
    for program in programs:
        assert program.communicate("\n", timeout=30)[1] == ""
