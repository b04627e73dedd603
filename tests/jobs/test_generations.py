"""The wire behaviour of the Hub's own agent in all its generations (PROTOCOL 0), in jobs: where the Hub refuses the size of a request with our
agent in it, the one that it publishes takes its place. What that one has works; what it lacks is named; nothing is run twice there."""
# ctest: timeout=300
from pathlib import Path

import pytest
from agent import wait_until
from jobs import Driver
from localhub import Hub

from conftest import Program

SERVER = Path(__file__).resolve().parents[1] / "support/hub_server.py"
BOX = "box = client.create(env=['GENERATION=%d' % args[0]])\n"


@pytest.fixture(scope="module")
def served():
    with Hub(agent=SERVER, max_secret=50000) as hub:
        hub.program = Program(hub)
        with Driver(hub) as driver:
            hub.driver = driver
            yield hub


@pytest.fixture(params=[1, 2, 3])
def do(served, request):
    def do(text, *args, driver=served.driver):
        done = driver.ask(BOX + text, request.param, *args)
        done.job = served.jobs.last()
        return done

    do.hub, do.generation = served, request.param
    yield do
    served.clear_faults()
    wait_until(lambda: not served.jobs.running(), 20, "the end of all jobs")


def test_that_it_is_the_one(do):
    """The positive control of this file: the server of the generation that is asked for is what answers."""
    done = do("value = box.run('ps -eo args | cat; env').out.decode()")
    assert done.name == "OK", done
    assert f"GENERATION={do.generation}" in done.value and "SBX_TOKEN=" not in done.value
    assert done.job.request["environment"]["SBX_SERVER_URL"].endswith("/resolve/sbx-server")
    assert "HFSANDBOX_AGENT_PAYLOAD" not in done.job.request["secrets"]


def test_commands(do):
    done = do("""
result = box.run("cat; echo $A; pwd; echo err >&2; exit 3", input="w\\u00f6rld\\n".encode(), env=["A=1"], cwd="/tmp")
assert (result.code, result.out, result.err) == (3, "w\\u00f6rld\\n1\\n/tmp\\n".encode(), b"err\\n"), vars(result)
assert box.run(["printf", "%s", "a b"]).out == b"a b"
assert box.run("kill -9 $$").signal == 9
result = box.run("echo before; sleep 1000", timeout_ms=300)
assert result.timed_out and result.signal == 9 and result.out == b"before\\n", vars(result)
with box.start("echo one; sleep 0.2; echo two") as process:
    events = [(e.type, d) for e, d in process]
assert b"".join(d for t, d in events if t == sbx.STDOUT) == b"one\\ntwo\\n" and events[-1][0] == sbx.EXIT, events
big = box.run("seq 1 100000", output_limit=1 << 20)
assert big.out == b"".join(b"%d\\n" % n for n in range(1, 100001))
try:
    box.run(["/no/such/program"])
except sbx.Error as error:
    assert "failed to spawn" in error.message, error
else:
    assert False
""")
    assert done.name == "OK", done


def test_processes(do):
    done = do("""
process = box.start("sleep 1000", background=1, tag="mine")
row, = box.processes()
assert row["running"] and row["tag"] == b"mine" and row["id"].decode() == process.id == "p-0" and row["pid"] == process.pid, row
process.kill()
sbx.wait_until(lambda: box.run(["test", "-e", f"/proc/{process.pid}"]).code == 1, what="its end")
assert box.processes() == []
""")
    assert done.name == "OK", done


def test_files(do):
    done = do("""
data = bytes(range(256)) * 20000
box.mkdir("/tmp/d/e")
box.write("/tmp/d/e/file", data, mode=0o640)
assert box.read("/tmp/d/e/file") == data and box.read("/tmp/d/e/file", offset=1000, length=10) == data[1000:1010]
info = box.stat("/tmp/d/e/file")
assert info.size == len(data) and info.mode == 0o640
box.write("/tmp/d/e/file", b"short")
assert box.read("/tmp/d/e/file") == b"short"
assert [(i.name, i.size) for i in box.list("/tmp/d/e")] == [(b"file", 5)]
box.delete("/tmp/d", recursive=1)
for call in (lambda: box.read("/tmp/d/e/file"), lambda: box.stat("/tmp/d"), lambda: box.list("/tmp/d"), lambda: box.delete("/tmp/d")):
    try:
        call()
    except sbx.Error as error:
        assert error.name == "ERROR_NOT_FOUND", error
    else:
        assert False
""")
    assert done.name == "OK", done


