"""What the machine shows of processes, and waiting for what has no event of its own."""
import os
import time
from pathlib import Path


def children(pid=None):
    """The pids of the living children and zombies of a process, all its threads together."""
    pid = pid or os.getpid()
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except OSError:
            pass
    return [int(each) for each in found]


def descriptors(pid=None):
    return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))


def in_memory(files=500_000):
    """For tempfile's `dir`: where so many files are made in a tenth of the time that a disk's journal takes. None, the usual place, if there is
    no room for them."""
    try:
        return "/dev/shm" if os.statvfs("/dev/shm").f_favail > files else None
    except OSError:
        return None


def wait_until(condition, timeout=10, what="the condition"):
    """Polls for something that has no event of its own; returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.005)
