"""Nothing of a job outlives it, its Hub, or the process that had started the Hub; and the search for what is left does find things."""
# ctest: timeout=300
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from agent import wait_until
from localhub import Hub
from localhub.ask import ask, run

# As hard to end as a job can be: ignores what it can, has children in sessions of their own, and a stopped one.
STUBBORN = """
import os, signal, subprocess, sys, time
for number in range(1, 32):
    if number not in (9, 17, 19):
        signal.signal(number, signal.SIG_IGN)
for n in range(3):
    child = os.fork()
    if child > 0:
        os.waitpid(child, 0)
    else:
        os.setsid()
        if os.fork() == 0:
            if n == 2:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(1000)
        os._exit(0)
print("ready", flush=True)
time.sleep(1000)
"""
COMMAND = ["python3", "-c", STUBBORN]


def alive(pids):
    """Those that still are processes of this machine; the ended ones that wait for their parent do not count."""
    found = []
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(pid)
        except OSError:
            pass
    return found


def stubborn(hub):
    job = run(hub, COMMAND)
    # The control: they are found while they are there, the three that are nobody's children included.
    pids = wait_until(lambda: "ready" in job.logs and len(alive(job.processes())) == len(job.processes()) == 4 and job.processes(),
                      what="its processes")
    assert alive(pids) == pids
    return job, pids


def test_cancel_leaves_nothing():
    with Hub(cancel_grace=0.2) as hub:
        job, pids = stubborn(hub)
        other, others = stubborn(hub)
        ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")
        assert job.stage == "CANCELED"
        wait_until(lambda: not alive(pids), what="the end of its processes")
        assert alive(others) == others and other.stage == "RUNNING"


def test_the_first_process_s_end_is_that_of_all():
    with Hub() as hub:
        job = run(hub, "setsid sleep 1000 & echo ready; until [ -e /go/go ]; do sleep 0.02; done",
                  volumes=[{"type": "bucket", "source": "alice/go", "mountPath": "/go"}])
        wait_until(lambda: "ready" in job.logs and len(job.processes()) >= 2, what="its processes")
        pids = job.processes()
        (hub.storage.path("bucket", "alice/go") / "go").touch()
        wait_until(lambda: not job.running, what="its end")
        wait_until(lambda: not alive(pids), what="the end of its processes")
        assert job.stage == "COMPLETED"


def test_the_hub_s_end():
    hub = Hub().start()
    directory, pids = hub.directory, []
    for _ in range(3):
        pids += stubborn(hub)[1]
    natives = [hub.proxy.process.pid] + [job.container.process.pid for job in hub.jobs]
    assert alive(natives) == natives
    hub.close()
    assert not alive(pids) and not alive(natives) and not directory.exists()


OTHER_PROCESS = """
import sys, time
from localhub import Hub
from localhub.ask import run
hub = Hub(tls=sys.argv[2] == "tls").start()
job = run(hub, ["python3", "-c", sys.argv[1]])
while not ("ready" in job.logs and len(job.processes()) == 4):
    time.sleep(0.01)
print(hub.directory, hub.proxy.process.pid, job.container.process.pid, *job.processes(), flush=True)
time.sleep(1000)
"""


def killed_hub(how, tls):
    process = subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, STUBBORN, tls], stdout=subprocess.PIPE, text=True)
    try:
        directory, *pids = process.stdout.readline().split()
        pids = [int(pid) for pid in pids]
        assert len(pids) >= 6 and alive(pids) == pids and os.path.isdir(directory)
        process.send_signal(how)
        process.wait(20)
        wait_until(lambda: not alive(pids), what="the end of all that it had started")
        wait_until(lambda: not os.path.exists(directory), what="the end of its directory")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_test_leaves_nothing():
    killed_hub(signal.SIGKILL, "plain")


def test_a_terminated_test_leaves_nothing():
    killed_hub(signal.SIGTERM, "tls")


def test_a_killed_launcher_takes_the_job_along():
    with Hub() as hub:
        job, pids = stubborn(hub)
        os.kill(job.container.process.pid, signal.SIGKILL)
        wait_until(lambda: not alive(pids), what="the end of its processes")
        wait_until(lambda: job.stage == "ERROR", what="its stage")


def test_descriptors_and_threads_come_back():
    def state():
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    for n in range(4):
        with Hub(tls=n % 2 == 1) as hub:
            job = run(hub, "true")
            wait_until(lambda job=job: not job.running and job.container is None, what="its end")
        if n == 1:
            before = state()
    deadline = time.monotonic() + 5
    while state() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert state() == before