LACKS = {"output of a background command": "background.next()", "signals": "background.signal(15)", "waiting": "background.wait()",
         "old output": "background.output()", "input to a running command": "background.input(b'x')", "attaching": "box.attach('p-0')",
         "info": "box.info()", "open input": "box.start('cat', input_open=1)", "binary input": "box.run('cat', input=b'\\xff')",
         "waiting for descendants": "box.run('true', wait_descendants=1)", "renaming": "box.rename('/tmp/a', '/tmp/b')",
         "conditions": "box.write('/tmp/a', b'x', if_absent=1)"}


def test_what_it_lacks_is_named(do):
    done = do("background = box.start('sleep 1000', background=1)\nvalue = {}\n" + "".join(f"""
try:
    {call}
    value[{name!r}] = "OK"
except sbx.Error as error:
    value[{name!r}] = error.name + " " + error.message
""" for name, call in LACKS.items()))
    assert done.name == "OK", done
    for name, said in done.value.items():
        assert said.startswith("ERROR_UNSUPPORTED ") and ("lacks" in said or "no hfsandbox-agent" in said), (name, said)


def test_deadline_and_kill(do):
    """A deadline of the call ends the command there too; kill ends the job, whatever serves in it."""
    done = do("""
begin = time.monotonic()
try:
    box.run("echo $$ > /tmp/pid; exec sleep 1000", call_timeout_ms=500)
except sbx.Error as error:
    assert error.name == "ERROR_TIMEOUT", error
assert time.monotonic() - begin < 10
sbx.wait_until(lambda: box.run("kill -0 $(cat /tmp/pid)").code != 0, 20, what="the end of the command")
box.kill()
value = box.id
try:
    box.run("true")
except sbx.Error as error:
    assert error.name == "ERROR_AGENT" and value in error.message and "CANCELED" in error.message, error
""")
    assert done.name == "OK" and done.job.stage == "CANCELED", done


def test_connect(do):
    """From elsewhere, with what that agent has; a wrong token is told from a server that tells nothing of itself."""
    done = do("""
with sbx.Client() as other, other.connect(box.id) as same:
    assert same.run("echo there").out == b"there\\n"
with sbx.Client(hub_token=args[1]) as other:
    other.connect(box.id)
""", do.hub.accounts.ALICE_OTHER)
    assert done.name == "AUTH", done


# All three ways at once, each with a file that counts how often it ran; then it is waited until they all have.
ONCE = """
calls = {"run": lambda c: box.run(c), "start": lambda c: list(box.start(c)), "background": lambda c: box.start(c, background=1)}
value = {}
def once(name):
    box.write("/tmp/" + name, b"")   # a used connection stands ready
    try:
        calls[name]("echo x >> /tmp/" + name)
        value[name] = "OK"
    except sbx.Error as error:
        value[name] = error.name.removeprefix("ERROR_")
threads = [threading.Thread(target=once, args=(name,)) for name in calls]
for thread in threads: thread.start()
for thread in threads: thread.join()
counts = lambda: [len(box.read("/tmp/" + name).split()) for name in calls]
sbx.wait_until(lambda: min(counts()) >= args[1], what="the commands")
value = [value, counts()]
"""
LOST = {"after": ({"cut": "after"}, 1), "before": ({"cut": "before"}, 0), "reply": ({"cut": "reply", "bytes": 5}, 1),
        "502": ({"status": 502}, 0)}


@pytest.mark.parametrize("how", LOST)
def test_nothing_runs_twice(do, how):
    fault, ran = LOST[how]
    for path in ("/v1/exec", "/v1/processes"):
        do.hub.fault("proxy", path=path, method="POST", **fault)
    done = do(ONCE, ran)
    assert done.name == "OK", done
    outcomes, counts = done.value
    # A stream that broke off in its middle may be known to have begun.
    assert set(outcomes.values()) <= ({"CONNECTION", "UNKNOWN_OUTCOME"} if how == "reply" else {"UNKNOWN_OUTCOME"}), outcomes
    assert counts == [ran] * 3
    assert len([r for r in do.hub.requests.of("proxy", method="POST", job=done.job.id)]) == 3


def test_control_of_once(do):
    """libcurl sends again what was lost on a used connection, unless it is told not to."""
    do.hub.fault("proxy", path="/exec", method="POST", cut="after")
    text = "box.write('/tmp/a', b'')\ntry:\n    box.run('true')\nexcept sbx.Error as error:\n    value = error.name"
    with Driver(do.hub, off="fresh-connect") as driver:
        done = do(text, driver=driver)
    assert len(do.hub.requests.of("proxy", method="POST", path="/exec", job=done.job.id)) > 1
