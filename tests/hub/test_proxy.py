"""The Jobs proxy: whom it lets in, what it passes on, how it frames and streams, and its faults. The job's side is a small server that says
what it got; the client's side is a socket in the test's hands."""
# ctest: timeout=600
import hashlib
import json
import socket
import ssl
import struct
import time

import pytest
from agent import wait_until
from localhub import Accounts, Hub
from localhub.ask import ask, ask_port, run
from proxy_peers import Client, server
from raw_http import Connection, HttpError

@pytest.fixture(scope="module", params=["plain", "tls"])
def hub(request):
    with Hub(tls=request.param == "tls") as h:
        yield h


@pytest.fixture(scope="module")
def job(hub):
    return server(hub)


@pytest.fixture
def client(hub, job):
    with Client(hub, job) as c:
        yield c


# -- who may


@pytest.mark.parametrize("token, status", [(Accounts.ALICE, 200), (Accounts.ALICE_READ, 200), (Accounts.ALICE_OTHER, 200),
                                           (Accounts.BOB, 403), (Accounts.MALLORY, 403), (Accounts.ALICE_NONE, 403),
                                           (Accounts.UNKNOWN, 401), (False, 401), ("", 401)])
def test_who_may(hub, job, token, status):
    assert ask_port(hub, job, 8000, "GET", "/", token=token).status == status


def test_other_schemes_do_not_count(hub, job):
    for value in (f"Basic {hub.token}", hub.token, "Bearer", f"Bearer {hub.token}x"):
        assert ask_port(hub, job, 8000, "GET", "/", token=False, headers={"Authorization": value}).status == 401
    assert ask_port(hub, job, 8000, "GET", "/", token=False, headers={"authorization": f"bearer {hub.token}"}).status == 200


def test_opposite_statuses(hub, job):
    """PROTOCOL 3 [?]: 403 without access is an inference."""
    job.dial(no_access=401, no_token=403)
    try:
        assert ask_port(hub, job, 8000, "GET", "/", token=Accounts.MALLORY).status == 401
        assert ask_port(hub, job, 8000, "GET", "/", token=False).status == 403
    finally:
        job.dial(no_access=403, no_token=401)


def test_members_and_revoked_tokens(hub):
    job = server(hub, namespace="acme")
    assert ask_port(hub, job, 8000, "GET", "/", token=Accounts.BOB).status == 200
    assert ask_port(hub, job, 8000, "GET", "/", token=Accounts.MALLORY).status == 403
    from localhub import Token
    hub.add_token(Token("hf_new", "bob"))
    assert ask_port(hub, job, 8000, "GET", "/", token="hf_new").status == 200
    hub.revoke("hf_new")
    assert ask_port(hub, job, 8000, "GET", "/", token="hf_new").status == 401
    ask(hub, "POST", f"/api/jobs/acme/{job.id}/cancel")
    assert ask_port(hub, job, 8000, "GET", "/").status == 404


def test_ports(hub, job):
    assert ask_port(hub, job, 8001, "GET", "/").status == 404  # not exposed
    assert ask_port(hub, job, 9000, "GET", "/").status == 502  # nobody listens
    reply = ask(hub, "PUT", f"/api/jobs/alice/{job.id}/expose", {"ports": [8000, 9000], "portsPublic": [8000]})
    assert reply.json["expose"] == {"ports": [8000, 9000], "portsPublic": [8000]}
    assert ask_port(hub, job, 8000, "GET", "/", token=False).status == 200
    ask(hub, "PUT", f"/api/jobs/alice/{job.id}/expose", {"ports": [8000, 9000], "portsPublic": []})
    assert ask_port(hub, job, 8000, "GET", "/", token=False).status == 401


# -- what goes on


