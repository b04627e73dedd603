"""Sandboxes that stay: created, used from other processes, listed, ended."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
from agent import wait_until
from command import ORDINARY, User


def test_life_of_a_sandbox(user):
    assert user.json("list") == []
    before = time.time() * 1000
    id = user.json("create")["id"]
    other = user.ok("create").decode()
    assert other.endswith("\n") and other.strip() != id
    rows = {row["id"]: row for row in user.json("list")}
    assert set(rows) == {id, other.strip()}
    row = rows[id]
    assert set(row) == {"id", "provider", "created_at_ms", "pid", "detached", "running", "damaged", "hub_namespace", "stage", "image", "flavor",
                        "started_at_ms", "cost_micro_usd", "pool"}
    assert all(row[name] is None for name in ("hub_namespace", "stage", "image", "flavor", "started_at_ms", "cost_micro_usd", "pool"))
    assert row["provider"] == "local" and row["detached"] is True and row["running"] is True
    assert before - 2000 < row["created_at_ms"] < time.time() * 1000 + 2000
    os.kill(row["pid"], 0)
    table = user.ok("list").decode().split("\n")
    assert table[0].split() == ["ID", "PROVIDER", "STATE", "CREATED", "PID"] and len(table) == 4
    assert user.ok("exec", id, "-c", "echo kept >file; cat file") == b"kept\n"
    assert user.ok("exec", id, "--", "cat", "file") == b"kept\n"
    assert user.ok("connect", id).decode().split("\n")[:2] == [f"id: {id}", "provider: local"]
    assert user.json("connect", id) == {"id": id, "provider": "local", "image": None, "flavor": None, "running_ms": None, "answered_ms": None}
    assert user.ok("kill", id) == b""
    assert [row["id"] for row in user.json("list")] == [other.strip()]
    assert id in user.fails("exec", id, "--", "true")
    assert id in user.fails("kill", id)
    assert user.json("kill", "--all", "--yes") == {"ended": 1}
    assert user.json("list") == []
    user.nothing_left()


def test_create_options_hold_for_every_command(user):
    id = user.ok("create", "-e", "A=1", "-e", "B=2", "-w", "/tmp", "--open-files", "123", "--idle-timeout", "1h").decode().strip()
    out = user.ok("exec", id, "-e", "B=3", "-c", "echo $A $B $PWD $(ulimit -n)")
    assert out == b"1 3 /tmp 123\n"


def test_exec_passes_everything_through(user, sandbox):
    data = os.urandom(1 << 20)
    assert user.ok("exec", sandbox, "--", "cat", input=data) == data
    run = user("exec", sandbox, "-c", "echo out; echo err >&2; exit 9")
    assert (run.code, run.out, run.err) == (9, b"out\n", b"err\n")
    assert user("exec", sandbox, "--timeout", "300ms", "--", "sleep", "300").code == 124
    user.fails("exec", sandbox, "--", "no-such-program", code=127)


@pytest.mark.parametrize("number", [2, 15, 1])
def test_a_signal_to_exec_ends_its_command_and_not_the_sandbox(user, sandbox, number):
    process = user.start("exec", sandbox, "-c", "setsid sleep 300 & echo ready; sleep 300")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (-number, b"")
    assert user.ok("exec", sandbox, "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c '^300$' || true") == b"0\n"
    assert [p for p in user.json("ps", sandbox) if p["running"]] == []


def test_background_commands(user, sandbox):
    process = user.ok("spawn", sandbox, "--tag", "worker", "-c", "echo out; echo err >&2; read never; sleep 300").decode().strip()
    assert re.fullmatch(r"p-\d+", process)
    second = user.json("spawn", sandbox, "--", "sleep", "300")
    assert re.fullmatch(r"p-\d+", second["id"]) and second["pid"] > 0
    rows = {p["id"]: p for p in user.json("ps", sandbox)}
    assert rows[process]["tag"] == "worker" and rows[second["id"]]["running"] is True
    assert rows[second["id"]]["exit_code"] is None and rows[second["id"]]["pid"] == second["pid"]
    assert json.loads(rows[second["id"]]["command"]) == ["sleep", "300"]
    table = user.ok("ps", sandbox).decode()
    assert "[worker]" in table and "running" in table and "sleep 300" in table
    wait_until(lambda: user("logs", sandbox, process).err == b"err\n", what="its output")
    assert user("logs", sandbox, process).out == b"out\n"
    assert user.json("kill", sandbox, second["id"], "--signal", "TERM")["signalled"] == 1
    assert user("wait", sandbox, second["id"]).code == 128 + 15
    assert user.json("kill", sandbox, process)["killed"] >= 1
    rows = {p["id"]: p for p in user.json("ps", sandbox)}
    assert rows[process]["signal"] == 9 and user("logs", sandbox, process).out == b"out\n" and user("wait", sandbox, process).code == 128 + 9
    assert rows[second["id"]]["signal"] == 15 and rows[second["id"]]["running"] is False
    assert rows[second["id"]]["exit_code"] is None


def test_logs_say_what_is_no_longer_held(user, sandbox):
    process = user.ok("spawn", sandbox, "-c", "head -c 3000000 /dev/zero").decode().strip()
    user.ok("wait", sandbox, process)
    for follow in ((), ("-f",)):
        run = user("logs", sandbox, process, *follow)
        assert len(run.out) == 1 << 20 and b"1951424 bytes of stdout from offset 0 on are no longer held" in run.err
    for _ in range(10):  # the sandbox holds 8 MiB
        user.ok("exec", sandbox, "-c", "head -c 1048576 /dev/zero")
    run = user("logs", sandbox, process)
    assert run.out == b"" and b"3000000 bytes of stdout from offset 0 on are no longer held" in run.err


def test_logs_from_an_offset_and_following(user, sandbox):
    process = user.ok("spawn", sandbox, "-c", "printf 0123456789; printf abcdef >&2; until [ -e go ]; do sleep 0.05; done; printf XYZ; exit 5").decode().strip()
    wait_until(lambda: user("logs", sandbox, process).err == b"abcdef", what="its output")
    run = user("logs", sandbox, process, "--stdout", "4", "--stderr", "2")
    assert (run.code, run.out, run.err) == (0, b"456789", b"cdef")
    assert user.ok("logs", sandbox, process, "--stdout", "10", "--stderr", "6") == b""
    assert "1000" in user.fails("logs", sandbox, process, "--stdout", "1000")
    with user.start("logs", "-f", sandbox, process, "--stdout=8") as follower:
        assert follower.stdout.read(2) == b"89"
        user.ok("exec", sandbox, "--", "touch", "go")
        assert follower.stdout.read() == b"XYZ" and follower.wait(20) == 0
    assert user("wait", sandbox, process).code == 5
    assert user("logs", sandbox, process).out == b"0123456789XYZ"
    assert "p-999" in user.fails("logs", sandbox, "p-999")


def test_following_does_not_end_what_it_follows(user, sandbox):
    process = user.ok("spawn", sandbox, "-c", "echo ready; sleep 300").decode().strip()
    follower = user.start("logs", sandbox, process, "-f")
    assert follower.stdout.readline() == b"ready\n"
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=20)
    assert follower.returncode == -signal.SIGINT
    assert [p["running"] for p in user.json("ps", sandbox)] == [True]


def test_output_that_was_dropped_is_said(user, sandbox):
    process = user.ok("spawn", sandbox, "-c", "head -c 3M /dev/zero; echo end").decode().strip()
    assert user("wait", sandbox, process).code == 0
    run = user("logs", sandbox, process)
    assert run.code == 0 and run.out.endswith(b"end\n") and b"no longer held" in run.err
    dropped = int(re.search(rb"(\d+) bytes", run.err).group(1))
    assert dropped + len(run.out) == (3 << 20) + 4


def test_wait(user, sandbox):
    process = user.ok("spawn", sandbox, "-c", "until [ -e go ]; do sleep 0.05; done; exit 42").decode().strip()
    begin = time.monotonic()
    line = user.fails("wait", sandbox, process, "--timeout", "300ms", code=124)
    assert process in line and time.monotonic() - begin < 10
    assert "still runs" in line
    run = user("wait", sandbox, process, "--timeout", "10ms", "--json")
    assert run.code == 124 and json.loads(run.out)["running"] is True and json.loads(run.out)["timed_out"] is False
    waiting = user.start("wait", sandbox, process, "--json")
    user.ok("exec", sandbox, "--", "touch", "go")
    out, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 42 and err == b""
    end = json.loads(out)
    assert end["running"] is False and end["exit_code"] == 42 and end["signal"] is None and end["timed_out"] is False and end["id"] == process
    assert user("wait", sandbox, process).code == 42
    late = user.ok("spawn", sandbox, "--timeout", "100ms", "--", "sleep", "300").decode().strip()
    run = user("wait", sandbox, late, "--json")
    assert run.code == 124 and b"killed by its timeout" in run.err and json.loads(run.out)["running"] is False
    assert json.loads(run.out)["timed_out"] is True


LEAVES = "sleep 300 >/dev/null 2>&1 & setsid sleep 300 >/dev/null 2>&1 & echo left"


def test_kill_says_what_it_did(user, sandbox):
    process = user.ok("spawn", sandbox, "--", "true").decode().strip()
    user("wait", sandbox, process)
    assert "had ended already, and nothing" in user.fails("kill", sandbox, process)
    tree = user.ok("spawn", sandbox, "-c", "sleep 300 & sleep 300 & echo ready; wait").decode().strip()
    wait_until(lambda: user("logs", sandbox, tree).out == b"ready\n", what="the tree")
    assert user.json("kill", sandbox, tree, "-s", "USR1")["signalled"] == 3
    assert "has ended" in user.fails("kill", sandbox, tree, "-s", "USR1")
    assert "p-77" in user.fails("kill", sandbox, "p-77")
    tree = user.ok("spawn", sandbox, "-c", "sleep 300 & sleep 300 & echo ready; wait").decode().strip()
    wait_until(lambda: user("logs", sandbox, tree).out == b"ready\n", what="the tree")
    assert user.json("kill", sandbox, tree) == {"id": tree, "killed": 3}


def test_kill_reaches_what_an_ended_command_left(user, sandbox):
    process = user.ok("spawn", sandbox, "-c", LEAVES).decode().strip()   # the first command: the agent may take all for its
    assert user("wait", sandbox, process).code == 0
    run = user("kill", "--json", sandbox, process)
    assert run.code == 0 and json.loads(run.out) == {"id": process, "killed": 2}
    assert run.err.decode() == f"hfsandbox: {process} had ended already; 2 processes that it had left behind were killed\n"
    assert user.ok("logs", sandbox, process) == b"left\n"
    assert "nothing that it started is left" in user.fails("kill", sandbox, process)
    ended = user.ok("spawn", sandbox, "-c", LEAVES).decode().strip()
    assert user("wait", sandbox, ended).code == 0
    running = user.ok("spawn", sandbox, "-c", "sleep 300 & echo ready; wait").decode().strip()
    wait_until(lambda: user("logs", sandbox, running).out == b"ready\n", what="the tree")
    assert user.json("kill", sandbox, "--all") == {"id": sandbox, "killed": 4}
    assert not [p for p in user.json("ps", sandbox) if p["running"]]


HIDES = ("import resource, os\nh = resource.getrlimit(15)[1]\nresource.setrlimit(15, (h - 2**40, h - 2**40))\nif os.fork(): os._exit(0)\n"
         "os.setsid()\nif os.fork(): os._exit(0)\nos.closerange(0, 3)\nos.execvp('sleep', ['sleep', '301'])")


def test_kill_names_what_it_could_not_kill(user, sandbox):
    """One that gave up its mark, its session and its parent is nobody's while another command runs."""
    user.ok("spawn", sandbox, "--", "sleep", "300")
    process = user.ok("spawn", sandbox, "-c", f"/usr/bin/python3 -c \"{HIDES}\"; sleep 300").decode().strip()
    find = "for p in /proc/[0-9]*; do { tr '\\0' ' ' <$p/cmdline; } 2>/dev/null | grep -q '^sleep 301' && echo ${p#/proc/}; done; true"
    wait_until(lambda: user.ok("exec", sandbox, "-c", find), what="the hidden process")
    run = user("kill", "--json", sandbox, process)
    assert run.code == 125 and b"1 process of p-1, or not to be told from them, could not be killed; end the sandbox" in run.err, run
    assert json.loads(run.out)["killed"] >= 1
    assert user.ok("exec", sandbox, "-c", find)
    user.ok("kill", sandbox)


