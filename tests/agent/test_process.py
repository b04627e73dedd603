"""Commands from request to exit: what starts, what is refused and why, listing, waiting, signals, ends."""
import os
import signal
import threading
import time

import pytest
from agent import Agent, wait_until


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


def run(a, cmd, frames=True, **body):
    """POST exec; unlike Agent.run, `timeout` is the command's."""
    from streams import Output
    return Output(a.events("POST", "/v1/exec", {"cmd": cmd, **body}, frames))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def refused(a, body, status=400):
    r = a.post("/v1/exec", json=body)
    assert r.status == status, r
    return r.json()


@pytest.mark.parametrize("frames", [True, False])
def test_streams_and_exit(agent, frames):
    o = run(agent, "echo out; echo err >&2; exit 7", frames, tag='a "tag"')
    assert (o.stdout, o.stderr) == (b"out\n", b"err\n")
    assert o.start["id"].startswith("p-") and o.start["pid"] > 1 and o.start["tag"] == 'a "tag"'
    assert (o.exit["exit_code"], o.exit["signal"], o.exit["timed_out"]) == (7, None, False)
    assert isinstance(o.exit["duration_ms"], int)
    assert [e["event"] for e in o.events] == ["start", "exit"]
    o = run(agent, "kill -TERM $$", frames)
    assert (o.exit["exit_code"], o.exit["signal"]) == (None, 15)


def test_argv_is_exact(agent):
    argv = ["printf", "%s|", "", "a b", "'\"$x`", "\\n", "é€", "-n"]
    assert run(agent, argv).stdout == "|a b|'\"$x`|\\n|é€|-n|".encode()
    assert run(agent, "").exit_code == 0


def test_spawn_failures_say_what_and_why(agent, tmp_path):
    plain, script, other = tmp_path / "plain", tmp_path / "script", tmp_path / "other"
    plain.write_text("x")
    script.write_text("#!/no/such/interpreter\n")
    other.write_bytes(b"\x7fELFnot really")
    for path in (script, other):
        path.chmod(0o755)
    cases = [(["nope-nope"], 2), (["/no/such"], 2), ([str(plain)], 13), ([str(tmp_path)], 13), ([str(script)], 2), ([str(other)], 8), ([""], 2),
             (["true", "x" * 200_000], 7)]
    for cmd, errno in cases:
        body = refused(agent, {"cmd": cmd})
        assert body["code"] == "spawn" and body["errno"] == errno, body
        assert body["error"] == f"failed to spawn '{cmd[0]}': {body['error'].split(': ', 1)[1]}" and os.strerror(errno)[:4] in body["error"]
    body = refused(agent, {"cmd": ["true"], "cwd": "/no/such/dir"})
    assert body["errno"] == 2 and "cwd '/no/such/dir'" in body["error"] and "failed to spawn 'true'" in body["error"]
    body = refused(agent, {"cmd": ["true"], "cwd": str(plain)})
    assert body["errno"] == 20
    r = agent.post("/v1/processes", json={"cmd": ["nope-nope"]})
    assert r.status == 400 and r.json()["code"] == "spawn" and r.header("X-Sandbox-Code") == "spawn"
    assert not [e for e in agent.get("/v1/processes").json() if e["cmd"] == ["nope-nope"]]


def test_path_lookup(agent, tmp_path):
    for n, (directory, mode) in enumerate((("one", 0o644), ("two", 0o755), ("three", 0o755))):
        (tmp_path / directory).mkdir()
        program = tmp_path / directory / "prog"
        program.write_text(f"#!/bin/sh\necho {directory}\n")
        program.chmod(mode)
    path = f"{tmp_path}/none:{tmp_path}/one:{tmp_path}/two:{tmp_path}/three"
    assert run(agent, ["prog"], env={"PATH": path}).stdout == b"two\n"
    assert refused(agent, {"cmd": ["prog"], "env": {"PATH": f"{tmp_path}/none:{tmp_path}/one"}})["errno"] == 13
    assert run(agent, ["prog"], env={"PATH": ""}, cwd=str(tmp_path / "two")).stdout == b"two\n"


