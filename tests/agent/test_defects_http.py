"""The defects of the Rust server 0.5.0 (PROTOCOL.md 5c) in its connections, 13 to 19: framing, expectations, what many of them or long ones cost,
the proxy. test_defects.py has the others."""
# ctest: timeout=300
import os
import resource
import socket
import threading
import time
from pathlib import Path

import pytest
from agent import Agent, free_port, wait_until
from local_agent import LocalAgent
from raw_http import Connection, HttpError, head, statuses


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


HIDDEN = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("framing", [
    b"Content-Length: x", b"Content-Length: -1", b"Content-Length: +5", b"Content-Length: 0x10", b"Content-Length: 1 2", b"Content-Length: ",
    b"Content-Length: 99999999999999999999", b"Content-Length: 0\r\nContent-Length: 35", b"Content-Length: 35\r\nContent-Length: 0",
    b"Content-Length: 0, 35", b"Content-Length : 0", b"Content-Length: 0\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity", b"Transfer-Encoding:\x0bchunked"])
def test_5c_13_ambiguous_framing(agent, framing):
    """One refusal, and nothing of the body is taken for a request."""
    token = b"X-Sandbox-Token: " + agent.token.encode()
    got = statuses(agent.address, b"POST /v1/exec HTTP/1.1\r\nHost: a\r\n" + token + b"\r\n" + framing + b"\r\n\r\n" + HIDDEN)
    assert len(got) == 1 and 400 <= got[0] < 500, got