def test_info(user, sandbox):
    info = user.json("info", sandbox)
    assert info["id"] == sandbox and info["provider"] == "local" and info["detached"] is True
    assert info["isolation"]["level"] == "full" and all(step["holds"] for step in info["isolation"]["steps"] if step["required"])
    assert info["limits"]["processes"] > 0
    text = user.ok("info", sandbox).decode()
    assert f"id: {sandbox}" in text and "level: full" in text
    for step in info["isolation"]["steps"]:
        assert re.search(rf"^{re.escape(step['name'])} +(yes|no) ", text, re.M), text
    assert info["network"] == "none" and "\nnetwork: none\n" in text and "no limit" not in text
    assert "outlives the client" in {step["name"]: step["detail"] for step in info["isolation"]["steps"]}["life"]
    open_one = user.ok("create", "--network", "host").decode().strip()
    assert user.json("info", open_one)["network"] == "host"
    trusting = user.ok("create", "--isolation", "none").decode().strip()
    assert user.json("info", trusting)["network"] == "host" and "  disk: no limit\n" in user.ok("info", trusting).decode()


def test_kill_needs_neither_the_agent_nor_the_record(user, sandbox):
    [row] = user.json("list")
    with open(f"/proc/{row['pid']}/task/{row['pid']}/children") as children:
        os.kill(int(children.read()), signal.SIGSTOP)
    [record] = user.runtime.rglob("record.json")
    record.write_text("{")
    [damaged] = user.json("list")
    assert damaged["damaged"] is True and damaged["pid"] == row["pid"] and abs(damaged["created_at_ms"] - row["created_at_ms"]) < 60000
    assert user.ok("list").decode().splitlines()[1].split()[2] == "damaged"
    assert "damaged" in user.fails("exec", sandbox, "--", "true")
    assert user.json("reap") == {"reaped": 0} and user.json("kill", sandbox) == {"id": sandbox, "ended": 1}
    assert user.json("list") == []
    user.nothing_left()