def test_headers(hub, client):
    got = client.ask("GET", "/a/b/?x=%20&y", [("X-Sandbox-Token", "secret"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("X-Odd", " two  words "),
                                              ("Connection", "keep-alive"), ("AUTHORIZATION", "Bearer " + hub.token)], token=False).json()
    names = [name.lower() for name, _ in got["headers"]]
    assert got["target"] == "/a/b/?x=%20&y" and "authorization" not in names and "connection" not in names
    assert ["X-Sandbox-Token", "secret"] in got["headers"] and names.count("cookie") == 2 and ["X-Odd", "two  words"] in got["headers"]
    assert ["Host", client.name] in got["headers"] and hub.token not in json.dumps(got)


def test_paths(hub, job, client):
    assert client.ask("GET", "/").json()["target"] == "/"
    assert client.ask("GET", "//double//").json()["target"] == "//double//"
    if not hub.tls:
        assert client.request("GET", client.prefix, [("Authorization", f"Bearer {hub.token}")]).json()["target"] == "/"
        assert client.request("GET", "/named", [("Host", client.name), ("Authorization", f"Bearer {hub.token}")]).json()["target"] == "/named"
        assert client.request("GET", "/", [("Authorization", f"Bearer {hub.token}")]).status == 404


def test_methods_and_head(client):
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
        reply = client.request(method, client.prefix + "/m", [("Host", client.name), ("Authorization", f"Bearer {client.token}")])
        assert reply.status == 200 and (method == "HEAD" or reply.json()["method"] == method)


def test_keep_alive_on_both_sides(hub, job):
    with Client(hub, job) as one, Client(hub, job) as two:
        first = [one.ask("GET", "/k").json()["connection"] for _ in range(5)]
        second = two.ask("GET", "/k").json()["connection"]
    assert len(set(first)) == 1 and second == first[0]
    job.dial(reuse=False)
    try:
        with Client(hub, job) as one:
            separate = [one.ask("GET", "/k").json() for _ in range(3)]
        assert len({got["connection"] for got in separate}) == 3 and ["Connection", "close"] in separate[0]["headers"]
    finally:
        job.dial(reuse=True)


def test_connection_close_and_old_http(hub, job):
    with Client(hub, job) as c:
        reply = c.ask("GET", "/", [("Connection", "close")])
        assert reply.status == 200 and reply.header("Connection") == "close" and c.at_end()
    with Client(hub, job) as c:
        c.send(f"GET {c.prefix}/old HTTP/1.0\r\nHost: {c.name}\r\nAuthorization: Bearer {hub.token}\r\n\r\n".encode())
        response = c.read_head()
        assert b"".join(c.body_pieces(response)) and c.at_end()


def test_pipelined_requests_are_answered_in_order(client):
    client.send(b"".join(f"GET {client.prefix}/p{n} HTTP/1.1\r\nHost: {client.name}\r\nAuthorization: Bearer {client.token}\r\n\r\n".encode()
                         for n in range(10)))
    for n in range(10):
        response = client.read_head()
        assert json.loads(b"".join(client.body_pieces(response)))["target"] == f"/p{n}"


def test_bodies(client):
    data = bytes(range(256)) * 40_000
    got = client.ask("PUT", "/body", body=data).json()
    assert (got["size"], got["sum"]) == (len(data), hashlib.sha256(data).hexdigest())
    client.send(f"POST {client.prefix}/body HTTP/1.1\r\nHost: {client.name}\r\nAuthorization: Bearer {client.token}\r\n"
                "Transfer-Encoding: chunked\r\n\r\n".encode())
    for start in range(0, len(data), 100_001):
        piece = data[start:start + 100_001]
        client.send(f"{len(piece):x};ext=1\r\n".encode() + piece + b"\r\n")
    client.send(b"0\r\nTrailer: x\r\n\r\n")
    response = client.read_head()
    got = json.loads(b"".join(client.body_pieces(response)))
    assert (got["size"], got["sum"]) == (len(data), hashlib.sha256(data).hexdigest())
    size = 50_000_000
    response = client.ask("GET", f"/bytes/{size}")
    assert len(response.body) == size and client.ask("GET", "/").status == 200


def test_expect_goes_through(client):
    client.send(f"PUT {client.prefix}/e HTTP/1.1\r\nHost: {client.name}\r\nAuthorization: Bearer {client.token}\r\nExpect: 100-continue\r\n"
                "Content-Length: 5\r\n\r\n".encode())
    assert client.read_head().status == 100
    client.send(b"hello")
    response = client.read_head()
    assert response.status == 200 and json.loads(b"".join(client.body_pieces(response)))["size"] == 5


def test_pieces_come_as_they_are_made(hub, job, client):
    client.send_request("GET", client.prefix + "/slow", [("Host", client.name), ("Authorization", f"Bearer {hub.token}")])
    pieces = client.body_pieces(client.read_head())
    assert next(pieces) == b"first"  # the rest waits for another request
    assert ask_port(hub, job, 8000, "GET", "/go").status == 200
    assert list(pieces) == [b"last"]


def test_a_reply_until_the_end(client):
    reply = client.ask("GET", "/until-close")
    assert reply.body == b"until the end" and reply.header("Connection") == "close"


def test_upgrades(client):
    client.send_request("GET", client.prefix + "/ws", [("Host", client.name), ("Authorization", f"Bearer {client.token}"),
                                                       ("Connection", "Upgrade"), ("Upgrade", "echo")])
    response = client.read_head()
    assert response.status == 101 and response.header("Upgrade") == "echo"
    assert client.read_exactly(5) == b"hello"
    for n in range(20):
        client.send(b"x" * n + b"end")
        assert client.read_exactly(n + 3) == b"x" * n + b"end"


def test_a_client_that_goes_is_noticed(hub, job):
    """The job's server sees the end of its connection, too."""
    def open_now():
        return hub.proxy.stats()["connections"]

    with Client(hub, job) as c:
        c.send_request("GET", c.prefix + "/bytes/2000000000", [("Host", c.name), ("Authorization", f"Bearer {hub.token}")])
        c.read_head()
        during = open_now()
        assert during >= 1
    wait_until(lambda: open_now() < during, what="the end of the connection")


def test_nonsense_is_refused(hub, job):
    for head in ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "GET /\r\n", "GET / HTTP/2.0\r\n",
                 "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", "POST / HTTP/1.1\r\nContent-Length: -1\r\n",
                 "GET / HTTP/1.1\r\nBad header: x\r\n Folded: y\r\nno colon\r\n"):
        with Client(hub, job) as c:
            c.send(head.replace(" / ", f" {c.prefix}/ ").encode() + f"Host: {c.name}\r\nAuthorization: Bearer {hub.token}\r\n\r\n".encode())
            assert c.read_head().status == 400
    with Client(hub, job) as c:
        c.send(b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 70_000)
        assert c.read_head().status == 400


