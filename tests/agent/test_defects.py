"""The defects of the Rust server 0.5.0 (PROTOCOL.md 5c), one test or more for each number that a dedicated agent can have: test_5c_<number>. Each
does what showed the defect there. Those of its connections are in test_defects_http.py; deeper tests stand elsewhere, DEFECTS.md beside this file
says where."""
# ctest: timeout=300
import json
import os
import signal
import subprocess

import pytest
from agent import Agent, free_port, wait_until
from local_agent import LocalAgent, descendants
from raw_http import HttpError


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def appears(path, timeout=10):
    wait_until(lambda: path.exists() and path.read_text().strip(), timeout, f"{path.name}")
    return path.read_text()


def test_5c_01_exit_overtakes_output(agent):
    for _ in range(300):
        assert agent.run("echo hi").stdout == b"hi\n"
    whole = "".join(f"{n}\n" for n in range(1, 20001)).encode()
    for _ in range(50):
        assert agent.run("seq 1 20000").stdout == whole


def test_5c_02_late_descendants(agent, tmp_path):
    """They are not killed by SIGPIPE, and what they print is held and readable."""
    log = tmp_path / "log"
    output = agent.run(f"(for i in 1 2 3 4 5; do echo $i; echo $i >> {log}; sleep 0.1; done) & echo first")
    assert output.stdout.startswith(b"first\n") or b"first\n" in output.stdout
    wait_until(lambda: log.exists() and log.read_text() == "1\n2\n3\n4\n5\n", what="all iterations")
    rest = agent.output(output.id, "follow=1&end=closed")
    assert sorted(rest.stdout.split()) == sorted(b"first 1 2 3 4 5".split())


def test_5c_02_wait_for_descendants(agent):
    output = agent.run("(sleep 0.2; echo late) & echo first", end="closed")
    assert output.stdout == b"first\nlate\n"


def test_5c_03_split_characters(agent):
    output = agent.run("printf a; yes '€' | head -n 40000 | tr -d '\\n'", frames=False)
    assert output.stdout.decode() == "a" + "€" * 40_000


def test_5c_04_kill_by_pid(agent):
    process = agent.start_process("exec sleep 300")
    agent.request("DELETE", f"/v1/processes/{process['pid']}")
    wait_until(lambda: not alive(process["pid"]), what="the end of the process")


def test_5c_05_idle_timer_and_foreground():
    with Agent(env={"SBX_IDLE_TIMEOUT": 1}) as a:
        assert a.run("sleep 3; echo done").stdout == b"done\n"
        assert a.wait_exit() == 0


def test_5c_06_disconnect_leaves_no_orphan(agent):
    """The command of a reader that went away stays listed and can be ended."""
    events = agent.events("POST", "/v1/exec", {"cmd": "exec sleep 300"})
    start = next(events)
    events.close()
    entry = next(e for e in agent.get("/v1/processes").json() if e["pid"] == start["pid"])
    assert entry["id"] == start["id"]
    killed = agent.request("DELETE", f"/v1/processes/{start['id']}").json()
    assert killed["ok"] is True
    wait_until(lambda: not alive(start["pid"]), what="the end of the process")


def test_5c_07_overwrite_by_shorter(agent, tmp_path):
    path = tmp_path / "file"
    for size in (5 << 20, 3 << 20):
        for offset in range(0, size, 1 << 20):
            last = offset + (1 << 20) >= size
            target = f"/v1/files/write?path={path}&offset={offset}" + (f"&truncate_to={size}" if last else "")
            assert agent.request("PUT", target, body=b"x" * (1 << 20)).status == 200
        assert path.stat().st_size == size


def test_5c_08_files_without_a_size(agent):
    for path in ("/proc/self/status", "/proc/cpuinfo", "/proc/self/cmdline"):
        assert agent.get(f"/v1/files/read?path={path}").body, path


