"""A timeout or a kill ends all that a command started, wherever it went; what it cannot end it names."""
import os
import subprocess
import sys
import threading
import time

import pytest
from agent import Agent, wait_until
from streams import Output


@pytest.fixture
def agent():
    with Agent() as a:
        yield a


def run(a, cmd, **body):
    return Output(a.events("POST", "/v1/exec", {"cmd": cmd, **body}))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


# A daemon as daemons are made: another session, its parent gone, nothing of the environment left, its output closed.
ESCAPE = "env -i setsid sh -c '(sh -c \"echo \\$\\$ > {file}; exec sleep 300\" >/dev/null 2>&1 &)'; until [ -s {file} ]; do sleep 0.01; done; "


def escaped(file):
    wait_until(lambda: file.exists() and file.read_text().strip())
    return int(file.read_text())


@pytest.mark.parametrize("pid1", [False, True])
def test_a_daemon_does_not_escape_a_timeout(tmp_path, pid1):
    file = tmp_path / "pid"
    with Agent(pid1=pid1) as a:
        process = a.start_process(ESCAPE.format(file=file) + "exec sleep 300", timeout=3)["id"]
        escaped(file)
        wait_until(lambda: len(sleepers(a)) == 2)
        inside = sleepers(a)
        entry = a.get(f"/v1/processes/{process}?wait_ms=20000").json()
        assert entry["timed_out"] is True
        o = a.output(process)
        assert "survivors" not in o.exit and not any(map(alive, inside))


def sleepers(a):
    """Live `sleep 300` among all descendants of this agent, as the test sees them."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", errors="replace") as f:
                state, parent = f.read().rsplit(")", 1)[1].split()[:2]
            with open(f"/proc/{pid}/cmdline", errors="replace") as f:
                parents[int(pid)] = (int(parent), f.read())
        except OSError:
            continue
    found = []
    for pid, (parent, command) in parents.items():
        while parent in parents and parent != a.pid:
            parent = parents[parent][0]
        if parent == a.pid and command == "sleep\x00300\x00":
            found.append(pid)
    return found


def test_delete_finds_it_too(agent, tmp_path):
    file = tmp_path / "pid"
    process = agent.start_process(ESCAPE.format(file=file) + "exec sleep 300")["id"]
    daemon = escaped(file)
    r = agent.request("DELETE", f"/v1/processes/{process}").json()
    assert r["killed"] is True and r["survivors"] == [] and not alive(daemon)


def test_control_without_marks_it_escapes(tmp_path):
    file = tmp_path / "pid"
    with Agent(off="tree-tag") as a:
        process = a.start_process(ESCAPE.format(file=file) + "exec sleep 300")["id"]
        daemon = escaped(file)
        r = a.request("DELETE", f"/v1/processes/{process}").json()
        assert r["survivors"] == [daemon] and alive(daemon)
        os.kill(daemon, 9)


def test_daemons_of_others_live_on(agent, tmp_path):
    """Of an ended command, and of another one that runs."""
    files = [tmp_path / name for name in ("ended", "running", "killed")]
    assert run(agent, ESCAPE.format(file=files[0])).exit_code == 0
    other = agent.start_process(ESCAPE.format(file=files[1]) + "exec sleep 300")["id"]
    process = agent.start_process(ESCAPE.format(file=files[2]) + "exec sleep 300")["id"]
    daemons = [escaped(file) for file in files]
    assert agent.request("DELETE", f"/v1/processes/{process}").json()["survivors"] == []
    assert [alive(pid) for pid in daemons] == [True, True, False]
    agent.request("DELETE", f"/v1/processes/{other}")
    os.kill(daemons[0], 9)


def test_other_agents_are_not_touched(tmp_path):
    """The same numbers of commands, on the same machine, by the same user."""
    with Agent() as one, Agent() as two:
        first, second = one.start_process("exec sleep 300"), two.start_process("exec sleep 300")
        assert first["id"] == second["id"]
        one.stop()
        assert not alive(first["pid"]) and alive(second["pid"])


RABBIT = """
import os, sys, time
end = time.monotonic() + 6
for i in range(int(sys.argv[2]) - 1):
    if not os.fork(): break
