"""A client killed before and after each single system call of creating, using and ending a sandbox: nothing is left, but detached sandboxes that
are complete."""
import os
import tempfile

import pytest
import sbx

# One process for all points: each of its children is traced, counts its system calls from the first use of the library on, and is killed at
# the point that is its turn.
TRACE = r"""
import ctypes, os, signal, sys, json, time
import sbx

runtime, detached, stop_at_first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
mark = os.environ["SBX_TEST_MARK"].encode()
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
TRACEME, CONT, SYSCALL, SETOPTIONS, SYSGOOD, EXITKILL = 0, 7, 24, 0x4200, 1, 0x100000
sbx.lib.sbx_version()

def work():
    libc.ptrace(TRACEME, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    client = sbx.Client(runtime_dir=runtime)
    box = client.create(detached=detached)
    box.run(["true"])
    box.kill()
    box.close()
    client.close()
    os._exit(0)

def killed_at(point):
    "True when the child came as far as that."
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(9)
    os.waitpid(child, 0)
    libc.ptrace(SETOPTIONS, child, None, SYSGOOD | EXITKILL)
    seen, deliver = 0, 0
    while True:
        libc.ptrace(SYSCALL, child, None, deliver)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return False
        stop = os.WSTOPSIG(status)
        deliver = 0 if stop == signal.SIGTRAP | 0x80 else stop
        seen += stop == signal.SIGTRAP | 0x80
        if seen == point:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True

def agents():
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as f:
                    if not f.read(16).startswith(b"hfsandbox-agent"): continue
                with open(f"/proc/{name}/environ", "rb") as f:
                    if mark in f.read(): found.append(int(name))
            except OSError:
                pass
    return found

def passing(name):
    "A socket's name of the moment: whoever uses the library next removes one that is left."
    return name.startswith(".connect-")

def complete():
    "The detached sandboxes that are ready and running; None while anything else is there."
    names = [name for name in os.listdir(runtime) if not passing(name)]
    if not all(os.path.exists(f"{runtime}/{name}/record.json") for name in names) or bool(names) != bool(agents()):
        return None
    return names

def settled(timeout):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        names = complete()
        if names is not None and (detached or not names):
            return names
        time.sleep(0.002)
    return None

def usable(name):
    "True: it runs a command. False: it was ending, as the client had already asked for, and is gone."
    end = time.monotonic() + 10
    while True:
        try:
            with sbx.Client(runtime_dir=runtime) as client:
                assert client.connect(name).run("echo hi").out == b"hi\n"
            return True
        except sbx.Error:
            if not [name for name in os.listdir(runtime) if not passing(name)] and not agents():
                return False
            if time.monotonic() > end:
                raise
            time.sleep(0.002)

point, whole, left, names_left = 0, 0, [], 0
while True:
    point += 1
    more = killed_at(point)
    names_left += any(map(passing, os.listdir(runtime)))
    names = settled(0.5 if stop_at_first else 10)
    if names is None:
        left.append(point)
        for pid in agents():
            os.kill(pid, signal.SIGKILL)
        if stop_at_first: break
    elif names and usable(names[0]):
        whole += 1
        with sbx.Client(runtime_dir=runtime) as client:
            assert client.reap() == 1
    if not more: break
with sbx.Client(runtime_dir=runtime) as client:
    client.reap() if detached else client.create().close()
sbx.wait_until(lambda: not agents(), what="the end of every agent")
files = [f"{place}/{name}" for place in (runtime, os.environ["XDG_RUNTIME_DIR"], os.environ["TMPDIR"]) for name in os.listdir(place)]
files += [name for name in os.listdir("/tmp") + os.listdir("/dev/shm") if passing(name)]
print(json.dumps({"points": point, "whole": whole, "left": left, "names_left": names_left, "files": files}))
"""


def trace(detached, stop_at_first=0, **env):
    import json
    import uuid
    with tempfile.TemporaryDirectory() as runtime, tempfile.TemporaryDirectory() as xdg, tempfile.TemporaryDirectory() as tmp:
        env = {"SBX_TEST_MARK": uuid.uuid4().hex, "XDG_RUNTIME_DIR": xdg, "TMPDIR": tmp, **env}
        done = sbx.script(TRACE, runtime, detached, stop_at_first, env=env, timeout=280)
        if stop_at_first:
            sbx.script("import sbx, sys; sbx.Client(runtime_dir=sys.argv[1]).reap()", runtime)
    return json.loads(done.stdout)


@pytest.mark.parametrize("detached", [0, 1])
def test_client_killed_at_each_system_call(detached):
    seen = trace(detached)
    assert seen["left"] == [] and seen["points"] > 100 and seen["files"] == [], seen
    assert (seen["whole"] > 0) == bool(detached), seen


def test_control_without_the_sweep():
    seen = trace(0, SBX_TEST_OFF="name-sweep")
    assert seen["names_left"] and any("/.connect-" in name for name in seen["files"]), seen


def test_control_without_the_watch_on_the_client():
    seen = trace(1, 1, SBX_TEST_OFF="client-watch", HFSANDBOX_AGENT=sbx.BUILD / "bin" / "hfsandbox-agent-test")
    assert seen["left"], seen