def test_5c_08_files_that_shrink(agent, tmp_path):
    """What was promised cannot come any more: the connection ends, and no later answer is read as the rest of the file."""
    path = tmp_path / "file"
    with open(path, "wb") as f:
        f.truncate(64 << 20)
    with agent.connect(receive_buffer=4096) as c:
        c.send_request("GET", f"/v1/files/read?path={path}", agent.headers())
        head = c.read_head()
        os.truncate(path, 1 << 20)
        with pytest.raises((HttpError, ConnectionResetError)):
            total = sum(len(piece) for piece in c.body_pieces(head))
            raise AssertionError(f"{total} bytes came")
    assert agent.get("/health").status == 200


def test_5c_09_environment_values(agent):
    assert agent.run("echo $N,$F,$T", env={"N": 5, "F": 0.5, "T": False}).stdout == b"5,0.5,false\n"


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b'{"cmd":"true"', b'{"cmd":"true","env":[1]}', b'{"cmd":"true","env":{"A":[1]}}',
                                  b'{"cmd":"true","timeout":"5"}', b'{"cmd":"true","stdin":7}', b'{"cmd":["a\\u0000b"]}'])
def test_5c_09_wrong_types_are_errors(agent, body):
    response = agent.request("POST", "/v1/exec", body=body)
    assert response.status == 400 and response.json()["code"] == "invalid", response


def test_5c_10_background_output(agent):
    process = agent.start_process("echo out; echo err >&2")
    output = agent.output(process["id"])
    assert (output.stdout, output.stderr, output.exit_code) == (b"out\n", b"err\n", 0)


def test_5c_10_list_is_bounded(agent):
    for _ in range(300):
        agent.run(["/bin/true"])
    assert len(agent.get("/v1/processes").json()) <= 256 + 16


def test_5c_10_delete_after_the_end_signals_nobody(agent):
    process = agent.start_process(["/bin/true"])
    agent.get(f"/v1/processes/{process['id']}?wait_ms=10000")
    assert agent.request("DELETE", f"/v1/processes/{process['id']}").json()["killed"] is False


def test_5c_10_zombies_as_pid_1():
    with Agent(pid1=True) as a:
        a.run("(sleep 0.05 & sleep 0.05 &)")
        wait_until(lambda: not a.children(), what="the end of the orphans")


def test_5c_11_negative_timeout(agent):
    assert agent.post("/v1/exec", json={"cmd": "true", "timeout": -1}).status == 400


def test_5c_11_descendants_of_another_session(agent, tmp_path):
    """setsid and a double fork do not escape a timeout."""
    output = agent.run(f"setsid sh -c 'echo $$ > {tmp_path}/one; exec sleep 300' & (setsid sh -c 'echo $$ > {tmp_path}/two; exec sleep 300' &);"
                       f" until [ -s {tmp_path}/one ] && [ -s {tmp_path}/two ]; do sleep 0.01; done; exec sleep 300", timeout=1.5)
    assert output.exit["timed_out"] is True and output.exit["signal"] == 9
    for name in ("one", "two"):
        pid = int(appears(tmp_path / name))
        wait_until(lambda: not alive(pid), what=f"the end of {name}")


def test_5c_11_timers_cost_no_thread(agent):
    before = len(os.listdir(f"/proc/{agent.pid}/task"))
    for _ in range(50):
        agent.run(["/bin/true"], timeout=3600)
    assert len(os.listdir(f"/proc/{agent.pid}/task")) <= before + 1