def test_reap_ends_only_what_it_is_told(user):
    id = user.ok("create").decode().strip()
    assert user.json("reap") == {"reaped": 0}
    assert user.json("reap", "--older-than", "1h") == {"reaped": 0}
    assert [row["id"] for row in user.json("list")] == [id]
    assert user.json("reap", "--older-than", "1ms") == {"reaped": 1}
    assert user.json("list") == []
    user.ok("create")
    assert user.ok("reap", "--all") == b"1 ended or cleaned up\n"


def test_reap_cleans_up_after_a_killed_sandbox(user):
    user.ok("create")
    [row] = user.json("list")
    os.kill(row["pid"], signal.SIGKILL)
    wait_until(lambda: not [row for row in user.json("list") if row["running"]], what="its end")
    user.ok("reap")
    assert user.json("list") == []
    user.nothing_left()


def test_idle_timeout_ends_it(user):
    user.ok("create", "--idle-timeout", "1s")
    wait_until(lambda: not [row for row in user.json("list") if row["running"]], 20, "the end of an idle sandbox")
    user.ok("reap")
    user.nothing_left()


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user")
def test_other_users_do_not_reach_it():
    with User() as root, User(ORDINARY) as other:
        id = root.ok("create").decode().strip()
        shared = {"XDG_RUNTIME_DIR": str(root.runtime)}
        assert other.json("list") == []
        other.fails("exec", id, "--", "true")
        other.fails("exec", id, "--", "true", env=shared)
        other.fails("kill", id, env=shared)
        assert root.ok("exec", id, "--", "echo", "alive") == b"alive\n"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_the_default_directory_without_xdg():
    """No XDG_RUNTIME_DIR: a private directory below /tmp, made by each user for itself."""
    with User(ORDINARY) as user:
        del user.env["XDG_RUNTIME_DIR"]
        id = user.ok("create").decode().strip()
        try:
            assert id in [row["id"] for row in user.json("list")]
        finally:
            user.ok("kill", id)


