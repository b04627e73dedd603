"""Who owns a local sandbox: whatever becomes of the client's process, nothing of the sandbox is left, and nothing of the host program is
disturbed."""
import os
import random
import signal
import time
import uuid
from pathlib import Path

import pytest
import sbx


class Traces:
    """What the sandboxes of one test leave on this machine: processes are told by a mark that the test build passes to agents and by an
    argument of the commands, mounts by the host's table, directories by the runtime directory."""

    def __init__(self, runtime):
        self.mark = uuid.uuid4().hex
        self.seconds = str(100000 + random.randrange(10**9))  # `sleep` with this argument is a command of this test
        self.runtime = runtime
        self.mounts = Path("/proc/self/mountinfo").read_text().count("\n")
        self.env = {"SBX_TEST_MARK": self.mark}

    def processes(self):
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environ, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            except OSError:
                continue
            agent = command.startswith(b"hfsandbox-agent") and self.mark.encode() in environ
            if agent or command == b"sleep\0" + self.seconds.encode() + b"\0":
                found.append(int(entry.name))
        return found

    def left(self):
        mounts = Path("/proc/self/mountinfo").read_text().count("\n") - self.mounts
        # A socket's name of the moment is removed by whoever uses the library next.
        names = [name for name in os.listdir(self.runtime) if not name.startswith(".connect-")]
        return {"processes": self.processes(), "mounts": mounts, "directories": names}

    def gone(self, timeout=10):
        nothing = {"processes": [], "mounts": 0, "directories": []}
        try:
            sbx.wait_until(lambda: self.left() == nothing, timeout)
        except AssertionError:
            raise AssertionError(f"left behind: {self.left()}") from None


@pytest.fixture
def traces(tmp_path):
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    return Traces(runtime)


MAKE = """
import sbx, sys, os, signal, time
runtime, seconds = sys.argv[1:3]
client = sbx.Client(runtime_dir=runtime)
box = client.create()
for _ in range(3):
    box.start(["sleep", seconds], background=1).close()
print("ready", flush=True)
"""


def started(traces, text, *args, **env):
    process = sbx.start_script(MAKE + text, traces.runtime, traces.seconds, *args, env={**traces.env, **env})
    line = sbx.read_line(process)
    assert line == "ready\n", line + process.stderr.read()
    return process


def test_traces_are_seen(traces):
    """The positive control of all tests here: while the sandbox lives, the traces are found."""
    process = started(traces, "sys.stdin.read(); os._exit(0)")
    # The keeper and three commands; only root can look into the serving process.
    assert len(traces.processes()) >= 4
    process.communicate("")
    traces.gone()


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "client.close(); box.close()",
                                 "box.close()", "box.kill()", "os.execv('/bin/true', ['true'])"])
def test_ends_with_its_client(traces, end):
    started(traces, end).communicate(timeout=30)
    traces.gone()


def test_free_and_kill_end_it_while_the_process_lives(traces):
    process = started(traces, "box.close(); print('freed', flush=True); sys.stdin.read(); print(sbx.children())")
    assert sbx.read_line(process) == "freed\n"
    traces.gone()
    out, _ = process.communicate("", timeout=30)
    assert out == "[]\n", "a zombie is left"


@pytest.mark.parametrize("off,survives", [("", False), ("client-watch", True)])
def test_a_forked_child_does_not_keep_it_alive(traces, off, survives):
    """The child holds copies of every descriptor. With the watch on the client's pidfd switched off, the copies keep the sandbox."""
    text = """
child = os.fork()
if child == 0:
    while True: signal.pause()
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = started(traces, text, SBX_TEST_OFF=off, HFSANDBOX_AGENT=sbx.BUILD / "bin" / "hfsandbox-agent-test")
    child = int(sbx.read_line(process))
    try:
        if survives:
            process.wait()
            time.sleep(0.5)  # long enough for a watch that were there
            assert traces.processes()
        else:
            traces.gone()
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()
    traces.gone()


def test_handles_in_a_forked_child_do_nothing(traces):
    text = """
child = os.fork()
if child == 0:
    try:
        box.run("true")
    except sbx.Error as e:
        os.write(1, (e.name + "\\n").encode())
    box.close(); client.close()
    os._exit(0)
os.waitpid(child, 0)
print(box.run("echo alive").out.decode(), end="", flush=True)
"""
    out, err = started(traces, text).communicate(timeout=30)
    assert out == "ERROR_STATE\nalive\n", err
    traces.gone()


def test_death_of_the_agent_is_noticed(traces):
    text = """
keeper = client.list()[0]["pid"]
print(keeper, flush=True)
try:
    box.run(["sleep", "100"])
except sbx.Error as e:
    print(e.name, e.message)
try:
    box.run("true")
except sbx.Error as e:
    print(e.name)
print(client.list())
box.kill()
"""
    process = started(traces, text)
    os.kill(int(sbx.read_line(process)), signal.SIGKILL)
    out, err = process.communicate(timeout=30)
    lines = out.splitlines()
    assert lines[0].startswith("ERROR_AGENT") and "signal 9" in lines[0], out + err
    assert lines[1:] == ["ERROR_AGENT", "[]"]
    traces.gone()


def test_calls_under_way_fail_when_it_is_killed(traces):
    text = """
import threading
def kill():
    sys.stdin.readline()
    box.kill()
threading.Thread(target=kill).start()
print("go", flush=True)
try:
    box.run(["sleep", "100"])
except sbx.Error as e:
    print(e.name)
"""
    process = started(traces, text)
    assert sbx.read_line(process) == "go\n"
    out, err = process.communicate("\n", timeout=30)
    assert out == "ERROR_AGENT\n", err
    traces.gone()


@pytest.mark.parametrize("host", ["signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
                                  "import threading; threading.Thread(target=reap_everything, daemon=True).start()",
                                  "signal.signal(signal.SIGCHLD, lambda *_: reap())"])
def test_host_programs_with_their_own_ways_of_waiting(traces, host):
    text = f"""
