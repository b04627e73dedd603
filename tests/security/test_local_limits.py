# ctest: timeout=600
"""What of a local sandbox is limited, counted and reported. Without the limit what it refuses goes through. Bombs: test_local_bombs.py."""
import resource
import select
import time

import pytest
from attacks import Host, attack
from local_agent import LocalAgent, alive

MIB = 1 << 20


@pytest.fixture(scope="module")
def host():
    h = Host()
    yield h
    h.close()


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