@pytest.mark.parametrize("body,text", [
    (b"", "not valid JSON"), (b"{", "not valid JSON"), (b"[]", "JSON object"), (b"{}", "'cmd' is missing"), (b'{"cmd":[]}', "empty array"),
    (b'{"cmd":[1]}', "item 0"), (b'{"cmd":"x","shell":false}', "array"), (b'{"cmd":["x"],"shell":true}', "string"),
    (b'{"cmd":"x","timeout":-1}', "timeout"), (b'{"cmd":"x","timeout":NaN}', "not valid JSON"), (b'{"cmd":"x","env":{"A":null}}', "'A'"),
    (b'{"cmd":"x","env":{"A=B":"1"}}', "A=B"), (b'{"cmd":"a\\u0000b"}', "NUL")])
def test_bodies_that_are_refused(agent, body, text):
    r = agent.request("POST", "/v1/exec", body=body)
    assert r.status == 400 and r.json()["code"] == "invalid" and text in r.json()["error"], r


def test_environment(agent):
    """Base and request together; numbers and booleans as written (5c 9)."""
    lines = run(agent, ["env"], env={"A": 1, "B": 2.50, "C": True, "HOME": "/elsewhere", "EMPTY": ""}).stdout.decode().splitlines()
    assert {"A=1", "B=2.5", "C=true", "HOME=/elsewhere", "EMPTY="} <= set(lines)
    assert sum(line.startswith("HOME=") for line in lines) == 1 and any(line.startswith("PATH=") for line in lines)
    assert not any("SBX_TOKEN" in line for line in lines)


def test_working_directory(agent):
    assert run(agent, ["pwd"]).stdout.decode().strip() == str(agent.dir)
    (agent.dir / "sub").mkdir()
    assert run(agent, ["pwd"], cwd="sub").stdout.decode().strip() == str(agent.dir / "sub")


def test_a_clean_start():
    """Nothing of the agent's is inherited: descriptors, signal mask, ignored signals, raised limits, its session."""
    ignoring = ["sh", "-c", "trap '' HUP PIPE USR1; ulimit -S -n 555; exec \"$@\"", "sh"]
    with Agent(wrap=ignoring) as a, a.connect(), a.connect():
        status = run(a, ["cat", "/proc/self/status"]).stdout.decode()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert int(fields["SigBlk"], 16) == 0 and int(fields["SigIgn"], 16) == 0
        assert run(a, "ls /proc/$$/fd").stdout.split() == [b"0", b"1", b"2"]
        assert run(a, "ulimit -S -n").stdout == b"555\n"
        o = run(a, "exec cat /proc/self/stat")
        assert o.stdout.split()[4:6] == [str(o.start["pid"]).encode()] * 2


def test_listing(agent):
    process = agent.start_process(["sleep", "300"], tag="listed")
    entry = agent.get(f"/v1/processes/{process['id']}").json()
    assert entry in [{**e, "duration_ms": entry["duration_ms"]} for e in agent.get("/v1/processes").json()]
    assert entry["cmd"] == ["sleep", "300"] and entry["tag"] == "listed" and entry["running"] is True and entry["foreground"] is False
    assert entry["exit_code"] is None and entry["signal"] is None and entry["timed_out"] is False
    assert abs(entry["started_at_ms"] - time.time() * 1000) < 60_000
    assert entry["stdout"] == {"start": 0, "end": 0, "dropped": 0, "open": True}
    assert agent.get(f"/v1/processes/{process['pid']}").json()["id"] == process["id"]
    agent.request("DELETE", f"/v1/processes/{process['id']}")
    done = run(agent, "echo abc; exit 3")
    entry = agent.get(f"/v1/processes/{done.id}").json()
    assert entry["running"] is False and entry["exit_code"] == 3 and entry["foreground"] is True and entry["cmd"] == "echo abc; exit 3"
    assert entry["stdout"] == {"start": 0, "end": 4, "dropped": 0, "open": False}


@pytest.mark.parametrize("method,rest", [("GET", ""), ("GET", "/output"), ("PUT", "/stdin"), ("POST", "/signal")])
def test_ids(agent, method, rest):
    for bad in ("p-", "p-x", "x", "-1", "p--1", "p-99999999999999999999"):
        r = agent.request(method, f"/v1/processes/{bad}{rest}", body=b'{"signal":15}' if method != "GET" else None)
        assert r.status == 400 and r.json()["code"] == "invalid", r
    for unknown in ("p-123456789", "123456789"):
        r = agent.request(method, f"/v1/processes/{unknown}{rest}", body=b'{"signal":15}' if method != "GET" else None)
        assert r.status == 404 and r.json()["code"] == "no_process", r


