"""The agent's start, its ends, and where its connections come from."""
import array
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from agent import TOKEN, Agent, free_port, program, wait_until
from raw_http import Connection, HttpError


def run(*args, env=None, timeout=10, **more):
    return subprocess.run([str(program(static=True)), *args], env=env or {}, capture_output=True, text=True, timeout=timeout, **more)


# -- start

def test_version_and_help():
    got = run("--version")
    assert got.returncode == 0 and got.stdout.startswith("hfsandbox-agent ") and got.stderr == ""
    got = run("--help")
    assert got.returncode == 0 and "SBX_TOKEN" in got.stdout and "Example" in got.stdout
    got = run("--versoin")
    assert got.returncode == 2 and "'--versoin'" in got.stderr


@pytest.mark.parametrize("token", [None, ""])
def test_token_is_mandatory(token):
    env = {"SBX_PORT": str(free_port())} | ({} if token is None else {"SBX_TOKEN": token})
    got = run(env=env)
    assert got.returncode == 1 and "SBX_TOKEN" in got.stderr and "--allow-no-auth" in got.stderr


def test_open_server_has_to_be_asked_for():
    with Agent(token=None, args=["--allow-no-auth"]) as a:
        assert a.get("/health").json()["auth"] == "disabled"
        assert a.run("echo open").stdout == b"open\n"


def test_token_holds_with_allow_no_auth():
    with Agent(args=["--allow-no-auth"]) as a:
        assert a.get("/v1/info", token=False).status == 403


@pytest.mark.parametrize("name,value", [("SBX_PORT", "0"), ("SBX_PORT", "65536"), ("SBX_PORT", "80x"), ("SBX_PORT", " 80"), ("SBX_IDLE_TIMEOUT", "10m"),
                                        ("SBX_IDLE_TIMEOUT", "-1"), ("SBX_IDLE_TIMEOUT", "1.5"), ("SBX_MAX_CONNECTIONS", "0"),
                                        ("SBX_MAX_CONNECTIONS", "many"), ("SBX_CAPACITY", "x"), ("SBX_HOST_MODE", "2")])
def test_settings_are_strict(name, value):
    got = run(env={"SBX_TOKEN": "t", "SBX_PORT": str(free_port()), name: value})
    assert got.returncode == 1 and name in got.stderr and f"'{value}'" in got.stderr


def test_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        got = run(env={"SBX_TOKEN": "t", "SBX_PORT": str(port)})
        assert got.returncode == 1 and str(port) in got.stderr and "in use" in got.stderr


def test_it_is_small():
    """512 KiB resident, having answered."""
    with Agent(static=True) as a:
        assert a.get("/health").status == 200
        assert a.resident_kib() <= 512


def test_both_address_families():
    with Agent() as a:
        assert a.get("/health").status == 200
        try:
            s = socket.create_connection(("::1", a.port), 5)
        except OSError:
            pytest.skip("no IPv6 here")
        with s:
            s.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            assert s.recv(100).startswith(b"HTTP/1.1 200")


def test_descriptors_of_the_agent_are_not_the_commands():
    """The agent raises its own limit; a command starts with the one that the agent was started with, and none of its descriptors."""
    with Agent(wrap=["prlimit", "--nofile=700:4000"]) as a:
        assert a.run("ulimit -Sn; ulimit -Hn").stdout == b"700\n4000\n"
        assert a.run("ls /proc/self/fd | wc -l").stdout.strip() == b"4"
        limits = Path(f"/proc/{a.pid}/limits").read_text()
        assert any(line.startswith("Max open files") and line.split()[3] == "4000" for line in limits.splitlines())


# -- ends

def test_idle_agent_ends():
    with Agent(env={"SBX_IDLE_TIMEOUT": "1"}) as a:
        start = time.monotonic()
        assert a.wait_exit(10) == 0
        assert 0.5 < time.monotonic() - start < 5


@pytest.mark.parametrize("path,token", [("/health", None), ("/health", TOKEN), ("/v1/info", "wrong")])
def test_looks_and_unauthenticated_requests_are_no_activity(path, token):
    """Asked all the time, it ends all the same; test_authenticated_requests_are_activity is the control."""
    with Agent(env={"SBX_IDLE_TIMEOUT": "1"}) as a:
        start = time.monotonic()
        with a.connect() as c:
            while a.process.poll() is None and time.monotonic() - start < 20:
                try:
                    c.request("GET", path, a.headers(token=token))
                except (OSError, HttpError):
                    break
                time.sleep(0.1)
        assert a.wait_exit(5) == 0


