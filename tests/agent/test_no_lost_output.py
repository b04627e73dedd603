"""5c 1 and 2: no output is lost, however loaded the machine is. A share of the runs goes to the agent with sanitizers, the whole to the one
that is installed; the control is the agent that sends the exit event without reading its pipes to their end."""
# ctest: serial timeout=600
import multiprocessing
import os
import threading

import pytest
from agent import Agent

LONG = bool(os.environ.get("SBX_LONG"))


def burn(stop):
    while not stop.is_set():
        for _ in range(20_000):
            pass


@pytest.fixture(autouse=True)
def load():
    """Every processor is busy with something else, and one more."""
    stop = multiprocessing.Event()
    burners = [multiprocessing.Process(target=burn, args=(stop,), daemon=True) for _ in range(os.cpu_count() + 1)]
    for burner in burners:
        burner.start()
    yield
    stop.set()
    for burner in burners:
        burner.join()


def lost(agent, runs, command, expected, frames=True, threads=8):
    """How many of so many runs gave other output than they should."""
    wrong, lock, left = [], threading.Lock(), iter(range(runs))

    def work():
        while True:
            with lock:
                n = next(left, None)
            if n is None:
                return
            output = agent.run(command(n), frames=frames)
            if output.stdout != expected(n) or output.exit_code != 0:
                with lock:
                    wrong.append((n, output.stdout[:100], output.exit))

    pool = [threading.Thread(target=work) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return wrong


def echo(n):
    return ["/bin/echo", f"line {n}"]


def echoed(n):
    return f"line {n}\n".encode()


def test_installed_agent():
    with Agent(static=True) as a:
        assert lost(a, 20_000, echo, echoed) == []


def test_sanitized_agent():
    with Agent() as a:
        assert lost(a, 20_000 if LONG else 2_000, echo, echoed) == []


def test_ndjson():
    with Agent() as a:
        assert lost(a, 1_000, echo, echoed, frames=False) == []


def test_longer_output():
    """More than a pipe holds, so that the end of the command and the last read are close together."""
    expected = "".join(f"{n}\n" for n in range(1, 20_001)).encode()
    with Agent() as a:
        assert lost(a, 200, lambda n: ["seq", "1", "20000"], lambda n: expected) == []


def test_control():
    """With the protection off the defect of 0.5.0 is back, so this test can see it."""
    with Agent(off="drain-at-exit") as a:
        assert lost(a, 500, lambda n: "echo a; echo b", lambda n: b"a\nb\n")
