"""The library as a guest in a program: what it must leave alone there (DESIGN 10 and 12)."""
import functools
import os
import re
import signal
import subprocess

import pytest

import sbx


@functools.cache
def libcurl():
    """The version of the libcurl that the library of this build is loaded with."""
    done = sbx.script("import ctypes, sbx; sbx.lib.sbx_version(); f = ctypes.CDLL('libcurl.so.4').curl_version; "
                      "f.restype = ctypes.c_char_p; print(f().decode())")
    return tuple(map(int, re.match(r"libcurl/(\d+)\.(\d+)", done.stdout).groups()))


def needs_old_libcurl():
    if libcurl() >= (8, 9):
        pytest.skip(f"libcurl {libcurl()} does not do this: there is nothing to turn off")


USE = """
import ctypes, os, signal, subprocess, sys, threading, time, sbx
def failing(call):
    try:
        call()
    except sbx.Error as error:
        return error.name
    return "OK"
def use():
    with sbx.Client() as client, sbx.Queue(client) as queue, client.create() as box:
        assert box.run("echo hi").out == b"hi\\n"
        sbx.check("run", None, box.handle, sbx._command("exit 3", {}), sbx.call(queue=queue))
        done = queue.next()
        assert sbx.Result(done.result).code == 3
        box.write("a", b"x" * 100000)
        with box.start("sleep 1000") as process:
            assert process.pid > 0
        box.kill()
"""

