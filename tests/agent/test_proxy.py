"""The proxy to ports inside the sandbox: what reaches the backend, what comes back, upgrades, ends."""
import os
import random
import re
import socket
import threading
import time

import pytest

from agent import TOKEN, Agent, free_port, wait_until
from raw_http import Connection, HttpError

AUTH = b"X-Sandbox-Token: " + TOKEN.encode() + b"\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
SECRETS = (TOKEN.encode(), b"Bearer", b"X-Sandbox")


class Backend:
    """A server of the test: each connection is handled by the given function in a thread; all it received is kept."""

    def __init__(self, handle, family=socket.AF_INET):
        self.handle, self.received, self.ended = handle, [], []
        address = ("127.0.0.1", 0) if family == socket.AF_INET else ("::1", 0)
        self.listener = socket.create_server(address, family=family)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            index = len(self.received)
            self.received.append(b"")
            threading.Thread(target=self._serve, args=(peer, index), daemon=True).start()

    def _serve(self, peer, index):
        def read(size=65536):
            data = peer.recv(size)
            self.received[index] += data
            return data
        try:
            with peer:
                self.handle(peer, read)
        except OSError:
            pass
        self.ended.append(index)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def complete(data):
    """Whether data begins with a whole request."""
    head, end, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return end and len(body) >= (int(length[1]) if length else 0)


def answering(answer, linger=0):
    """Reads one request, answers, then reads on for a while: whatever else comes is kept, and shows."""
    def handle(peer, read):
        data = b""
        while not complete(data):
            piece = read()
            if not piece:
                return
            data += piece
        peer.sendall(answer)
        peer.settimeout(linger or 0.001)
        try:
            while read():
                pass
        except TimeoutError:
            pass
    return handle


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nok"


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


def ask(agent, port, rest="/", method="GET", headers=b"", body=b"", more=b"", version=b"1.1"):
    with agent.connect() as c:
        c.send(b"%s /v1/proxy/%d%s HTTP/%s\r\n%s%s\r\n%s%s" % (method.encode(), port, rest.encode(), version, AUTH, headers, body, more))
        response = c.read_response(method)
        response.closed = response.header("Connection") == "close" and c.at_end()
        return response


def test_answer_comes_through(agent):
    with Backend(answering(OK)) as b:
        response = ask(agent, b.port, "/x")
        assert response.status == 200 and response.body == b"ok" and response.closed
        assert response.all("Connection") == ["close"] and response.header("Keep-Alive") is None


@pytest.mark.parametrize("rest,seen", [("", "/"), ("/", "/"), ("/a", "/a"), ("/a/b/", "/a/b/"), ("//a//", "//a//"), ("?q=1", "/?q=1"),
                                       ("/?a=%20&b=+&a=2", "/?a=%20&b=+&a=2"), ("/%2e%2e/x", "/%2e%2e/x"), ("/../x", "/../x")])
def test_target_is_kept(agent, rest, seen):
    with Backend(answering(OK)) as b:
        ask(agent, b.port, rest)
        assert b.received[0].split(b"\r\n")[0] == b"GET %s HTTP/1.1" % seen.encode()


