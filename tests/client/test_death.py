"""When the agent of a local sandbox ends, every call on it ends at once, and says so."""
import os
import sys
import uuid

import pytest

import sbx

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="local sandboxes")

PROLOGUE = """
import ctypes, os, signal, sys, threading, time, sbx
def failing(call):
    try:
        call()
    except sbx.Error as error:
        return error.name
    return "OK"
client = sbx.Client()
box = client.create()
keeper = client.list()[0]["pid"]
"""


def script(text):
    return sbx.script(PROLOGUE + text)


def test_calls_under_way_fail_at_once():
    script("""
background = box.start("sleep 1000", background=1)
foreground = box.start("echo before; sleep 1000")
assert foreground.next()[1] == b"before\\n"
names = {}
def work(name, call):
    names[name] = (failing(call), time.monotonic())
calls = dict(run=lambda: box.run("sleep 1000"), next=lambda: foreground.next(), wait=lambda: background.wait(),
             follow=lambda: background.next(), run2=lambda: box.run("sleep 1001"))
threads = [threading.Thread(target=work, args=item) for item in calls.items()]
for thread in threads: thread.start()
sbx.wait_until(lambda: len([p for p in box.processes() if p["running"]]) == 4, what="the commands")
queue = sbx.Queue(client)
sbx.check("run", None, box.handle, sbx._command("sleep 1002", {}), sbx.call(queue=queue))
sbx.wait_until(lambda: len([p for p in box.processes() if p["running"]]) == 5, what="the commands")
died = time.monotonic()
os.kill(keeper, signal.SIGKILL)
for thread in threads: thread.join(10)
assert {name: outcome for name, (outcome, _) in names.items()} == dict.fromkeys(calls, "ERROR_AGENT"), names
assert max(when for _, when in names.values()) - died < 2
assert queue.next(5000).status == sbx.AGENT
for call in (lambda: box.run("echo"), box.info, box.processes, foreground.next, background.wait, lambda: background.input(b"x"),
             lambda: box.start("echo"), background.output):
    assert failing(call) == "ERROR_AGENT", call
assert failing(box.kill) == "OK"
foreground.close(); background.close(); box.close()
""")


def test_a_neighbour_is_not_touched():
    script("""
other = client.create()
os.kill(keeper, signal.SIGKILL)
outcomes = []  # the kernel may let the agent end after this process has gone on
sbx.wait_until(lambda: outcomes.append(failing(lambda: box.run("echo"))) or outcomes[-1] != "OK", what="the end")
assert outcomes[-1] == "ERROR_AGENT"
assert other.run("echo alive").out == b"alive\\n"
""")


def test_output_that_came_before_the_end_is_still_given():
    script("""
process = box.start("echo one; sleep 0.05; echo two; sleep 1000")
sbx.wait_until(lambda: box.processes()[0]["stdout_end"] == 8, what="the output")
box.run("true")          # whatever drives here also reads what came for the process
os.kill(keeper, signal.SIGKILL)
got = b""
try:
    while True: got += process.next()[1]
except sbx.Error as error:
    assert error.name == "ERROR_AGENT"
assert got == b"one\\ntwo\\n", got
""")


def test_kill_ends_the_calls_of_other_threads():
    script("""
names = []
thread = threading.Thread(target=lambda: names.append(failing(lambda: box.run("sleep 1000"))))
thread.start()
sbx.wait_until(lambda: box.processes(), what="the command")
box.kill()
thread.join(10)
assert names == ["ERROR_AGENT"]
box.kill()
assert failing(lambda: box.run("echo")) == "ERROR_AGENT"
""")


def test_a_stopped_agent_is_noticed_by_its_silence():
    sbx.script(PROLOGUE + """
def tree(pid):
    return [pid] + [each for child in sbx.children(pid) for each in tree(child)]
stopped = tree(keeper)
for pid in stopped: os.kill(pid, signal.SIGSTOP)
start = time.monotonic()
assert failing(lambda: box.run("echo")) in ("ERROR_UNKNOWN_OUTCOME", "ERROR_CONNECTION")
assert time.monotonic() - start < 20
for pid in stopped: os.kill(pid, signal.SIGCONT)
""", env={"SBX_TEST_SCALE": "60"})


def agents(mark):
    """The agents whose client had this mark in its environment, which test builds of the library pass on to them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as command, open(f"/proc/{pid}/environ", "rb") as environment:
                if command.read().startswith(b"hfsandbox-agent\0--local") and mark.encode() in environment.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def test_a_cancelled_creation_leaves_nothing():
    mark = uuid.uuid4().hex
    with sbx.start_script("import sbx; client = sbx.Client(); box = client.create(); print('made', flush=True); input()",
                          env={"SBX_TEST_MARK": mark}) as script:
        assert script.stdout.readline() == "made\n"
        if os.getuid() == 0:        # an agent hides its environment from its own user; the script below sees its children in any case
            assert agents(mark)
        script.stdin.close()
    sbx.script("""
import threading, sbx
client = sbx.Client()
for delay in (0, 0.0005, 0.001, 0.002, 0.004, 0.008):
    cancel = sbx.Cancel()
    timer = threading.Timer(delay, cancel.now); timer.start()
    try:
        client.create(cancel=cancel).close()
    except sbx.Error as error:
        assert error.name == "ERROR_CANCELED", error
    timer.join()
sbx.wait_until(lambda: not sbx.children(), what="the end of every agent")
""", env={"SBX_TEST_MARK": mark})
    sbx.wait_until(lambda: not agents(mark), what="no agent")


LARGE = """
import tempfile
from machine import in_memory
with tempfile.TemporaryDirectory(prefix="sbx-test-", dir=in_memory()) as runtime, sbx.Client(runtime_dir=runtime) as client:
    neighbour, large = client.create(), client.create(isolation="none")
    made = large.run(["python3", "-c", "import os\\nfor i in range(200000): os.close(os.open(f'f{i}', os.O_CREAT))"])
    assert made.code == 0, made.err
    directory = f"{runtime}/{large.id}"
    assert os.path.isdir(directory)
    pid = {row["id"]: row["pid"] for row in client.list()}[large.id]
    during, ended = [], threading.Event()
    def meanwhile():
        while not ended.is_set():
            assert neighbour.run("true").code == 0
            if large_died.is_set() and os.path.isdir(directory): during.append(failing(lambda: large.run("true")))
    large_died = threading.Event()
    thread = threading.Thread(target=meanwhile)
    thread.start()
    os.kill(pid, signal.SIGKILL)      # its keeper does not clean up any more
    large_died.set()
    large.kill()
    gone = not os.path.exists(directory)
    ended.set(); thread.join()
    print(len(during), gone, set(during) <= {"ERROR_AGENT"})
    neighbour.close(); large.close()
"""


def test_a_large_directory_is_removed_while_others_work():
    during, gone, agent = script(LARGE).stdout.split()
    assert int(during) >= 3 and gone == "True" and agent == "True"


def test_control_removed_under_the_lock():
    during, gone, _ = sbx.script(PROLOGUE + LARGE, env={"SBX_TEST_OFF": "clean-apart"}).stdout.split()
    assert int(during) <= 2 and gone == "True"
