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


def test_the_agent_works_where_a_bomb_has_taken_all_processes(host):
    with LocalAgent(binds=host.binds(), limits={"processes": 50}) as agent:
        bomb = agent.start_process([str(host.program), "forks", "200", "60"])
        wait_until(lambda: len(descendants(agent.serving)) >= 49, what="the bomb")
        assert agent.get("/v1/processes").json()[0]["running"]
        assert agent.request("DELETE", f"/v1/processes/{bomb['id']}").json()["survivors"] == []
        assert agent.run("echo again").stdout == b"again\n"


@pytest.mark.parametrize("kind", ["private", "shared", "memfd"])
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


def test_memory_of_one_process(host):
    """The kernel's limit holds at once."""
    limits = {"memory": 200 * MIB}
    with LocalAgent(binds=host.binds(), limits=limits) as agent:
        succeeded, said = attack(agent, host, "memory private 1 300")
        assert not succeeded, said
    with LocalAgent(binds=host.binds(), limits=limits, off="memory-watch,memory-limit") as agent:
        succeeded, said = attack(agent, host, "memory private 1 300")
        assert succeeded, said


def test_shared_pages_count_once(host):
    """Four children of a process with 100 MiB: far over the limit by their resident sizes, within it in truth."""
    script = ("import os, time\nx = bytearray(b'1') * (100 << 20)\nfor i in range(4):\n    if os.fork() == 0: time.sleep(2); os._exit(0)\n"
              "for i in range(4): os.wait()\nprint('fine')")
    with LocalAgent(limits={"memory": 200 * MIB}) as agent:
        assert agent.run(["python3", "-c", script]).stdout == b"fine\n"


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


def test_empty_files(host):
    limits = {"disk": 4 * MIB}
    with LocalAgent(binds=host.binds(), limits=limits) as agent:
        succeeded, said = attack(agent, host, "empty-files /tmp 40000")
        assert not succeeded and "No space" in said, said
    with LocalAgent(binds=host.binds(), limits=limits, off="inode-limit") as agent:
        succeeded, said = attack(agent, host, "empty-files /tmp 40000")
        assert succeeded, said


def test_open_files_and_core_dumps():
    with LocalAgent(limits={"open_files": 64}) as agent:
        assert agent.run("ulimit -n; ulimit -c").stdout == b"64\n0\n"
        assert agent.get("/v1/info").json()["limits"]["open_files"] == 64


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
