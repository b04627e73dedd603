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