def test_waiting(agent):
    process = agent.start_process("read x; exit 4", stdin_open=True)
    url = f"/v1/processes/{process['id']}"
    begin = time.monotonic()
    assert agent.get(url + "?wait_ms=200").json()["running"] is True
    assert time.monotonic() - begin >= 0.2
    answers = []
    waiting = [threading.Thread(target=lambda: answers.append(agent.get(url + "?wait_ms=20000").json())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    agent.request("PUT", url + "/stdin?eof=1", body=b"go\n")
    for thread in waiting:
        thread.join()
    assert [a["exit_code"] for a in answers] == [4, 4, 4]
    assert agent.get(url + "?wait_ms=20000").json()["exit_code"] == 4
    assert agent.get(url + "?wait_ms=60001").status == 400
    assert agent.get(url + "?wait_ms=x").status == 400


def test_signals(agent):
    script = "trap 'echo usr1' USR1; (trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.02; done) & while :; do sleep 0.02; done"
    process = agent.start_process(script)
    url = f"/v1/processes/{process['id']}"
    wait_until(lambda: agent.get(url).json()["stdout"]["end"] >= 6)
    r = agent.post(url + "/signal", json={"signal": int(signal.SIGUSR1), "scope": "leader"})
    assert r.json() == {"id": process["id"], "signalled": 1, "survivors": []}
    wait_until(lambda: b"usr1" in agent.output(process["id"], "").stdout)
    assert b"child" not in agent.output(process["id"], "").stdout
    assert agent.post(url + "/signal", json={"signal": int(signal.SIGUSR1), "scope": "tree"}).json()["signalled"] >= 2
    wait_until(lambda: b"child" in agent.output(process["id"], "").stdout)
    for bad in ({}, {"signal": 0}, {"signal": 65}, {"signal": "TERM"}, {"signal": 15, "scope": "all"}):
        assert agent.post(url + "/signal", json=bad).status == 400
    assert agent.post(url + "/signal", json={"signal": 9}).json()["signalled"] >= 1
    assert agent.get(url + "?wait_ms=10000").json()["signal"] == 9
    r = agent.post(url + "/signal", json={"signal": 9})
    assert r.status == 409 and r.json()["code"] == "conflict"


@pytest.mark.parametrize("by", ["id", "pid"])
def test_delete_is_truthful(agent, by):
    """5c 4: both forms of the id kill, and the answer says what was killed."""
    process = agent.start_process("exec sleep 300")
    url = f"/v1/processes/{process[by]}"
    assert agent.request("DELETE", url).json() == {"id": process["id"], "ok": True, "killed": True, "signalled": 1, "survivors": []}
    assert not alive(process["pid"])
    assert agent.get(url).status == 404
    again = agent.request("DELETE", url)
    assert again.status == 200 and again.json()["ok"] is True and again.json()["killed"] is False
    ended = run(agent, ["true"])
    assert agent.request("DELETE", f"/v1/processes/{ended.id}").json()["killed"] is False
    assert agent.get(f"/v1/processes/{ended.id}").status == 404
    assert agent.request("DELETE", "/v1/processes/p-x").status == 400


def test_delete_ends_the_streams_of_readers(agent):
    events = agent.events("POST", "/v1/exec", {"cmd": "echo first; exec sleep 300"})
    first = [next(events), next(events)]
    assert [e["event"] for e in first] == ["start", "stdout"]
    assert agent.request("DELETE", f"/v1/processes/{first[0]['id']}").json()["killed"] is True
    last = list(events)
    assert [e["event"] for e in last] == ["exit"] and last[0]["signal"] == 9 and last[0]["timed_out"] is False


def test_delete_twice_at_once(agent):
    process = agent.start_process("sleep 300 & exec sleep 300")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(agent.request("DELETE", f"/v1/processes/{process['id']}").json())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a["killed"] for a in answers) == [False, False, False, True]


def test_delete_after_the_end_kills_what_is_left(agent):
    """5c 10: descendants are found by what they are, never by a number that may be another's."""
    o = run(agent, "sleep 300 >/dev/null 2>&1 & echo $!")
    left = int(o.stdout)
    assert alive(left)
    assert agent.request("DELETE", f"/v1/processes/{o.id}").json()["killed"] is False
    wait_until(lambda: not alive(left))


def test_timeout(agent):
    begin = time.monotonic()
    o = run(agent, "echo before; sleep 300 & sleep 300", timeout=0.3)
    assert 0.3 <= time.monotonic() - begin < 5
    assert o.stdout == b"before\n"
    assert (o.exit["timed_out"], o.exit["signal"], o.exit["exit_code"]) == (True, 9, None) and "survivors" not in o.exit
    assert run(agent, "exit 5", timeout=30).exit["timed_out"] is False
    assert run(agent, ["true"], timeout=1e300).exit_code == 0


def test_many_timeouts_at_once(agent):
    """One scan serves all; the agent answers meanwhile."""
    started = [agent.start_process("sleep 300 & sleep 300", timeout=2) for _ in range(60)]
    for process in started:
        entry = agent.get(f"/v1/processes/{process['id']}?wait_ms=20000").json()
        assert entry["timed_out"] is True and entry["signal"] == 9


def test_background(agent):
    r = agent.post("/v1/exec", json={"cmd": "echo x", "background": True, "tag": "t"})
    assert r.status == 200 and set(r.json()) >= {"id", "pid", "tag"} and r.header("Content-Type").startswith("application/json")
    entry = agent.get(f"/v1/processes/{r.json()['id']}?wait_ms=10000").json()
    assert entry["exit_code"] == 0 and entry["stdout"]["end"] == 2


def test_the_oldest_ended_are_forgotten():
    with Agent(static=True) as a:
        ids = [run(a, ["true"]).id for _ in range(300)]
        listed = [e["id"] for e in a.get("/v1/processes").json()]
        assert listed == ids[-256:]
        assert a.get(f"/v1/processes/{ids[0]}").status == 404


def test_long_command_lines_do_not_pile_up():
    with Agent(static=True) as a:
        before = a.resident_kib()
        for _ in range(100):
            run(a, ["true"] + ["x" * 100_000] * 10)
        assert a.resident_kib() - before < 12 * 1024


def test_orphans_are_reaped():
    """5c 10: what ends after its parent leaves no zombie, with the agent as pid 1 and without."""
    for pid1 in (False, True):
        with Agent(pid1=pid1, static=True) as a:
            run(a, "for i in 1 2 3 4 5 6 7 8; do (sleep 0.1 &) ; done")
            wait_until(lambda: not a.children(), what="no children")


def test_shutdown_ends_trees_in_order(tmp_path):
    """SIGTERM first, so that commands can clean up; then SIGKILL for those that do not go."""
    with Agent() as a:
        polite = a.start_process(f"trap 'echo bye > {tmp_path}/bye; exit' TERM; touch {tmp_path}/one; while :; do sleep 0.01; done")
        stubborn = a.start_process(f"trap '' TERM; setsid sh -c \"trap '' TERM; echo \\$\\$ > {tmp_path}/two; while :; do sleep 0.01; done\"")
        wait_until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists() and (tmp_path / "two").stat().st_size > 0)
        inner = int((tmp_path / "two").read_text())
        assert all(map(alive, (polite["pid"], stubborn["pid"], inner)))
    assert (tmp_path / "bye").read_text() == "bye\n"
    assert not any(map(alive, (polite["pid"], stubborn["pid"], inner)))


def test_too_many_at_once_are_refused_and_go_on_later():
    """Out of descriptors: 503, nothing was started, and the agent is as before once some have ended."""
    few = ["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]
    with Agent(static=True, wrap=few) as a:
        answers = [a.post("/v1/processes", json={"cmd": "exec sleep 300"}) for _ in range(40)]
        started = [r.json()["id"] for r in answers if r.status == 200]
        assert {r.status for r in answers} == {200, 503} and len(started) >= 10
        assert all(r.json()["code"] == "busy" for r in answers if r.status == 503)
        assert len(a.children()) == len(started)
        for process in started:
            a.request("DELETE", f"/v1/processes/{process}")
        assert run(a, "echo again").stdout == b"again\n"
        assert a.descriptors() < 20
