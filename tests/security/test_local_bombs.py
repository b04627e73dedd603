# ctest: serial timeout=600
"""Bombs in a local sandbox: they hit the sandbox's limits, and the host and a neighbour sandbox stay responsive meanwhile. Without the
limit each bomb goes through."""
import threading
import time

import pytest
from agent import wait_until
from attacks import Host, attack
from local_agent import LocalAgent, alive, descendants

RESPONSIVE = 2.0  # seconds for a command of a neighbour; unloaded it takes some milliseconds
MIB = 1 << 20


@pytest.fixture(scope="module")
def host():
    h = Host()
    yield h
    h.close()


class Neighbour:
    """Runs commands in another sandbox all the while and keeps the slowest."""

    def __init__(self):
        self.agent = LocalAgent(static=True)
        self.slowest, self.runs, self.stopped = 0.0, 0, threading.Event()

    def __enter__(self):
        self.agent.start()
        self.thread = threading.Thread(target=self._work)
        self.thread.start()
        return self

    def _work(self):
        while not self.stopped.is_set():
            self.slowest = max(self.slowest, self.agent.first_byte())
            self.runs += 1

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        self.agent.stop()
        assert self.runs > 0 and self.slowest < RESPONSIVE, (self.runs, self.slowest)


def test_fork_bomb(host):
    with Neighbour(), LocalAgent(binds=host.binds(), limits={"processes": 100}) as agent:
        bomb = agent.start_process([str(host.program), "fork-bomb"])
        wait_until(lambda: len(descendants(agent.serving)) >= 95, what="the bomb")
        time.sleep(2)  # of the bomb at full force beside the neighbour
        assert len(descendants(agent.serving)) <= 100
        assert agent.request("DELETE", f"/v1/processes/{bomb['id']}").json()["survivors"] == []
        succeeded, said = attack(agent, host, "forks 150")
        assert not succeeded, said
    with LocalAgent(binds=host.binds(), limits={"processes": 100}, off="process-limit") as agent:
        succeeded, said = attack(agent, host, "forks 150")
        assert succeeded, said


SCATTER = """
import os
while 1:
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork(): os._exit(0)
    except OSError: pass
"""


def scattered(off="", commands_before=0):
    """Lets a bomb time out whose processes leave their sessions and parents behind: how many of it the exit event says are left."""
    with LocalAgent(off=off, limits={"processes": 300}) as agent:
        for _ in range(commands_before):
            agent.run("true")
        exit = agent.run(["/usr/bin/python3", "-c", SCATTER], timeout=2, wait=120).exit
        assert exit["timed_out"] is True
        return len(exit.get("survivors", []))


@pytest.mark.parametrize("commands_before", [0, 1])
def test_a_bomb_that_scatters_ends_with_its_timeout(commands_before):
    assert scattered(commands_before=commands_before) == 0


def test_control_a_bomb_that_scatters():
    assert any(scattered("tree-whole") for _ in range(5))


def test_the_agent_works_where_a_bomb_has_taken_all_processes(host):
    with LocalAgent(binds=host.binds(), limits={"processes": 50}) as agent:
        bomb = agent.start_process([str(host.program), "forks", "200", "60"])
        wait_until(lambda: len(descendants(agent.serving)) >= 49, what="the bomb")
        assert agent.get("/v1/processes").json()[0]["running"]
        assert agent.request("DELETE", f"/v1/processes/{bomb['id']}").json()["survivors"] == []
        assert agent.run("echo again").stdout == b"again\n"


@pytest.mark.parametrize("kind", ["private", "shared"])
def test_memory_of_many_processes(host, kind):
    limits = {"memory": 200 * MIB}
    words = f"memory {kind} 4 100 3"
    with Neighbour(), LocalAgent(binds=host.binds(), limits=limits) as agent:
        out = agent.run([str(host.program), *words.split()], cwd="/")
        assert out.exit["limit"] == "memory" and out.exit["signal"] == 9, out.exit
        assert agent.run("echo here").stdout == b"here\n"
        assert agent.get("/v1/info").json()["usage"]["memory"] < 100 * MIB
    with LocalAgent(binds=host.binds(), limits=limits, off="memory-watch") as agent:
        succeeded, said = attack(agent, host, words)
        assert succeeded, said


def test_disk(host):
    limits = {"disk": 32 * MIB}
    with Neighbour(), LocalAgent(binds=host.binds(), limits=limits) as agent:
        succeeded, said = attack(agent, host, "disk /tmp/file 64")
        assert not succeeded and "No space" in said, said
        for place in ("/home/sandbox", "/dev/shm", "/var/tmp", "/run"):  # one file system, one limit
            succeeded, said = attack(agent, host, f"disk {place}/file 4")
            assert not succeeded and "No space" in said, said
        assert agent.request("PUT", "/v1/files/write?path=/tmp/more", body=b"x" * MIB).status == 507
        assert agent.run("rm /tmp/file; echo freed > /tmp/file && cat /tmp/file").stdout == b"freed\n"
    with LocalAgent(binds=host.binds(), limits=limits, off="disk-limit") as agent:
        succeeded, said = attack(agent, host, "disk /tmp/file 64")
        assert succeeded, said


def test_a_processor_hog_leaves_the_neighbour_responsive():
    with Neighbour(), LocalAgent() as agent:
        hogs = [agent.start_process("while :; do :; done") for _ in range(4)]
        time.sleep(2)
        for hog in hogs:
            assert agent.request("DELETE", f"/v1/processes/{hog['id']}").json()["killed"]


def test_nothing_survives_a_bomb(host):
    agent = LocalAgent(binds=host.binds(), limits={"processes": 200}).start()
    agent.start_process([str(host.program), "forks", "1000", "600"])
    wait_until(lambda: len(descendants(agent.serving)) >= 150, what="the bomb")
    inside = descendants(agent.serving)
    agent.stop()
    assert not [pid for pid in inside if alive(pid)]