open(sys.argv[1], 'w').write('1')
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    if len(sys.argv) > 3: os.setsid()
"""


@pytest.mark.parametrize("more", [[], ["setsid"]])
def test_a_rabbit_is_caught(agent, tmp_path, more):
    """One that forks and exits as fast as it can, so that no look at the list of processes finds it twice."""
    file = tmp_path / "hops"
    process = agent.start_process([sys.executable, "-c", RABBIT, str(file), "1"] + more)["id"]
    wait_until(lambda: not agent.get(f"/v1/processes/{process}").json()["running"])  # its first process has hopped away
    begin = time.monotonic()
    r = agent.request("DELETE", f"/v1/processes/{process}").json()
    assert time.monotonic() - begin < 6
    wait_until(lambda: not agent.children() or r["survivors"], what="the end of the rabbit")
    if r["survivors"]:  # faster than we are: then it was said
        pytest.skip("the machine was too busy to catch it")


def test_control_one_look_is_not_enough(tmp_path):
    file = tmp_path / "hops"
    with Agent(off="tree-repeat", clean_exit=False) as a:
        process = a.start_process([sys.executable, "-c", RABBIT, str(file), "8", "setsid"])["id"]
        wait_until(lambda: not a.get(f"/v1/processes/{process}").json()["running"])  # its first process has hopped away
        time.sleep(0.2)
        a.request("DELETE", f"/v1/processes/{process}")
        wait_until(a.children, timeout=2, what="a rabbit that got away")  # gone again before it could be looked at
        time.sleep(6)  # they end by themselves
        wait_until(lambda: not a.children(), what="no children")


LOWER = "import resource,os,sys,time\nh=resource.getrlimit(%d)[1]\nresource.setrlimit(%d,(h-2**40,h-2**40))\n" % (15, 15)


def test_a_lowered_mark_with_its_parent_there(agent):
    """It gave up its mark, but its parent has one."""
    process = agent.start_process([sys.executable, "-c", LOWER + "os.system('setsid sleep 300')"])
    wait_until(lambda: len(sleepers(agent)) >= 1)
    inside = sleepers(agent)
    r = agent.request("DELETE", f"/v1/processes/{process['id']}").json()
    assert r["survivors"] == [] and not any(map(alive, inside))


HIDE = LOWER + "if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\nos.closerange(0,3)\nos.execvp('sleep',['sleep','300'])"


def test_what_hides_completely_is_named(agent):
    """A process that gave up its mark, its session and its parent cannot be told from another command's: it is reported."""
    process = agent.start_process(f"{sys.executable} -c \"{HIDE}\"; sleep 300")["id"]
    wait_until(lambda: len([p for p in agent.children() if p in sleepers(agent)]) >= 1)
    hidden = [p for p in agent.children() if p in sleepers(agent)]
    r = agent.request("DELETE", f"/v1/processes/{process}").json()
    assert r["survivors"] == hidden
    for pid in hidden:
        os.kill(pid, 9)


def test_what_hides_completely_ends_with_the_only_command():
    """In a pid namespace of its own, what is nobody else's is its."""
    with Agent(pid1=True) as a:
        process = a.start_process(f"{sys.executable} -c \"{HIDE}\"; exec sleep 300")["id"]
        wait_until(lambda: len(sleepers(a)) == 2)
        inside = sleepers(a)
        assert a.request("DELETE", f"/v1/processes/{process}").json()["survivors"] == []
        assert not any(map(alive, inside))


def test_thousands_of_processes_do_not_stop_the_loop():
    count = 1500
    with Agent(static=True) as a:
        process = a.start_process([sys.executable, "-c", f"import subprocess,time\nfor i in range({count}): subprocess.Popen(['sleep','300'])\nprint('up',flush=True)\ntime.sleep(300)"])["id"]
        wait_until(lambda: a.get(f"/v1/processes/{process}").json()["stdout"]["end"] > 0, timeout=60)
        slowest, done = 0, threading.Event()

        def ask():
            nonlocal slowest
            with a.connect() as c:
                while not done.is_set():
                    begin = time.monotonic()
                    assert c.request("GET", "/health").status == 200
                    slowest = max(slowest, time.monotonic() - begin)

        asking = threading.Thread(target=ask)
        asking.start()
        r = a.request("DELETE", f"/v1/processes/{process}").json()
        done.set()
        asking.join()
        assert r["killed"] is True and r["survivors"] == []
        wait_until(lambda: not a.children(), what="no children")
        assert slowest < 0.5


def test_a_number_that_is_used_again(agent):
    """5c 10, 11: after its end, a command's pid, group and session may be a stranger's; its signals and kills are not for that."""
    o = run(agent, "exit 0")
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        assert agent.request("DELETE", f"/v1/processes/{o.id}").json()["killed"] is False
        assert agent.post(f"/v1/processes/{o.id}/signal", json={"signal": 9}).status == 404
        assert alive(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()