def test_authenticated_requests_are_activity():
    with Agent(env={"SBX_IDLE_TIMEOUT": "1"}) as a:
        for _ in range(12):
            time.sleep(0.25)
            assert a.get("/v1/processes").status == 200
        assert a.wait_exit(10) == 0


@pytest.mark.parametrize("background", [False, True])
def test_running_commands_are_activity(background):
    with Agent(env={"SBX_IDLE_TIMEOUT": "1"}) as a:
        if background:
            a.start_process("sleep 3")
            time.sleep(2.5)
            assert a.process.poll() is None
        else:
            assert a.run("sleep 2.5; echo done").stdout == b"done\n"
        assert a.wait_exit(10) == 0


def test_running_commands_control():
    with Agent(env={"SBX_IDLE_TIMEOUT": "1"}, off="activity") as a:
        a.start_process("sleep 30")
        assert a.wait_exit(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_in_order(number, tmp_path):
    """Commands hear SIGTERM first and may finish; then the agent exits 0."""
    with Agent() as a:
        a.start_process(f"trap 'echo finished > {tmp_path}/mark; exit' TERM; touch {tmp_path}/up; while :; do sleep 0.02; done")
        wait_until(lambda: (tmp_path / "up").exists())
        os.kill(a.pid, number)
        assert a.wait_exit(10) == 0
        assert (tmp_path / "mark").read_text() == "finished\n"


@pytest.mark.parametrize("ignored", [False, True])
def test_hangup(ignored):
    """The end of a terminal is the end in order, unless nohup was asked for."""
    with Agent(wrap=["nohup"] if ignored else []) as a:
        os.kill(a.pid, signal.SIGHUP)
        if ignored:
            assert a.run("trap").stdout == b"" and a.get("/health").status == 200
        else:
            assert a.wait_exit(10) == 0


def test_deaf_commands_do_not_hold_the_end():
    with Agent() as a:
        process = a.start_process("trap '' TERM; while :; do sleep 1; done")
        start = time.monotonic()
        os.kill(a.pid, signal.SIGTERM)
        assert a.wait_exit(20) == 0
        assert time.monotonic() - start < 10
        assert not Path(f"/proc/{process['pid']}").exists()


def test_shutdown_route(tmp_path):
    with Agent() as a:
        assert a.get("/v1/shutdown").status == 404
        assert a.post("/v1/shutdown", token=False).status == 403
        a.start_process("sleep 100")
        with a.connect() as idle, a.connect() as c:
            c.send_request("POST", "/v1/shutdown", a.headers(), b"")
            assert c.read_response().status == 200
            assert idle.at_end()
        assert a.wait_exit(10) == 0


def test_answers_in_flight_are_sent_at_the_end():
    with Agent() as a, a.connect() as c:
        body = b'{"cmd":"trap \'echo last; exit 3\' TERM; echo up; while :; do sleep 0.02; done"}'
        c.send_request("POST", "/v1/exec", a.headers(), body)
        response = c.read_head()
        pieces = c.body_pieces(response)
        got = b""
        while b"up" not in got:
            got += next(pieces)
        os.kill(a.pid, signal.SIGTERM)
        got += b"".join(pieces)
        assert b"last" in got and b'"exit_code":3' in got
        assert a.wait_exit(10) == 0


def test_clients_that_do_not_read_do_not_hold_the_end(tmp_path):
    (tmp_path / "big").write_bytes(bytes(32 << 20))
    with Agent() as a, a.connect(receive_buffer=4096) as c:
        c.send_request("GET", f"/v1/files/read?path={tmp_path}/big", a.headers())
        c.read_head()
        os.kill(a.pid, signal.SIGTERM)
        assert a.wait_exit(15) == 0


def test_init_ignores_signals_from_inside():
    """As pid 1 of a namespace: commands cannot end the agent, the outside can."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Agent(pid1=True) as a:
        a.run("kill -TERM 1; kill -INT 1; kill -PIPE 1; kill -HUP 1")
        assert a.run("echo alive").stdout == b"alive\n"


# -- local sockets

CONFIG = {"id": "l-1", "token": TOKEN, "level": "none", "network": "host", "hostname": "h", "detached": False, "idle_ms": None,
          "binds": [], "env": {"GREETING": "hi", "N": 1}, "cwd": "/", "limits": {}}


class Local:
    """hfsandbox-agent --local at level none, attached to this process."""

    def __init__(self, config=None, text=None):
        self.dir = tempfile.mkdtemp(prefix="sbx-local-")
        config = dict(CONFIG, dir=self.dir + "/s") | (config or {})
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status_read, status_write = os.pipe()
        file = tempfile.TemporaryFile()
        file.write(text if text is not None else json.dumps(config).encode())
        file.seek(0)
        pidfd = os.pidfd_open(os.getpid())
        wanted = [file.fileno(), theirs.fileno(), status_write, pidfd]

        def place():
            high = [os.dup(fd) for fd in wanted for _ in range(10)][9::10]  # above the places themselves
            for to, fd in enumerate(high, 3):
                os.dup2(fd, to)
        self.process = subprocess.Popen([str(program()), "--local"], env={"ASAN_OPTIONS": "detect_leaks=0"}, preexec_fn=place, close_fds=False,
                                        stdin=subprocess.DEVNULL)
        for fd in (status_write, pidfd):
            os.close(fd)
        theirs.close()
        file.close()
        with os.fdopen(status_read) as status:
            self.status = json.loads(status.read())

    def connect(self):
        mine, theirs = socket.socketpair()
        self.ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
        theirs.close()
        mine.settimeout(10)
        c = Connection.__new__(Connection)
        c.socket, c.held = mine, b""
        return c

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ours.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()


def test_sockets_arrive_on_the_control_socket():
    with Local() as local:
        assert local.status["ready"] and local.status["pid"] == local.process.pid
        held = [local.connect() for _ in range(20)]
        for c in held:
            got = c.request("GET", "/v1/info", [("X-Sandbox-Token", TOKEN)])
            assert got.status == 200 and got.json()["id"] == "l-1" and got.json()["isolation"]["level"] == "none"
        assert local.connect().request("GET", "/v1/info").status == 403
        body = json.dumps({"cmd": "echo $GREETING $N $(pwd)"}).encode()
        got = held[0].request("POST", "/v1/exec", [("X-Sandbox-Token", TOKEN)], body)
        assert b"hi 1 /\\n" in got.body


def test_messages_without_a_socket_do_no_harm():
    with Local() as local, tempfile.NamedTemporaryFile() as file:
        local.ours.send(b"x")
        local.ours.send(b"many bytes and no socket")
        for count in (1, 2, 3, 50):
            local.ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()] * count))])
        assert local.connect().request("GET", "/health").status == 200
        fds = f"/proc/{serving(local)}/fd"
        wait_until(lambda: file.name not in [os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)], what="none of them kept")


def serving(local):
    """The pid of the process that serves, the keeper's child."""
    return int(Path(f"/proc/{local.process.pid}/task/{local.process.pid}/children").read_text().split()[0])


def test_end_of_the_control_socket_is_the_end():
    local = Local()
    c = local.connect()
    assert c.request("GET", "/health").status == 200
    local.ours.close()
    assert local.process.wait(10) == 0


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"1", b'{"token":"t"}', json.dumps(CONFIG | {"level": "medium"}).encode(),
                                  json.dumps(CONFIG | {"token": ""}).encode(), json.dumps(CONFIG | {"token": None}).encode(),
                                  json.dumps(CONFIG | {"binds": [{"source": "/x"}]}).encode(),
                                  json.dumps(CONFIG | {"env": {"A=B": "c"}}).encode(), json.dumps(CONFIG | {"env": {"A": ["c"]}}).encode(),
                                  json.dumps(CONFIG | {"limits": {"memory": -1}}).encode(), json.dumps(CONFIG | {"detached": "yes"}).encode(),
                                  json.dumps(CONFIG | {"detached": True, "dir": None}).encode()])
def test_bad_configurations_are_reported(text):
    with Local(text=text) as local:
        assert local.status["ready"] is False and local.status["step"] == "config" and "configuration" in local.status["error"]
        assert local.process.wait(10) == 1
