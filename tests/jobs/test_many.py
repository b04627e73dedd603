"""Two hundred sandboxes made, used and ended at once from one thread through the asynchronous calls, 100 ms away, while two in a hundred of all
requests fail: none is lost, none leaks, none hangs, no command runs twice; descriptors and memory are given back."""
# ctest: serial timeout=420
import json
import os

from agent import wait_until
from conftest import Program
from localhub import Hub

MANY = r"""
import collections, ctypes
COUNT = int(sys.argv[1])
client = sbx.Client()
queue = sbx.Queue(client)
cancel = None
names = iter(range(1, 1 << 30))
pending, counts, failures = {}, collections.Counter(), []
peak_fds = 0

def submit(step, box, short, *args):
    err, number = sbx.CError(), next(names)
    options = sbx.Call(timeout_ms=180000, queue=queue.handle, user=number)
    keep = (args, options)
    status = getattr(sbx.lib, "sbx_" + short)(*args, ctypes.byref(options), ctypes.byref(err))
    assert status == sbx.PENDING, sbx.Error(status, err)
    pending[number] = (step, box, keep)

class Box:
    def __init__(self, n):
        self.n, self.handle, self.out = n, None, None

    def go(self, step):
        command = sbx.Command(shell="echo run >>/tmp/runs; printf %s $((6 * 7))")
        data = b"%d" % self.n * 100
        if step == "create":
            submit(step, self, "sandbox_create", None, client.handle, None)
        elif step == "run":
            submit(step, self, "run", None, self.handle, ctypes.byref(command))
        elif step == "write":
            submit(step, self, "file_write", self.handle, b"/tmp/data", data, len(data), None)
        elif step == "read":
            submit(step, self, "file_read", None, self.handle, b"/tmp/data", 0, 0)
        elif step == "runs":
            submit(step, self, "file_read", None, self.handle, b"/tmp/runs", 0, 0)
        else:
            submit(step, self, "sandbox_kill", self.handle)

    def done(self, step, done):
        counts[step] += 1
        if done.status != 0:
            failures.append((step, sbx.lib.sbx_status_name(done.status).decode(), done.error.message.decode()))
            return
        if step == "create":
            self.handle = ctypes.c_void_p(done.sandbox)
        elif step == "run":
            out = ctypes.string_at(sbx.lib.sbx_result_stdout(done.result, None))
            assert out == b"42", out
            sbx.lib.sbx_result_free(done.result)
        elif step in ("read", "runs"):
            data = sbx._take_bytes(ctypes.c_void_p(done.bytes))
            assert data == (b"%d" % self.n * 100 if step == "read" else b"run\n"), (step, data)
        elif step == "kill":
            sbx.lib.sbx_sandbox_free(self.handle)
            self.handle = None

STEPS = ["create", "run", "write", "read", "runs", "kill"]

def round_of(count):
    global peak_fds
    boxes = [Box(n) for n in range(count)]
    for box in boxes:
        box.go("create")
    while pending:
        done = queue.next(180000)
        assert done is not None, f"hangs: {collections.Counter(step for step, _, _ in pending.values())}"
        step, box, _ = pending.pop(done.user)
        box.done(step, done)
        peak_fds = max(peak_fds, sbx.descriptors())
        at = STEPS.index(step)
        if done.status == 0 and at + 1 < len(STEPS):
            box.go(STEPS[at + 1])
        elif done.status != 0 and box.handle is not None and step != "kill":
            box.go("kill")

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

round_of(COUNT)
fds, memory = sbx.descriptors(), resident()
round_of(COUNT // 2)
print(json.dumps({"failures": failures, "counts": counts, "fds": [fds, sbx.descriptors(), peak_fds], "grown": resident() - memory}))
sys.stdout.flush()
queue.close()
client.close()
"""


FEW = 9 + 4 + 16  # descriptors of the program, of its client, and of the connections to the Hub that are kept
# What AddressSanitizer holds back of freed memory is no growth.
ASAN = "detect_leaks=0:verify_asan_link_order=0:quarantine_size_mb=1:thread_local_quarantine_size_kb=64"


def test_two_hundred():
    count, rate = int(os.environ.get("SBX_MANY", 200)), 0.02
    with Hub(rtt=0.1, record=False) as hub:
        program = Program(hub)
        faults = [hub.fault("proxy", cut="before", rate=rate / 3), hub.fault("proxy", cut="after", rate=rate / 3),
                  hub.fault("proxy", status=502, rate=rate / 3)]
        for kind in ("create", "inspect", "list", "cancel"):
            hub.fault(kind, status=500, rate=rate / 2)
            hub.fault(kind, cut="after", rate=rate / 2)
        seen = json.loads(program.run(MANY, count, timeout=400, ASAN_OPTIONS=ASAN))
        assert seen["failures"] == [], seen
        assert set(seen["counts"].values()) == {count + count // 2} and len(seen["counts"]) == 6, seen
        assert sum(map(hub.proxy.hits, faults)) > count // 20
        before, after, peak = seen["fds"]
        assert max(before, after) <= FEW and peak < count * 3 + 64, seen
        assert seen["grown"] < 8 << 20, seen
        wait_until(lambda: not hub.jobs.running(), timeout=30, what="the end of every job")
        wait_until(lambda: not any(job.processes() for job in hub.jobs), timeout=30, what="the end of their processes")


def test_control_connections_that_are_kept():
    """Each creation has a connection of its own; the first test sees it when that stays."""
    with Hub(rtt=0.1, record=False) as hub:
        seen = json.loads(Program(hub).run(MANY, 120, off="fresh-closed"))
    assert max(seen["fds"][:2]) > FEW, seen
