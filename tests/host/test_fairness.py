# ctest: serial timeout=300
"""One sandbox's load does not starve the others: memory for output, the workers for files, the start of commands."""
import http.client
import json
import os
import threading
import time

import pytest
from agent import wait_until
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")

KIB = 1024


def finished(sandbox, cmd):
    """A command in the background that has ended, and what is held of its output."""
    process = sandbox.start(cmd)
    entry = sandbox.get(f"/processes/{process['id']}?wait_ms=20000").json()
    assert entry["running"] is False
    return entry["stdout"]


# ---- Output

def own_output_beside_a_full_pool(cmd, off=""):
    """Of 600 KiB that a command wrote while nobody read, how much is held, beside a neighbour who had filled the memory for all."""
    limits = {"SBX_AGENT_OUTPUT_LIMIT": 4096 * KIB, "SBX_SANDBOX_OUTPUT_LIMIT": 4096 * KIB}
    with HostAgent(off=off, env=limits) as h:
        a, b = h.create(2)
        for _ in range(4):
            a.start(cmd)
        held = lambda: sum(entry["stdout"]["end"] - entry["stdout"]["start"] for entry in map(
            lambda e: a.get(f"/processes/{e['id']}").json(), a.get("/processes").json()))
        wait_until(lambda: held() == 4096 * KIB, what="a full pool")
        stdout = finished(b, "head -c 600K /dev/zero")
        assert stdout["end"] == 600 * KIB
        return stdout["end"] - stdout["start"]


@pytest.mark.parametrize("neighbour", ["head -c 1M /dev/zero", "head -c 1M /dev/zero; sleep 60"])
def test_output_beside_a_neighbour_who_holds_it_all(neighbour):
    assert own_output_beside_a_full_pool(neighbour) == 600 * KIB


def test_control_output():
    assert own_output_beside_a_full_pool("head -c 1M /dev/zero", off="host-output") < 600 * KIB


def test_who_holds_most_takes_nothing_from_others():
    limits = {"SBX_AGENT_OUTPUT_LIMIT": 2048 * KIB, "SBX_SANDBOX_OUTPUT_LIMIT": 2048 * KIB}
    with HostAgent(env=limits) as h:
        a, b = h.create(2)
        own = b.start("head -c 200K /dev/zero")["id"]
        b.get(f"/processes/{own}?wait_ms=20000")
        for _ in range(6):
            finished(a, "head -c 1M /dev/zero")
        stdout = b.get(f"/processes/{own}").json()["stdout"]
        assert stdout["end"] - stdout["start"] == 200 * KIB