def test_5c_14_chunked_bodies_are_consumed(agent):
    """Whatever is answered, a request hidden in a chunked body is not executed."""
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
    for target in (b"/v1/exec", b"/v1/none", b"/health", b"/v1/files/mkdir?path=/tmp"):
        got = statuses(agent.address, b"POST " + target + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        assert len(got) == 1, (target, got)


def test_5c_15_continue(agent, tmp_path):
    with agent.connect(5) as c:
        c.send_request("PUT", f"/v1/files/write?path={tmp_path}/file", agent.headers([("Content-Length", 3), ("Expect", "100-continue")]))
        assert c.read_head().status == 100
        c.send(b"abc")
        assert c.read_response().status == 200


def test_5c_15_refused_without_continue(agent):
    with agent.connect(5) as c:
        c.send_request("PUT", "/v1/files/write?path=/x", [("Content-Length", 3), ("Expect", "100-continue")])
        assert c.read_head().status == 403


def test_5c_15_head(agent, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    with agent.connect(5) as c:
        for target, headers in (("/health", ()), ("/v1/none", agent.headers()), ("/v1/none", ()),
                                (f"/v1/files/read?path={tmp_path}/file", agent.headers())):
            c.send_request("HEAD", target, headers)
            c.read_response("HEAD")  # a body would be taken for the next head
        assert c.request("GET", "/health").status == 200


def test_5c_16_half_requests_cost_little():
    """1,000 of them: no thread each, everybody else is served, and each is answered 408 or closed after its deadline."""
    with Agent(env={"SBX_TEST_SCALE": "5"}) as a:
        held = [a.connect() for _ in range(1000)]
        for connection in held:
            connection.send(b"GET /health HTTP/1.1\r\nHos")
        assert len(os.listdir(f"/proc/{a.pid}/task")) < 10
        start = time.monotonic()
        assert a.get("/health").status == 200 and time.monotonic() - start < 1
        held[0].socket.settimeout(20)
        assert held[0].read_response().status == 408
        for connection in held:
            connection.close()


def test_5c_16_scarcity_is_survived():
    """With next to no descriptors left the agent refuses, and serves again afterwards."""
    with Agent(wrap=["prlimit", "--nofile=64"], static=True) as a:
        held = []
        for _ in range(200):
            try:
                held.append(Connection(a.address, 2))
            except OSError:
                break
        for connection in held:
            connection.close()
        wait_until(lambda: a.get("/health").status == 200, what="service")
        assert a.run("echo still here").stdout == b"still here\n"


def test_5c_16_no_memory_is_survived(tmp_path):
    """With no more address space than it has, it refuses what needs more, does not abort, and serves again afterwards."""
    (tmp_path / "f").write_bytes(b"x" * (8 << 20))
    with Agent(static=True) as a:
        assert a.run("echo first").stdout == b"first\n"
        size = int(Path(f"/proc/{a.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        before = resource.prlimit(a.pid, resource.RLIMIT_AS)
        resource.prlimit(a.pid, resource.RLIMIT_AS, (size + 65536, before[1]))
        held, refused = [], 0
        requests = [head("POST", "/v1/exec", a.headers([("Content-Length", 1 << 20)])) + b" " * (1 << 19),
                    head("GET", f"/v1/files/read?path={tmp_path}/f", a.headers()),
                    head("PUT", f"/v1/files/write?path={tmp_path}/g", a.headers([("Content-Length", 1 << 24)])) + b"x" * (1 << 19),
                    b"GET /health HTTP/1.1\r\nX: " + b"y" * 30000]
        for i in range(400):
            connection = a.connect(0.5)
            held.append(connection)
            try:
                connection.send(requests[i % len(requests)])
            except OSError:  # closed already, or not read any more
                refused += 1
        for connection in held:
            connection.socket.settimeout(0.01)
            try:
                refused += connection.read_head().status in (500, 503)
            except (HttpError, OSError):
                refused += 1
            connection.close()
        assert refused > 0 and a.process.poll() is None
        resource.prlimit(a.pid, resource.RLIMIT_AS, before)
        assert a.run("echo still here").stdout == b"still here\n"
        assert len(a.get(f"/v1/files/read?path={tmp_path}/f").body) == 8 << 20


def taken_of_a_refused_body(most, off=""):
    """How much of it the agent takes before it ends the connection, which keeps little that the agent has not read."""
    with LocalAgent(level="none", off=off) as a, a.connect(10) as c:
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        c.send_request("PUT", "/v1/files/write?path=/x", [("Content-Length", 1 << 40)])
        sent = 0
        try:
            while sent < most:
                sent += c.socket.send(b"x" * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return sent


def test_5c_16_early_errors_drain_within_bounds():
    """A body that is refused is read no further than 1 MiB where no token was shown; then the connection ends."""
    assert taken_of_a_refused_body(64 << 20) <= (1 << 20) + (512 << 10)  # the last read and the socket's buffer come on top


def test_5c_16_control_without_the_bound_it_is_read_on():
    assert taken_of_a_refused_body(8 << 20, off="drain-limit") >= 8 << 20


class Backend(threading.Thread):
    """Takes connections inside the sandbox, keeps what it is sent, answers each request."""

    def __init__(self, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"):
        super().__init__(daemon=True)
        self.answer, self.received = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        held = b""
        with connection:
            while piece := connection.recv(65536):
                held += piece
                while b"\r\n\r\n" in held:
                    head, held = held.split(b"\r\n\r\n", 1)
                    self.received.append(head.decode("latin-1"))
                    connection.sendall(self.answer)


@pytest.fixture
def backend():
    thread = Backend()
    yield thread
    thread.listener.close()


def test_5c_17_second_request_is_the_agents(agent, backend):
    """A later request on the same socket goes to the agent or nowhere, and no token ever reaches the backend."""
    with agent.connect(5) as c:
        c.send_request("GET", f"/v1/proxy/{backend.port}/first", agent.headers())
        assert c.read_response().body == b"ok"
        try:
            response = c.request("GET", "/v1/processes", agent.headers())
            assert response.body != b"ok"
        except (HttpError, ConnectionResetError, BrokenPipeError):
            pass
    assert len(backend.received) == 1
    assert not any("sandbox-token" in head.lower() or agent.token in head for head in backend.received)


def test_5c_18_what_is_forwarded(agent, backend):
    with agent.connect(5) as c:
        c.send_request("GET", f"/v1/proxy/{backend.port}/a//b/?q=1&q=2", agent.headers(
            [("Authorization", "Bearer hf_secret"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("X-Custom", "v")]))
        c.read_response()
    [head] = backend.received
    assert head.split("\r\n")[0] == "GET /a//b/?q=1&q=2 HTTP/1.1"
    assert "hf_secret" not in head
    assert head.lower().count("cookie:") == 2 and "x-custom: v" in head.lower()
    with agent.connect(5) as c:
        c.send_request("GET", f"/v1/proxy/{backend.port}", agent.headers())
        c.read_response()
    assert backend.received[1].split("\r\n")[0] == "GET / HTTP/1.1"


def test_5c_19_ports_are_checked(agent):
    for port in ("0", "65536", "-1", "x", "80x", "", "../../etc"):
        assert agent.get(f"/v1/proxy/{port}/").status == 404, port
    assert agent.get(f"/v1/proxy/{free_port()}/").status == 502