import time
def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError:
        pass
def reap_everything():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)
{host}
for _ in range(8):
    other = client.create()
    assert other.run("echo hi").out == b"hi\\n"
    other.kill()
    other.close()
box.close()
sbx.wait_until(lambda: not sbx.children())
print("fine")
"""
    out, err = started(traces, text).communicate(timeout=60)
    assert out == "fine\n", err
    traces.gone()


def test_descriptors_and_children_come_back_to_the_start(traces):
    text = """
def cycle(n, detached):
    for at in range(n):
        one = client.create(detached=detached)
        one.run("true")
        if at % 3 != 2 or detached: one.kill()
        one.close()
for detached in (0, 1):
    cycle(3, detached)
    sbx.wait_until(lambda: len(sbx.children()) == 1)
    before = sbx.descriptors()
    cycle(20, detached)
    sbx.wait_until(lambda: len(sbx.children()) == 1)
    assert sbx.descriptors() <= before, (before, sbx.descriptors())
print("fine")
"""
    out, err = started(traces, text).communicate(timeout=120)
    assert out == "fine\n", err
    traces.gone()


def test_threads_create_and_kill_at_once(traces):
    text = """
import threading
def work():
    for _ in range(3):
        with client.create() as one:
            assert one.run("echo hi").out == b"hi\\n"
            if _ % 2: one.kill()
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
box.close()
sbx.wait_until(lambda: not sbx.children())
print("fine")
"""
    out, err = started(traces, text).communicate(timeout=120)
    assert out == "fine\n", err
    traces.gone()


CHURN = """
import sbx, sys, random
runtime, seconds, detached = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = sbx.Client(runtime_dir=runtime)
print("ready", flush=True)
while True:
    box = client.create(detached=detached)
    if detached:
        print(box.id, flush=True)
    process = box.start(["sleep", seconds], background=1)
    box.write("f", b"x" * 100000)
    box.run("cat f")
    if random.random() < 0.5: box.kill()
    box.close()
"""


@pytest.mark.parametrize("detached", [0, 1])
def test_client_killed_at_any_moment(traces, detached):
    """Attached: nothing is left. Detached: nothing but sandboxes that are complete, which list shows and reap ends."""
    chance = random.Random(traces.mark)
    end = time.monotonic() + float(os.environ.get("SBX_KILL_SECONDS", 12))
    rounds = 0
    while time.monotonic() < end or rounds < 5:
        process = sbx.start_script(CHURN, traces.runtime, traces.seconds, detached, env=traces.env)
        assert sbx.read_line(process) == "ready\n", process.stderr.read()
        time.sleep(chance.random() * chance.choice((0.005, 0.02, 0.1)))
        process.kill()
        process.communicate()
        rounds += 1
        # Who uses the library next removes the name of a socket that the other had just made.
        sbx.script("import sbx, sys; sbx.Client(runtime_dir=sys.argv[1]).list()", traces.runtime)
        if detached:
            settled = "import sbx, sys; print(sorted(r['id'] for r in sbx.Client(runtime_dir=sys.argv[1]).list() if r['running']))"
            alive = sbx.script(settled, traces.runtime).stdout
            sbx.wait_until(lambda: str(sorted(os.listdir(traces.runtime))) == alive.strip(), what="only complete sandboxes being left")
            sbx.script("import sbx, sys; sbx.Client(runtime_dir=sys.argv[1]).reap()", traces.runtime)
        traces.gone()


def test_other_descriptors_of_the_host_do_not_reach_the_agent(traces):
    text = """
leak = os.open("/etc/hostname", os.O_RDONLY); os.set_inheritable(leak, True)
high = os.dup2(leak, 500, inheritable=True)
two = client.create()
for row in client.list():
    for pid in [row["pid"], *sbx.children(row["pid"])]:
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                assert "hostname" not in os.readlink(f"/proc/{pid}/fd/{fd}"), (pid, fd)
        except FileNotFoundError:
            pass
        except PermissionError:
            assert os.geteuid() != 0 and pid != row["pid"]  # an ordinary user sees those of the keeper alone
assert two.run("ls -l /proc/self/fd | grep -c hostname").out == b"0\\n"
print("fine")
"""
    out, err = started(traces, text).communicate(timeout=30)
    assert out == "fine\n", err
    traces.gone()


STOPPED = """
keeper = client.list()[0]["pid"]
os.kill(keeper, signal.SIGSTOP)
begin = time.monotonic()
try:
    %s
except sbx.Error as e:
    print(e.name, end=" ")
print("%%.3f" %% (time.monotonic() - begin), flush=True)
sys.stdin.read()
try:
    os.kill(keeper, signal.SIGCONT)
except ProcessLookupError:
    pass
"""


@pytest.mark.parametrize("end,least,most", [("box.kill(timeout_ms=20000)", 1.5, 10), ("box.close()", 0, 0.2), ("client.close(); box.close()", 0, 0.2)])
def test_a_keeper_that_does_not_react_is_ended_all_the_same(traces, end, least, most):
    """By SIGKILL after a grace; giving the handle back does not wait for that."""
    process = started(traces, STOPPED % end)
    took = float(sbx.read_line(process))
    traces.gone()
    process.communicate("")
    assert least <= took <= most


def test_control_without_sigkill_after_the_grace(traces):
    process = started(traces, STOPPED % "box.kill(timeout_ms=4000)", SBX_TEST_OFF="kill-grace")
    assert sbx.read_line(process).startswith("ERROR_TIMEOUT")
    process.communicate("")
    traces.gone()