def test_a_job_that_breaks_off(hub, job):
    with Client(hub, job) as c, pytest.raises((HttpError, ConnectionResetError)):
        c.ask("GET", "/die")


def test_a_job_that_ends_breaks_its_streams(hub):
    own = server(hub)
    with Client(hub, own) as c:
        c.send_request("GET", c.prefix + "/slow", [("Host", c.name), ("Authorization", f"Bearer {hub.token}")])
        pieces = c.body_pieces(c.read_head())
        assert next(pieces) == b"first"
        ask(hub, "POST", f"/api/jobs/alice/{own.id}/cancel")
        with pytest.raises((HttpError, ConnectionError)):
            next(pieces)
        assert ask_port(hub, own, 8000, "GET", "/").status == 404


def test_names_must_agree(hub, job):
    if hub.tls:
        with Client(hub, job) as c:
            assert c.request("GET", "/", [("Host", "f" * 24 + "--8000.hf.jobs"), ("Authorization", f"Bearer {hub.token}")]).status == 421


# -- dials and faults


@pytest.mark.parametrize("unready", [404, 502, 503, "refuse", "hang"])
def test_before_readiness(hub, job, unready):
    """PROTOCOL 3 [?]: the status before readiness is undocumented."""
    job.dial(unready=unready)
    try:
        if isinstance(unready, int):
            assert ask_port(hub, job, 9000, "GET", "/").status == unready
        else:
            with pytest.raises((ConnectionError, TimeoutError)):
                ask_port(hub, job, 9000, "GET", "/", timeout=0.5 if unready == "hang" else 20)
    finally:
        job.dial(unready=502)


def test_while_it_is_scheduled_and_after_its_end(hub):
    hub.next_jobs(1, scheduling_delay=float("inf"), unready=503, gone=410)
    job = run(hub, "true", expose=[8000])
    assert ask_port(hub, job, 8000, "GET", "/").status == 503
    ask(hub, "POST", f"/api/jobs/alice/{job.id}/cancel")
    assert ask_port(hub, job, 8000, "GET", "/").status == 410


def test_round_trip_time(hub, job):
    """Half of it each way, for the first byte; what follows is not held up. A new connection costs one more, with TLS two."""
    hub.dial(rtt=0.2)
    job.dial(rtt=0.2)
    try:
        start = time.monotonic()
        with Client(hub, job) as c:
            c.ask("GET", "/")
            cold = time.monotonic() - start
            warm = []
            for _ in range(3):
                start = time.monotonic()
                c.ask("GET", "/")
                warm.append(time.monotonic() - start)
            start = time.monotonic()
            assert len(c.ask("GET", "/bytes/20000000").body) == 20_000_000
            large = time.monotonic() - start
        assert 0.2 <= min(warm) < 0.3 and cold >= (0.6 if hub.tls else 0.4) and large < 5  # not a distance for each piece
    finally:
        hub.dial(rtt=0)
        job.dial(rtt=0)


def test_rate_of_a_stream(hub, job):
    """PROTOCOL 3: about 2 MiB/s a stream at 100 ms."""
    job.dial(rtt=0.1, window=105000)
    try:
        with Client(hub, job) as c:
            c.ask("GET", "/")
            start = time.monotonic()
            c.ask("GET", "/bytes/2000000")
            assert 0.5 < time.monotonic() - start < 8
    finally:
        job.dial(rtt=0, window=0)