# Every change of a signal's disposition goes through here.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
_Atomic unsigned long shim_changed;
static void note(int number) { shim_changed |= 1ul << number; }
int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    static int (*next)(int, const struct sigaction *, struct sigaction *);
    if (!next) next = (int (*)(int, const struct sigaction *, struct sigaction *))dlsym(RTLD_NEXT, "sigaction");
    if (action) note(number);
    return next(number, action, old);
}
void (*signal(int number, void (*handler)(int)))(int) {
    static void (*(*next)(int, void (*)(int)))(int);
    if (!next) next = (void (*(*)(int, void (*)(int)))(int))dlsym(RTLD_NEXT, "signal");
    note(number);
    return next(number, handler);
}
"""

CHANGES = USE + """
shim = ctypes.CDLL(sys.argv[1])
changed = ctypes.c_ulong.in_dll(shim, "shim_changed")
changed.value = 0
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
assert changed.value == 1 << signal.SIGPIPE
changed.value = 0
sbx.Client().close()
threads = [threading.Thread(target=use) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(changed.value, signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    place = tmp_path_factory.mktemp("shim")
    (place / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", place / "shim.c", "-o", place / "shim.so", "-ldl"], check=True)
    return place / "shim.so"


def changes(shim, **env):
    preload = f"{sbx.environment().get('LD_PRELOAD', '')} {shim}".strip()
    return sbx.script(CHANGES, shim, env={"LD_PRELOAD": preload, **env}).stdout.split()


def test_no_signal_disposition_is_touched(shim):
    changed, as_before = changes(shim)
    assert as_before == "True"
    if libcurl() < (8, 13):        # see core/client/signal_guard.h
        assert changed == "0"


def test_control_with_cleanups_that_ignore_sigpipe(shim):
    needs_old_libcurl()
    assert changes(shim, SBX_TEST_OFF="nosignal-multi")[0] != "0"


INHERITED = USE + """
def inherited():
    out = subprocess.run(["/bin/ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True).stdout
    return [line.split(" -> ")[1] for line in out.splitlines() if " -> " in line and "/proc/" not in line.split(" -> ")[1]]
kept = os.pipe2(0), os.pipe2(0)        # what the program itself wants inherited stays so
other = [os.set_inheritable(s.fileno(), True) or s for s in __import__("socket").socketpair()]
other[0].send(b"x")
before = len(inherited())
clients = [sbx.Client() for _ in range(3)]
boxes = [client.create() for client in clients]
queues = [sbx.Queue(client) for client in clients]
for box in boxes: box.run("true")
process = boxes[0].start("cat", input_open=1)
print(len(inherited()) - before, other[1].recv(5))
process.close()
"""


def test_programs_that_the_host_starts_inherit_nothing():
    assert sbx.script(INHERITED).stdout.split() == ["0", "b'x'"]


def test_control_with_the_sockets_of_libcurl():
    needs_old_libcurl()
    assert int(sbx.script(INHERITED, env={"SBX_TEST_OFF": "wakeup-seal"}).stdout.split()[0]) > 0


def test_signal_masks_and_working_directory_stay():
    sbx.script(USE + """
def state():
    return (signal.pthread_sigmask(signal.SIG_BLOCK, []), os.getcwd(), dict(os.environ), os.umask(0o22), sbx.children())
os.umask(0o22)
before = state()
use()
sbx.wait_until(lambda: not sbx.children(), what="no child")
assert state() == before, (before, state())
""")


def test_handles_do_nothing_after_fork():
    """Also while another thread of the parent is inside the library, whose locks the child then inherits taken."""
    sbx.script(USE + """
client = sbx.Client(); box = client.create(); process = box.start("echo before; sleep 1000"); queue = sbx.Queue(client)
assert process.next()[1] == b"before\\n"
threading.Thread(target=lambda: failing(lambda: box.run("sleep 1000")), daemon=True).start()
sbx.wait_until(lambda: len(box.processes()) == 2)
for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        calls = (lambda: box.run("echo"), box.info, box.processes, box.kill, process.next, process.wait, process.kill, client.list,
                 client.create, lambda: process.input(b"x"), lambda: queue.next(0), lambda: box.read("a"),
                 lambda: sbx.Queue(client))
        names = [failing(call) for call in calls]
        process.close(); queue.close(); box.close(); client.close()
        bad = names != ["ERROR_STATE"] * len(calls)
        if not bad:
            use()        # a client of its own works
        if bad: print(names, flush=True)
        os._exit(int(bad))
    assert os.waitpid(child, 0)[1] == 0
assert len([p for p in box.processes() if p["running"]]) == 2
assert box.run("echo alive").out == b"alive\\n"
""")


@pytest.mark.parametrize("end", ["sys.exit(7)", "ctypes.CDLL(None).exit(7)", "os._exit(7)"])
def test_a_program_may_end_at_any_moment(end):
    """With calls under way in other threads and on a queue, and nothing freed."""
    for _ in range(5):
        sbx.script(USE + f"""
client = sbx.Client(); box = client.create(); queue = sbx.Queue(client)
threading.Thread(target=lambda: failing(lambda: box.run("sleep 1000")), daemon=True).start()
for _ in range(20): sbx.check("run", None, box.handle, sbx._command("sleep 0.01", {{}}), sbx.call(queue=queue))
{end}
""", status=7, timeout=20)


def test_it_is_never_unmapped_under_its_thread():
    sbx.script(USE + """
import _ctypes
client = sbx.Client(); box = client.create(); queue = sbx.Queue(client)
for _ in range(3): sbx.check("run", None, box.handle, sbx._command("sleep 0.2; echo hi", {}), sbx.call(queue=queue))
def mapped(): return "libhfsandbox.so" in open("/proc/self/maps").read()
assert mapped()
_ctypes.dlclose(sbx.lib._loaded._handle)
assert mapped()
for _ in range(3): assert sbx.Result(queue.next().result).out == b"hi\\n"
""")


@pytest.mark.parametrize("given", ["local", "", None])
def test_the_provider_comes_from_the_environment(given):
    sbx.script(USE + "use()", env={"HFSANDBOX_PROVIDER": given, "HF_TOKEN": "hf_" + "x" * 34})


def test_an_unknown_provider_is_an_error():
    done = sbx.script("""
import sbx
for options in ({}, {"provider": "elsewhere"}):
    try:
        sbx.Client(**options)
    except sbx.Error as error:
        print(error.name, "elsewhere" in error.message, "HFSANDBOX_PROVIDER" in error.message)
sbx.Client(provider="local").close()      # the caller's own word comes first
""", env={"HFSANDBOX_PROVIDER": "elsewhere"})
    assert done.stdout.split("\n")[:2] == ["ERROR_INVALID True True", "ERROR_INVALID True False"]


SMALL_FILES = """
import os, resource, signal, sys, sbx
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
limit = int(sys.argv[1])
with sbx.Client(runtime_dir=sys.argv[2]) as client:
    with client.create() as box:
        box.write("large", b"x" * 100000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        for call in (lambda: box.download("large", sys.argv[2] + "/copy"), lambda: client.create().close(), lambda: client.create(detached=1).kill()):
            try:
                call()
                print("OK")
            except sbx.Error as error:
                print(error.name, error.message)
"""


@pytest.mark.parametrize("limit", [0, 30, 300, 3000])
def test_a_small_limit_of_file_sizes_is_an_error_and_no_signal(tmp_path, limit):
    tmp_path.chmod(0o700)
    download, create, detached = sbx.script(SMALL_FILES, limit, tmp_path).stdout.splitlines()
    assert download.startswith("ERROR_SYSTEM") and "ulimit -f" in download
    assert limit > 300 or (create.startswith("ERROR_SYSTEM") and "ulimit -f" in create)
    assert limit < 3000 or create == detached == "OK"
    assert os.listdir(tmp_path) == []
    sbx.script(SMALL_FILES, limit, tmp_path, env={"SBX_TEST_OFF": "file-size-signal"}, status=-signal.SIGXFSZ)
