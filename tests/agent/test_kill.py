# ctest: timeout=300
"""Kills, signals and the shutdown reach all of their own and nobody else, also on a busy agent and on one that has run out of descriptors."""
import contextlib
import os
import platform
import signal
import socket
import struct
import sys
import threading
import time

import pytest
from agent import Agent, wait_until
from local_agent import LocalAgent
from streams import Output, frame_events


def run(a, cmd, **body):
    return Output(a.events("POST", "/v1/exec", {"cmd": cmd, **body}))


def descendants(a, command):
    """Processes of this agent whose command line is `command`, wherever they went."""
    found, parents, names = [], {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", errors="replace") as f:
                parents[int(pid)] = int(f.read().rsplit(")", 1)[1].split()[1])
            with open(f"/proc/{pid}/cmdline", errors="replace") as f:
                names[int(pid)] = f.read().rstrip("\0").split("\0")
        except OSError:
            continue
    for pid, name in names.items():
        parent = pid
        while parent in parents and parent != a.pid:
            parent = parents[parent]
        if parent == a.pid and name == command:
            found.append(pid)
    return found


def kill_among_starts(a, kills, until_wrong=False):
    """Kills one command after the other while four clients start short ones: what went wrong."""
    stop, wrong = threading.Event(), []

    def start():
        while not stop.is_set():
            ended = run(a, ["/bin/true"])
            if ended.exit_code != 0:
                wrong.append(ended.exit)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        process = a.start_process(["sleep", "300"])["id"]
        answer = a.request("DELETE", f"/v1/processes/{process}").json()
        assert answer["killed"] is True
        if answer["survivors"]:
            wrong.append(answer)
        if until_wrong and wrong:
            break
    stop.set()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.parametrize("pid1", [False, True])
def test_commands_that_just_start_are_nobody_elses(pid1):
    with Agent(pid1=pid1) as a:
        assert kill_among_starts(a, 60) == []


def test_control_taken_for_strays():
    with Agent(off="tree-first") as a:
        assert kill_among_starts(a, 2000, until_wrong=True)


def test_without_marks_other_commands_are_no_survivors():
    with Agent(wrap=["prlimit", "--rttime=100000000:100000000"]) as a:
        first, second = a.start_process(["sleep", "300"]), a.start_process(["sleep", "300"])
        assert a.request("DELETE", f"/v1/processes/{first['id']}").json()["survivors"] == []
        assert a.get(f"/v1/processes/{second['id']}").json()["running"] is True


EXIT = {"x86_64": 60, "aarch64": 93}[platform.machine()]
HEADLESS = f"import ctypes,threading,time\nthreading.Thread(target=time.sleep,args=(300,)).start()\nctypes.CDLL(None).syscall({EXIT},0)"


def headless(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[17]) > 1


def headless_elsewhere(a, file):
    """A process in a session of its own whose first thread has ended and whose second runs."""
    process = a.start_process(f"setsid {sys.executable} -c '{HEADLESS}' >/dev/null & echo $! > {file}; exec sleep 300")["id"]
    wait_until(lambda: file.exists() and file.read_text().strip())
    pid = int(file.read_text())
    wait_until(lambda: headless(pid), what="the end of the first thread")
    return process, pid


def test_the_first_thread_of_a_command_may_have_ended():
    with Agent() as a:
        ended = run(a, [sys.executable, "-c", HEADLESS], timeout=1)
        assert ended.exit["timed_out"] is True and ended.exit["signal"] == 9 and "survivors" not in ended.exit


def test_the_first_thread_of_a_descendant_may_have_ended(tmp_path):
    with Agent() as a:
        process, pid = headless_elsewhere(a, tmp_path / "pid")
        assert a.request("DELETE", f"/v1/processes/{process}").json()["survivors"] == []
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_control_taken_for_dead(tmp_path):
    with Agent(off="headless", clean_exit=False) as a:
        process, pid = headless_elsewhere(a, tmp_path / "pid")
        assert a.request("DELETE", f"/v1/processes/{process}").json()["survivors"] == []
        assert headless(pid)
        os.kill(pid, 9)


def exhaust(a):
    """Takes every descriptor of an agent that has few, with commands that time out; returns the ids of those commands."""
    ids = []
    while True:
        r = a.post("/v1/processes", json={"cmd": "setsid sleep 300 & exec sleep 300", "timeout": 4})
        if r.status != 200:
            break
        ids.append(r.json()["id"])
    assert len(ids) > 5
    return ids


def fill(a):
    return [socket.create_connection(a.address) for _ in range(8)]


def test_timeouts_hold_without_descriptors():
    with Agent(wrap=["prlimit", "--nofile=64:64"]) as a:
        exhaust(a)
        rest = fill(a)
        wait_until(lambda: not descendants(a, ["sleep", "300"]), timeout=40, what="the end of all commands")
        for s in rest:
            s.close()


def test_control_without_descriptors_kept_for_it():
    with Agent(off="spare-descriptors", wrap=["prlimit", "--nofile=64:64"], clean_exit=False) as a:
        count = len(exhaust(a))
        rest = fill(a)
        wait_until(lambda: len(descendants(a, ["sleep", "300"])) <= count, timeout=40, what="the end of the first processes")
        time.sleep(3)  # longer than a kill is tried
        assert descendants(a, ["sleep", "300"])
        for s in rest:
            s.close()
        for pid in descendants(a, ["sleep", "300"]):
            with contextlib.suppress(ProcessLookupError):  # the kill goes on, now that there are descriptors
                os.kill(pid, 9)


MANY = "import subprocess,time\nfor i in range(400): subprocess.Popen(['sleep','300'])\nprint('up',flush=True)\ntime.sleep(300)"


def signal_and_vanish(a):
    """Asks for a signal to a tree of hundreds, and resets the connection: how many of them are left."""
    process = a.start_process([sys.executable, "-c", MANY])["id"]
    wait_until(lambda: a.output(process, "").stdout == b"up\n", timeout=30)
    c = a.connect()
    body = b'{"signal": 15}'
    c.send_request("POST", f"/v1/processes/{process}/signal", a.headers([("Content-Length", len(body))]))
    c.send(body)
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    with a.connect() as other:  # the loop has seen the reset before it answers this
        assert other.request("GET", "/health").status == 200
    try:
        wait_until(lambda: not descendants(a, ["sleep", "300"]), timeout=8)
    except AssertionError:
        pass
    return len(descendants(a, ["sleep", "300"]))


def test_an_accepted_signal_is_sent_whoever_waits_for_it():
    with Agent() as a:
        assert signal_and_vanish(a) == 0


def test_control_the_signal_dies_with_its_request():
    with Agent(off="keep-signals") as a:
        assert signal_and_vanish(a) > 0


ORDERLY = "import signal,sys,time\ndef end(*_):\n time.sleep(0.3)\n open(sys.argv[1],'w').write('x')\n sys.exit()\nsignal.signal(15,end)\nprint('up',flush=True)\ntime.sleep(300)"


@pytest.mark.parametrize("how", ["{}; true", "{} & exit 0"])
def test_descendants_get_the_grace_too(tmp_path, how):
    file = tmp_path / "ended in order"
    with Agent() as a:
        process = a.start_process(how.format(f"{sys.executable} -c \"{ORDERLY}\" '{file}'"))["id"]
        wait_until(lambda: a.output(process, "").stdout == b"up\n")
    assert file.exists()


def test_control_a_grace_for_first_processes_alone(tmp_path):
    file = tmp_path / "ended in order"
    with Agent(off="grace-all") as a:
        process = a.start_process(f"{sys.executable} -c \"{ORDERLY}\" '{file}' & exit 0")["id"]
        wait_until(lambda: a.output(process, "").stdout == b"up\n")
    assert not file.exists()


def held(a, most):
    """How much of an endless output one look at what is held brings, as frames; no more than about `most`."""
    process = a.start_process(["yes"])["id"]
    wait_until(lambda: a.get(f"/v1/processes/{process}").json()["stdout"]["start"] > 0)
    data = b""
    with a.connect() as c:
        c.send_request("GET", f"/v1/processes/{process}/output", a.headers([("Accept", "application/x-hfsandbox-frames")]))
        for piece in c.body_pieces(c.read_head()):
            data += piece
            if len(data) > most:
                break
    a.request("DELETE", f"/v1/processes/{process}")
    return data


def test_a_look_at_what_is_held_ends():
    with LocalAgent(level="none") as a:  # its sockets hold little, so that reader and writer go together
        events = list(frame_events([held(a, 8 << 20)]))
        assert 0 < sum(len(e["data"]) for e in events if e["event"] == "stdout") <= 1 << 20
        assert events[-1]["event"] == "held"


def test_control_a_look_that_follows_the_writer():
    with LocalAgent(level="none", off="held-end") as a:
        assert any(len(held(a, 8 << 20)) > 8 << 20 for _ in range(20))  # unless the writer is too slow to be followed


LATE = "exec 3<&0; (sleep 0.3; wc -c <&3 >{0}.new; mv {0}.new {0}) & exit 0"


def late_input(a, file):
    run(a, LATE.format(file), stdin="x" * 500000)
    wait_until(file.exists)
    return int(file.read_text())


def test_input_is_there_for_those_that_a_command_leaves_behind(tmp_path):
    with Agent() as a:
        assert late_input(a, tmp_path / "count") == 500000
        wait_until(lambda: not a.children())


def test_control_input_that_ends_with_the_command(tmp_path):
    with Agent(off="input-at-exit") as a:
        assert late_input(a, tmp_path / "count") < 500000


def wait_beside_a_stuck_reader(a, wait_ms):
    """A command has ended, but another reader takes nothing of what its child still writes: how long a wait for its end lasts."""
    with a.connect(receive_buffer=4096) as stuck:
        body = b'{"cmd": "head -c 30000000 /dev/zero & sleep 0.5; exit 3"}'
        stuck.send_request("POST", "/v1/exec", a.headers([("Content-Length", len(body)), ("Accept", "application/x-hfsandbox-frames")]))
        stuck.send(body)
        process = wait_until(lambda: a.get("/v1/processes").json())[0]["id"]
        begin = time.monotonic()
        entry = a.get(f"/v1/processes/{process}?wait_ms={wait_ms}").json()
        assert entry["running"] is False and entry["exit_code"] == 3
        return time.monotonic() - begin


def test_a_wait_is_not_held_up_by_another_reader():
    with Agent() as a:
        assert wait_beside_a_stuck_reader(a, 60000) < 30


def test_control_a_wait_for_the_last_output():
    with Agent(off="drain-limit") as a:
        assert wait_beside_a_stuck_reader(a, 6000) >= 6


LEAVES = "sleep 300 >/dev/null & setsid sleep 300 >/dev/null & echo left"


@pytest.mark.parametrize("before", [0, 1])
def test_a_kill_counts_what_an_ended_command_left(before):
    with LocalAgent() as a:
        for _ in range(before):
            run(a, "true")
        left = run(a, LEAVES)
        assert left.exit_code == 0
        wait_until(lambda: len(descendants(a, ["sleep", "300"])) == 2, what="what it left")
        answer = a.request("DELETE", f"/v1/processes/{left.id}?keep=1").json()
        assert answer == {"id": left.id, "ok": True, "killed": False, "signalled": 2, "survivors": []}
        assert not descendants(a, ["sleep", "300"])
        assert a.request("DELETE", f"/v1/processes/{left.id}?keep=1").json()["signalled"] == 0


def kill_of_many(off=""):
    """What the kill of an agent's first command tells, beside which there is nothing: all of it could be ended at once, uncounted."""
    with LocalAgent(off=off) as a:
        process = a.start_process("for i in $(seq 40); do sleep 300 & done; wait")["id"]
        wait_until(lambda: len(descendants(a, ["sleep", "300"])) == 40, what="all of it")
        answer = a.request("DELETE", f"/v1/processes/{process}").json()
        assert answer["killed"] is True and answer["survivors"] == []
        return answer["signalled"]


def test_a_kill_counts_all_of_it():
    assert kill_of_many() == 41


def test_control_of_the_count():
    assert any(kill_of_many("kill-counts") < 41 for _ in range(5))


def test_what_is_killed_stays_if_asked_for():
    with Agent() as a:
        for query, listed in (("?keep=1", True), ("", False), ("?keep=0", False)):
            process = a.start_process("echo said; exec sleep 300")["id"]
            wait_until(lambda: a.output(process, "").stdout == b"said\n")
            answer = a.request("DELETE", f"/v1/processes/{process}{query}").json()
            assert answer["killed"] is True and answer["signalled"] == 1
            assert (process in [p["id"] for p in a.get("/v1/processes").json()]) == listed
            if listed:
                assert a.output(process).stdout == b"said\n" and a.output(process).exit["signal"] == 9