def counts(hub, job):
    return ask_port(hub, job, 8000, "GET", "/counts").json["counts"]


def test_faults(hub, job):
    """Each hits so many requests and no more; what was acted upon can be told from what was not."""
    hub.fault("proxy", status=503, count=2, path="/f1", headers={"Retry-After": "3"}, body='{"error": "busy"}')
    replies = [ask_port(hub, job, 8000, "GET", "/f1") for _ in range(3)]
    assert [r.status for r in replies] == [503, 503, 200] and replies[0].headers["Retry-After"] == "3" and replies[0].json == {"error": "busy"}

    hub.fault("proxy", cut="before", count=1, path="/f2")
    with pytest.raises((ConnectionError, ssl.SSLError)):
        ask_port(hub, job, 8000, "POST", "/f2", b"x" * 10)
    assert "/f2" not in counts(hub, job)

    fault = hub.fault("proxy", cut="after", count=1, path="/f3", method="POST")
    assert ask_port(hub, job, 8000, "GET", "/f3").status == 200
    with pytest.raises((ConnectionError, ssl.SSLError)):
        ask_port(hub, job, 8000, "POST", "/f3", b"x" * 10)
    assert counts(hub, job)["/f3"] == 2 and hub.proxy.hits(fault) == 1

    hub.fault("proxy", cut="reply", bytes=1000, count=1, path="/bytes/")
    with Client(hub, job) as c:
        c.send_request("GET", c.prefix + "/bytes/100000", [("Host", c.name), ("Authorization", f"Bearer {hub.token}")])
        c.read_head()
        got = b""
        with pytest.raises((HttpError, ConnectionError)):
            while True:
                got += c.read_exactly(1)
        assert len(got) <= 1000

    hub.fault("proxy", cut="request", bytes=1000, count=1, path="/f4")
    with pytest.raises((ConnectionError, ssl.SSLError)):
        ask_port(hub, job, 8000, "POST", "/f4", b"x" * 1_000_000)
    assert "/f4" not in counts(hub, job)

    hub.fault("proxy", hang=True, count=1, path="/f5")
    with pytest.raises(TimeoutError):
        ask_port(hub, job, 8000, "GET", "/f5", timeout=0.3)

    hub.fault("proxy", delay=1.5, count=1, skip=1, path="/f6")
    times = []
    for _ in range(3):
        start = time.monotonic()
        assert ask_port(hub, job, 8000, "GET", "/f6").status == 200
        times.append(time.monotonic() - start >= 1.5)
    assert times == [False, True, False]


def test_faults_by_chance(hub, job):
    fault = hub.fault("proxy", status=500, rate=0.2, path="/chance")
    with Client(hub, job) as c:
        refused = sum(c.ask("GET", "/chance").status == 500 for _ in range(300))
    assert 20 < refused < 110 and hub.proxy.hits(fault) == refused
    hub.clear_faults()
    assert ask_port(hub, job, 8000, "GET", "/chance").status == 200


def test_too_large(hub, job):
    job.dial(max_body=1000)
    try:
        assert ask_port(hub, job, 8000, "POST", "/large", b"x" * 1000).status == 200
        assert ask_port(hub, job, 8000, "POST", "/large", b"x" * 1001).status == 413
    finally:
        job.dial(max_body=0)


def test_everything_is_recorded(hub, job):
    before = len(hub.requests.of("proxy", job=job.id))
    ask_port(hub, job, 8000, "GET", "/recorded", headers={"X-Sandbox-Token": "t\"\\"})
    ask_port(hub, job, 8000, "GET", "/recorded", token=Accounts.MALLORY)
    first, second = hub.requests.of("proxy", job=job.id)[before:]
    assert (first.method, first.status, first.action, second.status, second.action) == ("GET", 200, "forward", 403, "status:403")
    assert first.header("x-sandbox-token") == "t\"\\" and first.header("authorization") == f"Bearer {hub.token}"
    assert first.path.endswith("/recorded")


def test_many_connections(hub, job):
    """Hundreds that do nothing cost others nothing; all are gone afterwards."""
    idle = [Connection(hub.addresses()[1]) for _ in range(300)]
    for c in idle[::3]:
        c.send(b"GET / HT")
    assert ask_port(hub, job, 8000, "GET", "/").status == 200
    for c in idle:
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    wait_until(lambda: hub.proxy.stats()["connections"] < 50, what="their end")