def test_headers(agent):
    with Backend(answering(OK)) as b:
        ask(agent, b.port, headers=b"Host: h:1\r\nCookie: a=1\r\nX-A: 1\r\nCookie: b=2\r\nAuthorization: Bearer hf_x\r\nX-Sandbox-Key: k.1\r\n"
            b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 3\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: Bearer y\r\n")
        assert b.received[0] == b"GET / HTTP/1.1\r\nHost: h:1\r\nCookie: a=1\r\nX-A: 1\r\nCookie: b=2\r\nConnection: close\r\n\r\n"


def test_credentials_control():
    with Agent(off="proxy-credentials") as a, Backend(answering(OK)) as b:
        ask(a, b.port)
        assert TOKEN.encode() in b.received[0]


@pytest.mark.parametrize("framing,body,seen", [
    (b"Content-Length: 5\r\n", b"hello", b"Content-Length: 5\r\nConnection: close\r\n\r\nhello"),
    (b"Content-Length: 0\r\n", b"", b"Content-Length: 0\r\nConnection: close\r\n\r\n"),
    (b"Transfer-Encoding: Chunked\r\n", b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nT: v\r\n\r\n",
     b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")])
def test_body_and_not_one_byte_more(agent, framing, body, seen):
    """Defect 17: the next request on the connection is the agent's, and carries its token."""
    with Backend(answering(OK, linger=0.3)) as b:
        following = b"GET /v1/info HTTP/1.1\r\n" + AUTH + b"\r\n" + HEALTH
        response = ask(agent, b.port, method="POST", headers=framing, body=body, more=following)
        assert response.body == b"ok"
        wait_until(lambda: b.ended)
        assert b.received == [b"POST / HTTP/1.1\r\n" + seen]


def test_following_request_control():
    """Spliced raw, the second request reaches the backend, token included."""
    with Agent(off="proxy-framing") as a, Backend(answering(OK, linger=0.3)) as b:
        with a.connect() as c:
            c.send(b"GET /v1/proxy/%d/ HTTP/1.1\r\n%s\r\nGET /v1/info HTTP/1.1\r\n%s\r\n" % (b.port, AUTH, AUTH))
            c.read_response()
            wait_until(lambda: TOKEN.encode() in b.received[0], 5)


def test_every_split_of_the_next_request(agent):
    rounds = random.Random(4)
    for _ in range(10):
        with Backend(answering(OK, linger=0.1)) as b, agent.connect() as c:
            data = b"POST /v1/proxy/%d/ HTTP/1.1\r\n%sContent-Length: 3\r\n\r\nabcGET /v1/info HTTP/1.1\r\n%s\r\n" % (b.port, AUTH, AUTH)
            cuts = sorted(rounds.sample(range(1, len(data)), 5))
            try:
                for start, stop in zip([0] + cuts, cuts + [len(data)]):
                    c.send(data[start:stop])
                    time.sleep(0.001)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert c.read_response().body == b"ok"
            wait_until(lambda: b.ended)
            assert b.received[0].endswith(b"\r\n\r\nabc") and not any(s in b.received[0] for s in SECRETS)


def test_head_and_no_content(agent):
    with Backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")) as b:
        response = ask(agent, b.port, method="HEAD")
        assert response.header("Content-Length") == "99" and response.closed
    with Backend(answering(b"HTTP/1.1 204 No Content\r\n\r\nextra")) as b:
        assert ask(agent, b.port).closed


def test_any_method(agent):
    with Backend(answering(OK)) as b:
        for method in ("DELETE", "PATCH", "OPTIONS", "PROPFIND"):
            assert ask(agent, b.port, method=method).status == 200
        assert [r.split(b" ")[0] for r in b.received] == [b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND"]


def test_interim_responses_are_passed_over(agent):
    with Backend(answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)) as b:
        response = ask(agent, b.port)
        assert response.interim == [] and response.body == b"ok"


def test_continue_is_ours(agent):
    with Backend(answering(OK, linger=0.2)) as b, agent.connect() as c:
        c.send(b"PUT /v1/proxy/%d/ HTTP/1.1\r\n%sExpect: 100-continue\r\nContent-Length: 3\r\n\r\n" % (b.port, AUTH))
        assert c.read_head().status == 100
        c.send(b"abc")
        assert c.read_response().status == 200
        wait_until(lambda: b.ended)
        assert b"Expect" not in b.received[0] and b.received[0].endswith(b"\r\n\r\nabc")


def test_streams_come_piece_by_piece(agent):
    def handle(peer, read):
        read()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for i in range(3):
            peer.sendall(b"data: %d\n\n" % i)
            step.wait(5)
            step.clear()
    step = threading.Event()
    with Backend(handle) as b, agent.connect() as c:
        c.send(b"GET /v1/proxy/%d/ HTTP/1.1\r\n%s\r\n" % (b.port, AUTH))
        c.read_head()
        for i in range(3):
            assert c.read_exactly(9) == b"data: %d\n\n" % i
            step.set()
        assert c.at_end()


def test_ipv6_loopback(agent):
    try:
        backend = Backend(answering(OK), socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with backend as b:
        assert ask(agent, b.port).body == b"ok"


def test_ports(agent):
    for port in ("0", "65536", "100000", "-1", "x", "80x", "", "%38%30", "../../etc"):
        response = agent.get(f"/v1/proxy/{port}/")
        assert response.status == 404, port
    response = agent.get(f"/v1/proxy/{free_port()}/")
    assert response.status == 502 and response.json()["code"] == "unreachable"
    assert agent.get(f"/v1/proxy/{free_port()}/", token=False).status == 403


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 2xx no\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n",
                                    b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70000 + b"\r\n\r\n"])
def test_answers_that_are_none(agent, answer):
    def handle(peer, read):
        read()
        peer.sendall(answer)
    with Backend(handle) as b:
        response = ask(agent, b.port)
        assert response.status == 502 and response.json()["code"] == "unreachable"


def test_answer_that_ends_too_early(agent):
    """What was promised and did not come is not papered over."""
    def handle(peer, read):
        read()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    with Backend(handle) as b, agent.connect() as c:
        c.send(b"GET /v1/proxy/%d/ HTTP/1.1\r\n%s\r\n" % (b.port, AUTH))
        with pytest.raises(HttpError):
            c.read_response()


def test_large_bodies_both_ways(agent):
    data = os.urandom(1 << 20) * 12

    def handle(peer, read):
        got = b""
        while b"\r\n\r\n" not in got:
            got += read()
        body = bytearray(got.split(b"\r\n\r\n", 1)[1])
        while len(body) < len(data):
            body += peer.recv(1 << 18)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        peer.sendall(body)
    with Backend(handle) as b:
        response = ask(agent, b.port, method="POST", headers=b"Content-Length: %d\r\n" % len(data), body=data)
        assert response.body == data


def test_memory_is_bounded_both_ways(tmp_path):
    """A backend that does not read, then a client that does not."""
    size = 64 << 20

    def deaf(peer, read):
        release.wait(20)

    def flood(peer, read):
        read()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        peer.sendall(bytes(size))
    release = threading.Event()
    with Agent(static=True) as a:
        with Backend(deaf) as b, a.connect(2) as c:
            before = a.resident_kib()
            c.send(b"POST /v1/proxy/%d/ HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (b.port, AUTH, size))
            with pytest.raises(TimeoutError):
                c.send(bytes(size))
            assert a.resident_kib() - before < 2048
            release.set()
        with Backend(flood) as b, a.connect(2, receive_buffer=4096) as c:
            before = a.resident_kib()
            c.send(b"GET /v1/proxy/%d/ HTTP/1.1\r\n%s\r\n" % (b.port, AUTH))
            c.read_head()
            time.sleep(0.5)
            assert a.resident_kib() - before < 2048
            c.socket.settimeout(30)
            assert len(c.read_exactly(size)) == size


def echo_upgrade(peer, read):
    data = b""
    while b"\r\n\r\n" not in data:
        data += read()
    head, rest = data.split(b"\r\n\r\n", 1)
    peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nwelcome")
    while rest or (rest := read()):
        peer.sendall(rest)
        rest = b""
    peer.sendall(b"bye")


UPGRADE = b"Connection: Upgrade\r\nUpgrade: echo\r\n"


def test_upgrade_is_spliced_with_half_close(agent):
    with Backend(echo_upgrade) as b, agent.connect() as c:
        c.send(b"GET /v1/proxy/%d/ws HTTP/1.1\r\n%s%s\r\nearly" % (b.port, AUTH, UPGRADE))
        head = c.read_head()
        assert head.status == 101 and head.header("Connection") == "Upgrade"
        assert c.read_exactly(12) == b"welcomeearly"
        data = os.urandom(3 << 20)
        threading.Thread(target=c.send, args=(data,)).start()
        assert c.read_exactly(len(data)) == data
        c.shutdown_write()
        assert c.read_exactly(3) == b"bye" and c.at_end()
        assert not any(s in b.received[0] for s in SECRETS)


def test_backend_half_closes_first(agent):
    """The other direction stays open: what the client still writes arrives."""
    def handle(peer, read):
        read()
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        peer.shutdown(socket.SHUT_WR)
        while read():
            pass
    with Backend(handle) as b, agent.connect() as c:
        c.send(b"GET /v1/proxy/%d/ws HTTP/1.1\r\n%s%s\r\n" % (b.port, AUTH, UPGRADE))
        assert c.read_head().status == 101 and c.at_end()
        c.send(b"still here")
        wait_until(lambda: b.received[0].endswith(b"still here"))
        c.shutdown_write()
        wait_until(lambda: b.ended)


def test_half_closed_tunnels_end_by_themselves():
    """The backend has ended, the client says nothing and stays: that does not last for ever."""
    def handle(peer, read):
        read()
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
    with Agent(env={"SBX_TEST_SCALE": "100"}) as a, Backend(handle) as b:
        before = a.descriptors()
        with a.connect() as c:
            c.send(b"GET /v1/proxy/%d/ws HTTP/1.1\r\n%s%s\r\n" % (b.port, AUTH, UPGRADE))
            assert c.read_head().status == 101 and c.at_end()
            wait_until(lambda: a.descriptors() <= before, what="descriptors back to the start")


def test_declined_upgrade_opens_no_tunnel(agent):
    with Backend(answering(OK, linger=0.3)) as b, agent.connect() as c:
        c.send(b"GET /v1/proxy/%d/ws HTTP/1.1\r\n%s%s\r\nGET /v1/info HTTP/1.1\r\n%s\r\n" % (b.port, AUTH, UPGRADE, AUTH))
        response = c.read_response()
        assert response.status == 200 and response.header("Connection") == "close" and c.at_end()
        wait_until(lambda: b.ended)
        assert not any(s in b.received[0] for s in SECRETS)


def test_unasked_upgrade_opens_no_tunnel(agent):
    with Backend(answering(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", linger=0.3)) as b, agent.connect() as c:
        c.send(b"GET /v1/proxy/%d/ HTTP/1.1\r\n%s\r\nGET /v1/info HTTP/1.1\r\n%s\r\n" % (b.port, AUTH, AUTH))
        c.read_head()
        wait_until(lambda: b.ended)
        assert not any(s in b.received[0] for s in SECRETS)


def test_client_that_leaves_frees_the_backend():
    """Seen at once when something is written; else by the look at quiet connections whose client writes no more."""
    def silent(peer, read):
        while read():
            pass
        peer.recv(1)
    with Agent(env={"SBX_TEST_SCALE": "100"}) as a, Backend(silent) as b:
        before = a.descriptors()
        c = a.connect()
        c.send(b"GET /v1/proxy/%d/ HTTP/1.1\r\n%s\r\n" % (b.port, AUTH))
        wait_until(lambda: b.received and b.received[0])
        c.close()
        wait_until(lambda: a.descriptors() <= before, what="descriptors back to the start")


def test_open_stream_is_activity():
    with Agent(env={"SBX_IDLE_TIMEOUT": "1"}) as a, Backend(echo_upgrade) as b:
        with a.connect() as c:
            c.send(b"GET /v1/proxy/%d/ws HTTP/1.1\r\n%s%s\r\n" % (b.port, AUTH, UPGRADE))
            assert c.read_head().status == 101
            c.read_exactly(7)
            time.sleep(2.5)
            c.send(b"x")
            assert c.read_exactly(1) == b"x"
        assert a.wait_exit(10) == 0


def test_open_stream_control():
    with Agent(env={"SBX_IDLE_TIMEOUT": "1"}, off="activity") as a, Backend(echo_upgrade) as b, a.connect() as c:
        c.send(b"GET /v1/proxy/%d/ws HTTP/1.1\r\n%s%s\r\n" % (b.port, AUTH, UPGRADE))
        assert c.read_head().status == 101
        assert a.wait_exit(10) == 0