def test_5c_12_writes_are_atomic(agent, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old" * 1000)
    with agent.connect() as c:
        c.send_request("PUT", f"/v1/files/write?path={path}", agent.headers([("Content-Length", 2 << 20)]))
        c.send(b"n" * (1 << 20))
        agent.get("/health")
        assert path.read_bytes() == b"old" * 1000
    wait_until(lambda: os.listdir(tmp_path) == ["file"], what="the end of the half file")
    assert path.read_bytes() == b"old" * 1000


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
def test_5c_12_full_disk(agent, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        (small / "file").write_text("old")
        response = agent.request("PUT", f"/v1/files/write?path={small}/file", body=b"x" * (16 << 20))
        assert response.status == 507 and response.json()["code"] == "no_space"
        assert (small / "file").read_text() == "old" and os.listdir(small) == ["file"]
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_5c_12_fifo_does_not_hang(agent, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for _ in range(20):
        assert agent.request("GET", f"/v1/files/read?path={tmp_path}/fifo", timeout=5).status == 400
    assert agent.request("PUT", f"/v1/files/write?path={tmp_path}/fifo&offset=0", body=b"x", timeout=5).status == 400


def test_5c_12_relative_paths():
    """A relative cwd and a relative path mean the same directory: where commands start, wherever the server is."""
    with LocalAgent(level="none") as a:
        start = a.run("pwd").stdout.decode().strip()
        servers = {os.readlink(f"/proc/{pid}/cwd") for pid in descendants(a.pid) | {a.pid}}
        assert start.endswith("/home") and servers == {"/"}
        a.run("mkdir -p sub")
        assert a.run("pwd", cwd="sub").stdout.decode().strip() == f"{start}/sub"
        assert a.request("PUT", "/v1/files/write?path=sub/file", body=b"x").status == 200
        assert a.run("cat sub/file").stdout == b"x"
        a.run("rm -r sub")


def test_5c_12_names_that_are_no_utf8(agent, tmp_path):
    assert agent.request("PUT", f"/v1/files/write?path={tmp_path}/%FF%FE", body=b"x").status == 200
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\xfe"]
    assert agent.get(f"/v1/files/read?path={tmp_path}/%FF%FE").body == b"x"


@pytest.mark.parametrize("name,value", [("SBX_IDLE_TIMEOUT", "10m"), ("SBX_IDLE_TIMEOUT", "-1"), ("SBX_PORT", "x"), ("SBX_PORT", "70000"),
                                        ("SBX_MAX_CONNECTIONS", "many")])
def test_5c_12_settings_that_cannot_be_read(name, value):
    a = Agent(clean_exit=False)
    a.env[name] = value
    a.spawn(value if name == "SBX_PORT" else free_port())
    try:
        assert a.wait_exit(10) == 1
    finally:
        a.stop(check=False)
    assert name in a.stderr and value in a.stderr


def test_5c_23_token_is_in_no_environment(agent):
    """Neither a command's own, nor the agent's as the kernel shows it."""
    assert agent.token.encode() not in agent.run("env; cat /proc/self/environ").stdout
    for task in os.listdir(f"/proc/{agent.pid}/task"):
        for name in ("environ", "cmdline"):
            assert agent.token.encode() not in open(f"/proc/{agent.pid}/task/{task}/{name}", "rb").read()


def test_5c_23_control():
    with Agent(off="scrub-token") as a:
        assert a.token.encode() in open(f"/proc/{a.pid}/environ", "rb").read()


def test_5c_24_what_commands_could_do_is_said(agent):
    isolation = agent.get("/v1/info").json()["isolation"]
    assert isolation["level"] == "none"
    held = {step["name"]: step for step in isolation["steps"]}
    assert held and all(isinstance(step["holds"], bool) and "required" in step for step in held.values())


def test_performance_nul_bytes_are_not_blown_up(agent):
    """20 MB of NULs are 20 MB in frames."""
    with agent.connect() as c:
        c.send_request("POST", "/v1/exec", agent.headers([("Accept", "application/x-hfsandbox-frames")]),
                       json.dumps({"cmd": "head -c 20000000 /dev/zero"}).encode())
        assert len(c.read_response().body) < 21_000_000


def test_sigterm_ends_everything(tmp_path):
    """SIGTERM ends the agent and its processes in order."""
    with Agent() as a:
        a.start_process(f"trap 'echo terminated > {tmp_path}/polite; exit 0' TERM; echo $$ > {tmp_path}/one; while :; do sleep 0.05; done")
        a.start_process(f"trap '' TERM; echo $$ > {tmp_path}/two; while :; do sleep 0.05; done")
        pids = [int(appears(tmp_path / name)) for name in ("one", "two")]
        os.kill(a.pid, signal.SIGTERM)
        assert a.wait_exit(20) == 0
    assert (tmp_path / "polite").read_text() == "terminated\n"
    assert not any(alive(pid) for pid in pids)
