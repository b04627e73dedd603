"""No job is left, however a program, a client or a creation ends; what nobody can end any more ends by itself."""
# ctest: timeout=300
import signal

import pytest
from agent import wait_until
from jobs import Driver
from localhub.ask import ask
from table import hub, served  # noqa: F401

WATCH = """
import ctypes, select, threading
from ctypes import byref
def begin(client, queue, cancel=None, **options):
    sbx.check("sandbox_create", None, client.handle, byref(sbx.SandboxOptions(**options)), sbx.call(60000, cancel=cancel, queue=queue))
def point():
    print("point", flush=True)
"""
IDLE = "idle_timeout_ms=1000"

# ---------------------------------------------------------------- A program that is killed

KILLED = {
    "request": ({}, {"hang": True, "acts": True}, f"client.create({IDLE})"),
    "scheduling": ({"scheduling_delay": 1.0}, None, f"client.create({IDLE})"),
    "boot": ({"boot_delay": 1.0}, None, f"client.create({IDLE})"),
    "ready": ({}, None, f"box = client.create({IDLE}); point(); time.sleep(1000)"),
    "detached": ({}, None, f"box = client.create(detached=1, {IDLE}); point(); time.sleep(1000)"),
    "run": ({}, None, f"box = client.create({IDLE}); process = box.start('echo; sleep 2'); process.next(); point(); process.wait()"),
    "input": ({}, None, f"box = client.create({IDLE}, lifetime_ms=3000); process = box.start('cat', input_open=1); point(); time.sleep(1000)"),
    "background": ({}, None, f"box = client.create({IDLE}); box.start('sleep 2', background=1); point(); time.sleep(1000)"),
    "write": ({}, None, f"box = client.create({IDLE}); point()\nwhile True: box.write('/tmp/a', bytes(1 << 20))"),
}


@pytest.mark.parametrize("at", KILLED)
def test_sigkill(hub, at):
    """Then the idle timer is what ends the job, in good order; or its lifetime, while a command runs that does not end by itself."""
    dials, fault, text = KILLED[at]
    hub.dial(**dials)
    if fault:
        hub.fault("create", **fault)
    known = len(hub.jobs)
    process = hub.program.start(WATCH + "client = sbx.Client()\n" + text)
    try:
        if "point()" in text:
            assert process.stdout.readline() == "point\n", process.communicate()
        wait_until(lambda: len(hub.jobs) > known, 30, "the job")
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate(timeout=20)
    hub.clear_faults()
    job = hub.jobs.last()
    wait_until(lambda: not job.running, 30, "the end by idleness")
    end = ("ERROR", "Job timeout") if "lifetime_ms" in text else ("COMPLETED", None)
    assert (job.stage, job.message) == end and len(hub.jobs) == known + 1, (job.stage, job.message, job.logs)


def test_control_of_idleness(hub):
    """Without the timer it stays, while one that was made later has ended."""
    hub.program.start(WATCH + "box = sbx.Client().create(idle_timeout_ms=-1); os._exit(0)").communicate(timeout=60)
    staying = hub.jobs.last()
    hub.program.start(WATCH + f"box = sbx.Client().create({IDLE}); os._exit(0)").communicate(timeout=60)
    wait_until(lambda: not hub.jobs.last().running, 30, "the end by idleness")
    assert staying.running
    ask(hub, "POST", f"/api/jobs/alice/{staying.id}/cancel")


# ---------------------------------------------------------------- A program that ends

ENDS = {
    "end": "box = client.create()",
    "sys.exit": "box = client.create(); sys.exit(0)",
    "exception": "box = client.create(); 1 / 0",
    "exit": "box = client.create(); ctypes.CDLL(None).exit(0)",
    "thread": "box = client.create(); threading.Thread(target=lambda: box.run('sleep 1000'), daemon=True).start(); box.run('true')",
    "SIGTERM": "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); box = client.create(); os.kill(os.getpid(), 15); time.sleep(100)",
    "queue": "queue = sbx.Queue(client); begin(client, queue); begin(client, queue); point(); sys.stdin.readline()",
    "creating": "threading.Thread(target=client.create, daemon=True).start(); point(); sys.stdin.readline()",
    "free": "queue = sbx.Queue(client); begin(client, queue); begin(client, queue); client.close(); point(); sys.stdin.readline()",
    "log": "client = sbx.Client(log=sbx.LOG_HOOK(lambda *_: None)); box = client.create()",
}


UNDER_WAY = [name for name, text in ENDS.items() if "point()" in text]


@pytest.mark.parametrize("end,slow", [(end, "scheduling") for end in ENDS] + [(end, "request") for end in UNDER_WAY])
def test_a_program_that_ends(hub, end, slow):
    """By its own doing: its jobs end with it, also those that were only being made."""
    waits = end in UNDER_WAY
    known = len(hub.jobs)
    if waits and slow == "scheduling":
        hub.dial(scheduling_delay=1000)
    elif waits:
        hub.fault("create", delay=1.0)
    process = hub.program.start(WATCH + "client = sbx.Client()\n" + ENDS[end])
    if waits:
        assert process.stdout.readline() == "point\n", process.communicate()
        wait_until(lambda: len(hub.jobs) > known, 30, "the job")
    out, err = process.communicate("\n", timeout=60)
    assert process.returncode == (1 if end == "exception" else 0), (process.returncode, out, err)
    assert "Sanitizer" not in err and "runtime error:" not in err, err
    wait_until(lambda: not hub.jobs.running(), 10, "the end of its jobs")


