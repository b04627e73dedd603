# ctest: serial timeout=600
"""Bombs in a local sandbox: they hit the sandbox's limits, and the host and a neighbour sandbox stay responsive meanwhile. Without the
limit each bomb goes through."""
import resource
import select
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


@pytest.mark.parametrize("level", ["full", "landlock"])
def test_memory_without_a_name(host, level):
    """Nobody could count files in memory that are on their way between two processes, or held by one that hid its descriptors."""
    words = "memory memfd 4 100 1"
    with LocalAgent(level=level, binds=host.binds(), limits={"memory": 200 * MIB}) as agent:
        succeeded, said = attack(agent, host, words)
        assert not succeeded, said
        assert agent.run(["python3", "-c", "import multiprocessing as m; p = m.Pool(1); print(p.map(abs, [-1]))"] if level == "full" else
                         "echo [1]").stdout == b"[1]\n"
    with LocalAgent(level=level, binds=host.binds(), limits={"memory": 200 * MIB}, off="seccomp-absent") as agent:
        succeeded, said = attack(agent, host, words)
        assert succeeded, said


@pytest.mark.parametrize("kind,count", [("semaphores", 100), ("messages", 200)])
def test_memory_of_system_v_ipc(host, kind, count):
    limits = {"memory": 100 * MIB}
    words = f"fill-ipc {kind} {count} 3"
    with LocalAgent(binds=host.binds(), limits=limits) as agent:
        succeeded, said = attack(agent, host, words)
        assert not succeeded, said
        assert agent.get("/v1/info").json()["usage"]["memory"] < 100 * MIB
    with LocalAgent(binds=host.binds(), limits=limits, off="memory-watch") as agent:
        succeeded, said = attack(agent, host, words)
        assert succeeded, said
        assert agent.get("/v1/info").json()["usage"]["memory"] > 100 * MIB


def blind(agent):
    """No descriptor is left to it with which it could look into /proc."""
    resource.prlimit(agent.serving, resource.RLIMIT_NOFILE, (3, 3))


def test_a_sandbox_that_cannot_be_watched_ends():
    with LocalAgent() as agent:
        agent.start_process("sleep 1000")
        blind(agent)
        assert agent.gone() == 1
        assert "cannot be watched" in agent.stderr
    with LocalAgent(off="watch-blind") as agent:
        agent.start_process("sleep 1000")
        blind(agent)
        time.sleep(4)  # twice what it would be let go on
        assert alive(agent.serving)


@pytest.mark.parametrize("off,late", [("look-speed", False), ("look-speed,workers", True)])
def test_counting_memory_holds_up_nobody(off, late):
    """While it takes its time (three seconds here) other requests are answered; the loop itself would not answer them."""
    with LocalAgent(off=off) as agent, agent.connect() as counted, agent.connect() as other:
        assert other.request("GET", "/health").status == 200
        counted.send_request("GET", "/v1/info", agent.headers())
        time.sleep(0.5)  # so that it is begun
        assert other.request("GET", "/health").status == 200
        assert bool(select.select([counted.socket], [], [], 1)[0]) == late  # the look takes longer still
        assert counted.read_response().json()["usage"]["memory"] >= 0


def test_who_asks_for_the_memory_may_leave(host):
    with LocalAgent(off="look-speed") as agent:
        for _ in range(3):
            with agent.connect() as c:
                c.send_request("GET", "/v1/info", agent.headers())
        assert agent.get("/v1/info").json()["usage"]["processes"] == 0


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


@pytest.mark.parametrize("level", ["full", "landlock", "none"])
def test_limits_that_are_reported_hold(level):
    """Those of who starts the sandbox, where they are lower."""
    with LocalAgent(level=level, wrap=["/usr/bin/prlimit", "--nofile=256:256", "--nproc=400:400"] if level == "full" else
                    ["/usr/bin/prlimit", "--nofile=256:256"]) as agent:
        limits = agent.get("/v1/info").json()["limits"]
        assert agent.run("ulimit -n").stdout == b"256\n" and limits["open_files"] == 256
        assert limits["processes"] == (400 if level == "full" else 512)


def test_a_command_may_offer_itself_to_the_killer():
    with LocalAgent() as agent:
        out = agent.run("echo 900 > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj")
        assert out.stdout == b"900\n", out.stderr


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
