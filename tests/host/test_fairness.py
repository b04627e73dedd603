# ctest: serial timeout=300
"""One sandbox's load does not starve the others: memory for output, the workers for files, the start of commands."""
import json
import os
import select
import signal
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


# ---- The workers and the loop. All requests are there before the agent sees the first one, so their order is told apart from the machine's speed.

def request(host, sandbox, method, target, body=b""):
    head = "".join(f"{name}: {value}\r\n" for name, value in host.headers((), sandbox.token))
    return f"{method} {sandbox.prefix}{target} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def behind(host, many, count, one):
    """Answers to `count` requests of one sandbox that were there when the single request of another was answered, which came last; and that answer."""
    sockets = [host.connect() for _ in range(count + 1)]
    for s in sockets:
        assert s.request("GET", "/health").status == 200
    os.kill(host.pid, signal.SIGSTOP)
    try:
        for s in sockets[:-1]:
            s.send(many)
        sockets[-1].send(one)
    finally:
        os.kill(host.pid, signal.SIGCONT)
    poll = select.poll()
    for s in sockets[:-1]:
        poll.register(s.socket, select.POLLIN)
    assert select.select([sockets[-1].socket], [], [], 60)[0]
    answered = len(poll.poll(0))
    answer = sockets[-1].read_response()
    for s in sockets:
        s.close()
    return answered, answer


def files_behind(off=""):
    """The worst of some times: in which order the kernel tells the agent of what has come is up to it."""
    with HostAgent(off=off) as h:
        a, b = h.create(2)
        a.run("mkdir d; cd d; for i in $(seq 1000); do : > $i; done", timeout_s=60)
        b.request("PUT", "/files/write?path=f", body=b"mine")
        worst = 0
        for _ in range(4):
            answered, answer = behind(h, request(h, a, "GET", "/files/list?path=d"), 300, request(h, b, "GET", "/files/read?path=f"))
            assert answer.body == b"mine"
            worst = max(worst, answered)
        return worst


def test_files_beside_many_requests_of_another_sandbox():
    assert files_behind() < 120


def test_control_files():
    assert files_behind(off="host-turns") >= 120


def starts_behind(off=""):
    with HostAgent(off=off) as h:
        a, b = h.create(2, max_procs=1000)
        body = json.dumps({"cmd": ["/bin/sleep", "60"]}).encode()
        worst = 0
        for n in range(4):
            _, answer = behind(h, request(h, a, "POST", "/processes", body), 200, request(h, b, "POST", "/processes", body))
            worst = max(worst, int(answer.json()["id"].removeprefix("p-")) - n * 201)
            wait_until(lambda: len(a.get("/processes").json()) == 200 * (n + 1), what="all of them in the end")
        return worst


def test_starts_beside_many_of_another_sandbox():
    assert starts_behind() < 120


def test_control_starts():
    assert starts_behind(off="host-starts") >= 120
