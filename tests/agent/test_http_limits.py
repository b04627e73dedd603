"""What the agent's HTTP bears: limits of heads, bodies and connections, deadlines, many connections at once."""
import resource
import threading
import time

import pytest

from agent import TOKEN, Agent, wait_until
from raw_http import HttpError, answers, head, statuses

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
AUTH = b"X-Sandbox-Token: " + TOKEN.encode() + b"\r\n"


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


@pytest.fixture
def quick():
    """Every timeout of the agent, a hundredth."""
    with Agent(env={"SBX_TEST_SCALE": "100"}) as a:
        yield a


# -- limits

def test_head_limits(agent):
    def ask(headers):
        return statuses(agent.address, head("GET", "/health", headers))
    assert ask([("A", "b")] * 100) == [200]
    assert ask([("A", "b")] * 101) == [431]
    assert ask([("A", "x" * 65000)]) == [200]
    assert ask([("A", "x" * 66000)]) == [431]
    assert statuses(agent.address, b"GET /" + b"x" * 70000) == [431]  # before its end
    long = b"GET /v1/" + b"x" * 60000 + b" HTTP/1.1\r\n"
    assert statuses(agent.address, long + AUTH + b"\r\n") == [404]


def test_body_limits(agent):
    """Too much is said at the head where the length is told, else when it is reached; and the connection ends."""
    response = agent.request("POST", "/v1/exec", headers=[("Content-Length", 17 << 20)], body=b"")
    assert response.status == 413 and response.json()["code"] == "too_large" and response.header("Connection") == "close"
    with agent.connect() as c:
        c.send(b"POST /v1/processes/p-0/signal HTTP/1.1\r\n" + AUTH + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(80):
                c.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except (ConnectionResetError, BrokenPipeError):
            pass
        try:
            assert c.read_response().status == 413
        except ConnectionResetError:
            pass  # it closed while we were still sending


def test_pipelined_requests_are_held_within_bounds(agent):
    """While one answer is awaited, later requests wait in the socket, not in memory; then all are answered."""
    with agent.connect() as c:
        body = b'{"cmd":"sleep 1; echo done"}'
        c.send(b"POST /v1/exec HTTP/1.1\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        total = 40000
        thread = threading.Thread(target=c.send, args=(HEALTH * total,))
        before = agent.resident_kib()
        thread.start()
        assert b"exit" in c.read_response().body
        assert agent.resident_kib() - before < 4096
        for _ in range(total):
            assert c.read_response().status == 200
        thread.join()


def test_connection_limit():
    with Agent(env={"SBX_MAX_CONNECTIONS": "8"}) as a:
        held = [a.connect() for _ in range(8)]
        for c in held:
            assert c.request("GET", "/v1/processes", a.headers()).status == 200
        wait_until(lambda: refused(a), what="a refusal")
        response = answers(a.address, HEALTH, close=False)[0]
        assert response.status == 503 and response.header("Connection") == "close" and response.body == b""
        held.pop().close()
        wait_until(lambda: not refused(a), what="room again")
        for c in held:
            c.close()


def test_strangers_make_room():
    """Connections that never showed the token do not keep out who has it; the oldest goes first."""
    for off, served in (("", True), ("eviction", False)):
        with Agent(env={"SBX_MAX_CONNECTIONS": "8"}, off=off) as a:
            held = []
            while len(held) < 8:  # the connection that waited for the agent's start may not have ended yet
                c = a.connect()
                if c.request("GET", "/health").status == 200:
                    held.append(c)
            for c in held[1:]:
                c.send(b"GET /hea")
            held[0].request("GET", "/v1/processes", a.headers())
            assert refused(a) is not served
            if served:
                assert held[1].at_end()
                assert held[0].request("GET", "/v1/processes", a.headers()).status == 200
            for c in held:
                c.close()


@pytest.mark.parametrize("off,bounded", [("", True), ("untrusted", False)])
def test_strangers_hold_little_memory(off, bounded):
    """Heads that never end: 16 MiB for all of them together."""
    with Agent(off=off, env={"ASAN_OPTIONS": "quarantine_size_mb=1"}) as a:
        before = a.resident_kib()
        held = [a.connect() for _ in range(900)]
        for c in held:
            try:
                c.send(b"GET / HTTP/1.1\r\nA: " + b"x" * 60000)
            except ConnectionError:
                pass
        assert a.run("echo hi").stdout == b"hi\n"
        assert (a.resident_kib() - before < 36 << 10) is bounded
        for c in held:
            c.close()


def refused(a):
    try:
        return a.get("/health").status == 503
    except (HttpError, OSError):
        return True


def test_connection_limit_control():
    with Agent(env={"SBX_MAX_CONNECTIONS": "8"}, off="connection-limit") as a:
        held = [a.connect() for _ in range(20)]
        assert a.get("/health").status == 200
        for c in held:
            c.close()


# -- deadlines

def test_slow_head(quick):
    with quick.connect(5) as c:
        c.send(b"GET /health HTTP/1.1\r\nHo")
        response = c.read_response()
        assert response.status == 408 and response.header("Connection") == "close" and c.at_end()


def test_trickled_head(quick):
    """The deadline is for the whole head: a byte now and then does not push it."""
    with quick.connect(5) as c:
        start = time.monotonic()
        try:
            while time.monotonic() - start < 5:
                c.send(b"x")
                time.sleep(0.01)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert time.monotonic() - start < 2


def test_slow_body(quick):
    with quick.connect(5) as c:
        c.send(b"POST /v1/exec HTTP/1.1\r\n" + AUTH + b"Content-Length: 10\r\n\r\n{")
        assert c.read_response().status == 408 and c.at_end()


def test_idle_connection_is_closed(quick):
    with quick.connect(10) as c:
        assert c.request("GET", "/health").status == 200
        start = time.monotonic()
        assert c.at_end() and 2 < time.monotonic() - start < 6


def test_busy_connection_stays(quick):
    with quick.connect(10) as c:
        for _ in range(10):
            time.sleep(0.5)
            assert c.request("GET", "/health").status == 200


def test_reader_that_stops(quick, tmp_path):
    """Nothing of a response is taken: the connection ends, and with it what it holds."""
    (tmp_path / "big").write_bytes(bytes(64 << 20))
    with quick.connect(20, receive_buffer=4096) as c:
        c.send_request("GET", f"/v1/files/read?path={tmp_path}/big", quick.headers())
        c.read_head()
        open_now = quick.descriptors()
        wait_until(lambda: quick.descriptors() < open_now, 10, "the end of the connection")


def test_deadlines_control():
    with Agent(env={"SBX_TEST_SCALE": "100"}, off="deadlines") as a, a.connect(1) as c:
        c.send(b"GET /health HTTP/1.1\r\nHo")
        with pytest.raises(TimeoutError):
            c.read_response()


# -- many connections

def test_thousand_slow_heads_delay_nobody():
    with Agent(static=True) as a:
        held = [a.connect() for _ in range(1000)]
        for c in held:
            c.send(b"GET /health HTTP/1.1\r\nHost")
        slowest = 0
        with a.connect() as c:
            for _ in range(200):
                start = time.monotonic()
                assert c.request("GET", "/health").status == 200
                slowest = max(slowest, time.monotonic() - start)
        assert slowest < 0.5
        assert a.run("echo hi").stdout == b"hi\n"
        for c in held:
            c.close()


def test_idle_connections_are_cheap():
    """2 KiB each in the agent, at 5,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 11000:
        pytest.skip("needs 11,000 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (11000, hard))
    with Agent(static=True) as a:
        first = a.resident_kib()
        assert first <= 512
        held = []
        for _ in range(5000):
            c = a.connect()
            held.append(c)
        for c in held:
            c.send(HEALTH)
        for c in held:
            assert c.read_response().status == 200
        each = (a.resident_kib() - first) * 1024 / len(held)
        for c in held:
            c.close()
        assert each < 2048, each
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