def test_control_of_creations_at_exit(hub):
    hub.dial(scheduling_delay=1000)
    process = hub.program.start(WATCH + "client = sbx.Client()\n" + ENDS["queue"], off="creations-at-exit,jobs-at-exit")
    assert process.stdout.readline() == "point\n"
    wait_until(lambda: len(hub.jobs.running()) == 2, 30, "the jobs")
    process.communicate("\n", timeout=60)
    assert len(hub.jobs.running()) == 2
    for job in hub.jobs.running():
        ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")


AT_EXIT = """
client = sbx.Client()
box = client.create()
def work():
    for call in (lambda: box.run("echo; sleep 1000"), box.info):
        try:
            call()
        except sbx.Error as error:
            os.write(1, (error.name + " " + error.message + "\\n").encode())
threading.Thread(target=work, daemon=True).start()
sbx.wait_until(lambda: any(row["running"] for row in box.processes()), 30, "the command")
sys.stdout.flush()
ctypes.CDLL(None).exit(0)
"""


@pytest.mark.parametrize("off", [None, "calls-at-exit"])
def test_calls_of_other_threads_at_exit(hub, off):
    """They are told while the jobs are being ended, and begin nothing new: no thread is at work in the library when the program is gone."""
    hub.fault("cancel", delay=1.0)
    out = hub.program.run(WATCH + AT_EXIT, off=off)
    ended, refused = "ERROR_CANCELED sbx_run: canceled: the program ends\n", "ERROR_STATE sbx_sandbox_info: the program is ending\n"
    assert out == ended + refused if off is None else ended not in out and refused not in out, out
    wait_until(lambda: not hub.jobs.running(), 20, "the end of the job")


def test_fork(hub):
    """A child ends nothing of its parent's, however it ends."""
    hub.program.run(WATCH + """
client = sbx.Client()
box = client.create()
for end in (lambda: os._exit(0), lambda: ctypes.CDLL(None).exit(0), lambda: (box.close(), client.close(), os._exit(0))):
    child = os.fork()
    if child == 0:
        end()
    assert os.waitpid(child, 0)[1] == 0
    assert box.run("echo alive").out == b"alive\\n"
""")
    assert not hub.jobs.running() and len(hub.requests.of("cancel", path=hub.jobs.last().id)) == 1


# ---------------------------------------------------------------- A client that goes on

MANY = WATCH + """
import random
random.seed(args[0])
warm = sbx.Client(); queue = sbx.Queue(warm); queue.close(); warm.close()
before = sbx.descriptors(), len(os.listdir("/proc/self/task"))
mine = sbx.Client()
queue = sbx.Queue(mine)
cancels = [sbx.Cancel() for _ in range(args[1])]
statuses = []
for first in range(0, args[1], 20):
    batch = cancels[first:first + 20]
    timers = [threading.Timer(random.random() * args[2], c.now) for c in batch]
    for c in batch: begin(mine, queue, c)
    for t in timers: t.start()
    for c in batch:
        done = queue.next(60000)
        statuses.append(done.status)
        if done.sandbox: sbx.lib.sbx_sandbox_free(done.sandbox)
    for t in timers: t.join()
for c in cancels: c.close()
queue.close()
mine.close()
value = [sorted(set(statuses)), len(statuses)]
sbx.wait_until(lambda: (sbx.descriptors(), len(os.listdir("/proc/self/task"))) == before, 30, "the end of threads and descriptors")
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_canceled_at_random_points(hub, seed):
    hub.dial(scheduling_delay=0.1)
    done = hub.driver.ask(MANY, seed, 60, 0.7)
    assert done.name == "OK" and done.value[1] == 60 and set(done.value[0]) <= {0, -5}, (done, done.value)
    wait_until(lambda: not hub.jobs.running(), 20, "the end of all jobs")


def test_a_queue_that_is_freed(hub):
    """Creations under way end with their queue, and those that nobody took."""
    hub.dial(scheduling_delay=0.2)
    known = len(hub.jobs)
    done = hub.driver.ask(WATCH + """
mine = sbx.Client(); queue = sbx.Queue(mine)
begin(mine, queue)
assert select.select([queue], [], [], 60)[0]
for _ in range(5): begin(mine, queue)
time.sleep(0.05)
queue.close()
mine.close()
""")
    assert done.name == "OK", done
    wait_until(lambda: not hub.jobs.running(), 20, "the end of all jobs")
    assert len(hub.jobs) >= known + 1


def test_control_of_cancels(hub):
    hub.dial(scheduling_delay=1000)
    with Driver(hub, off="job-end") as driver:
        driver.ask("cancel = sbx.Cancel(); threading.Timer(0.5, cancel.now).start(); client.create(cancel=cancel)")
        assert len(hub.jobs.running()) == 1
    hub.driver.ask("client.kill(args[0])", hub.jobs.last().id)