def test_a_create_that_cannot_say_its_id_leaves_nothing(user):
    with open("/dev/full", "wb") as full:
        assert user("create", stdout=full).code == 125
    assert user.json("list") == []
    process = user.start("create")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    if not out:
        assert user.json("list") == []


# ---------------------------------------------------------------- the end of all

NOTHING = "hfsandbox: nothing was ended\n"


def test_all_are_ended_only_when_that_is_meant(user):
    """Where nobody can be asked it takes -y; else a yes to how many, and those that were made after the question are not meant."""
    ids = [user.ok("create").decode().strip() for _ in range(2)]
    question = "hfsandbox: end 2 sandboxes of this computer? (y/N) "
    line = user.fails("kill", "--all")
    assert "-y" in line and "--yes" in line, line
    assert "-y" in user.fails("kill", "--all", "--json", input=b"y\n")
    for answer, said in ((b"n\n", "n\n"), (b"\n", "\n"), (b"yes please\n", "yes please\n"), (b"\x04", "")):
        code, out, shown = user.asks("kill", "--all", answer=answer)
        assert (code, out) == (125, b"") and shown.replace("^D\b\b", "\n") == question + (said or "\n") + NOTHING, (answer, code, shown)
    assert user.asks("kill", "--all", answer=b"", meanwhile=lambda process: process.send_signal(signal.SIGINT))[0] == -signal.SIGINT
    assert {row["id"] for row in user.json("list")} == set(ids)
    late = []
    code, out, shown = user.asks("kill", "--all", "--json", answer=b"Y\n", meanwhile=lambda _: late.append(user.ok("create").decode().strip()))
    assert (code, json.loads(out), shown) == (0, {"ended": 2}, question + "Y\n"), shown
    assert [row["id"] for row in user.json("list")] == late
    code, _, shown = user.asks("kill", "--all", answer=b"yes\n")
    assert code == 0 and shown == "hfsandbox: end 1 sandbox of this computer? (y/N) yes\n" and user.json("list") == []
    assert user.asks("kill", "--all", answer=b"") == (0, b"", "")
    assert user.ok("kill", "--all", "-y") == b""
