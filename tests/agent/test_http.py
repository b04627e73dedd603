"""The agent's HTTP from outside: order of checks, responses, framing, what becomes of a connection. Its limits and deadlines: test_http_limits.py."""
import random
import re
import socket
import time

import pytest

from agent import TOKEN, Agent, wait_until
from raw_http import answers, statuses

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
AUTH = b"X-Sandbox-Token: " + TOKEN.encode() + b"\r\n"


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


# -- order of checks

def test_health_says_more_to_those_who_know_the_token(agent):
    assert agent.get("/health", token=False).json() == {"status": "ok", "protocol": 3}
    assert agent.get("/health", token="wrong").json() == {"status": "ok", "protocol": 3}
    told = agent.get("/health").json()
    assert told["mode"] == "dedicated" and told["auth"] == "required" and told["sandboxes"] == 0
    assert told["uptime_ms"] >= 0 and told["version"] and told["landlock"]["abi"] >= 0
    assert {"keys", "frames", "process", "files", "parts"} <= set(told["features"])
    assert agent.get("//health/", token=False).status == 200


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_token_comes_before_the_route(agent, token):
    for target in ("/v1/info", "/v1/none", "/", "/healthx", "/v1/health"):
        headers = [] if token is None else [("X-Sandbox-Token", token)]
        response = agent.get(target, headers=headers, token=False)
        assert response.status == 403, target
        assert response.json() == {"error": "invalid or missing X-Sandbox-Token", "code": "forbidden"}
        assert response.header("X-Sandbox-Code") == "forbidden"


def test_two_tokens_are_none(agent):
    assert agent.get("/v1/info", headers=[("X-Sandbox-Token", TOKEN)]).status == 403


def test_token_control():
    with Agent(off="token") as a:
        assert a.get("/v1/info", token=False).status == 200


@pytest.mark.parametrize("method,target", [("GET", "/v1/none"), ("PATCH", "/v1/info"), ("POST", "/health"), ("GET", "/"), ("GET", "/v1"),
                                           ("GET", "/v1/info/x"), ("GET", "/v1/inf%6f"), ("GET", "/v2/info"), ("GET", "/v1//info"),
                                           ("GET", "/v1/sandboxes"), ("GET", "/v1/exec")])
def test_unknown_routes(agent, method, target):
    response = agent.request(method, target)
    assert response.status == 404
    assert response.json() == {"error": f"no route: {method} {target}", "code": "no_route"}


def test_outer_slashes_do_not_matter(agent):
    for target in ("/v1/info", "//v1/info", "/v1/info/", "///v1/info///", "/v1/info/?x=1"):
        assert agent.get(target).status == 200, target


# -- responses

def test_every_head_is_complete(agent):
    for response in (agent.get("/health"), agent.get("/v1/none"), agent.get("/v1/info", token=False)):
        assert response.header("Content-Type") == "application/json"
        assert response.header("Connection") == "keep-alive"
        assert int(response.header("Content-Length")) == len(response.body)


def test_head_is_get_without_body(agent):
    with agent.connect() as c:
        for target in ("/health", "/v1/info", "/v1/processes", "/v1/none"):
            c.send_request("HEAD", target, agent.headers())
            got = c.read_response("HEAD")
            assert int(got.header("Content-Length")) > 0 and c.held == b""
        assert c.request("GET", "/health").status == 200


def test_http_1_0(agent):
    old = answers(agent.address, b"GET /health HTTP/1.0\r\n\r\n" + HEALTH)
    assert len(old) == 1 and old[0].header("Connection") == "close"
    kept = answers(agent.address, b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + HEALTH)
    assert len(kept) == 2 and kept[0].header("Connection") == "keep-alive"
    with agent.connect() as c:  # a stream has no chunks for HTTP/1.0: it ends with the connection
        body = b'{"cmd":"echo hi"}'
        c.send(b"POST /v1/exec HTTP/1.0\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        response = c.read_response()
        assert response.header("Transfer-Encoding") is None and b'"event":"exit"' in response.body


def test_expectations(agent, tmp_path):
    with agent.connect() as c:
        c.send_request("POST", "/v1/exec", agent.headers([("Expect", "200-maybe"), ("Content-Length", "2")]))
        assert c.read_head().status == 417
    with agent.connect() as c:
        body = b'{"cmd":"true"}'
        c.send_request("POST", "/v1/exec", agent.headers([("Expect", "100-continue"), ("Content-Length", len(body))]))
        assert c.read_head().status == 100
        c.send(body)
        assert c.read_response().status == 200
        c.send_request("POST", "/v1/exec", agent.headers([("Expect", "100-continue")]), body)  # sent with the head: no 100 needed
        response = c.read_response()
        assert response.status == 200 and response.interim in ([], [100])
    with agent.connect() as c:  # refused: the body never comes, so the connection cannot go on
        c.send_request("POST", "/v1/none", agent.headers([("Expect", "100-continue"), ("Content-Length", "5")]))
        response = c.read_response()
        assert response.status == 404 and response.interim == [] and response.header("Connection") == "close"


# -- framing

REFUSED = [
    b"GET / HTTP/1.1\n\n", b"GET /health\r\n\r\n", b"GET /health HTTP/0.9\r\n\r\n", b"GET /health HTTP/2.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET http://a/health HTTP/1.1\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"GET  /health HTTP/1.1\r\n\r\n", b"GET /health HTTP/1.1\r\nA: b\r\n c\r\n\r\n", b"GET /health HTTP/1.1\r\nA : b\r\n\r\n",
    b"GET /health HTTP/1.1\r\nA: b\rC: d\r\n\r\n", b"GET /health HTTP/1.1\r\nA: b\nC: d\r\n\r\n", b"GET /health HTTP/1.1\r\nA: \0\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /health HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
    b"GET /health HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    b"GET /health HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"GET /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00\x00",
    b"\r\n\r\n\r\nGET /health HTTP/1.1\r\n\r\n", b"BREW /health HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("data", REFUSED)
def test_ambiguous_requests_are_refused_once(agent, data):
    """400, the connection ends, and what follows is not looked at."""
    got = answers(agent.address, data + HEALTH)
    assert [r.status for r in got] == [400]
    assert got[0].header("Connection") == "close" and got[0].json()["code"] == "invalid"


SMUGGLED = b"POST /health HTTP/1.1\r\nHost: a\r\n" + b"%s" + b"\r\n\r\n0\r\n\r\n" + HEALTH


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 40"])
def test_framing_control(agent, framing):
    """Where both framings pass, the end of the body is a matter of opinion and the bytes behind it run as a request."""
    data = SMUGGLED.replace(b"%s", framing)
    assert statuses(agent.address, data) == [400]
    with Agent(off="framing") as a:
        assert statuses(a.address, data)[-1] == 200


@pytest.mark.parametrize("body", [b"x\r\n", b"-1\r\n", b"+1\r\na\r\n", b"0x1\r\na\r\n", b" 1\r\na\r\n", b"1 \r\na\r\n", b"1\na\r\n", b"1\r\na\n",
                                  b"1\r\nab\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"1;" + b"x" * 9000 + b"\r\n", b"0\r\nA: b\n\r\n", b"\r\n",
                                  b"0\r\n" + b"A: b\r\n" * 2000 + b"\r\n", b"1;\x01\r\n"])
def test_malformed_chunks(agent, body):
    data = b"POST /v1/exec HTTP/1.1\r\n" + AUTH + b"Transfer-Encoding: chunked\r\n\r\n"
    assert statuses(agent.address, data + body + HEALTH) == [400]


def test_early_answers_leave_no_body_behind(agent):
    """A refused request's body is dropped, not read as the next request."""
    body = HEALTH * 3
    for framing in (b"Content-Length: %d\r\n\r\n%s" % (len(body), body), b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)):
        assert statuses(agent.address, b"PUT /v1/files/write?path=/x HTTP/1.1\r\n" + framing + HEALTH) == [403, 200]
        assert statuses(agent.address, b"PUT /v1/none HTTP/1.1\r\n" + AUTH + framing + HEALTH) == [404, 200]


def test_early_answers_control():
    """Without the drop, what follows is out of step: the defect."""
    body = HEALTH * 3
    with Agent(off="drain") as a, a.connect(3) as c:
        c.send(b"PUT /v1/none HTTP/1.1\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % len(body))
        assert c.read_response().status == 404
        c.send(body)
        assert [c.read_response().status for _ in range(3)] == [200, 200, 200]


def test_splits_do_not_matter(agent):
    """Pipelined requests of every kind, cut anywhere, give what they give in one piece."""
    body = b'{"cmd":"echo hi"}'
    chunked = b"".join(b"%x\r\n%s\r\n" % (1, body[i:i + 1]) for i in range(len(body))) + b"0\r\n\r\n"
    data = (HEALTH + b"POST /v1/exec HTTP/1.1\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % len(body) + body +
            b"GET /v1/none HTTP/1.1\r\n" + AUTH + b"\r\n" + b"POST /v1/exec HTTP/1.1\r\n" + AUTH + b"Transfer-Encoding: chunked\r\n\r\n" + chunked +
            b"HEAD /health HTTP/1.1\r\n\r\n")
    rounds = random.Random(3)

    def read_all(c):
        found = []
        for method in ("GET", "GET", "GET", "GET", "HEAD"):
            response = c.read_response(method)
            text = re.sub(rb'"(pid|duration_ms|id)":("[^"]*"|\d+)', b"", response.body)
            found.append((response.status, text))
        return found

    with agent.connect() as c:
        c.send(data)
        want = read_all(c)
    assert [status for status, _ in want] == [200, 200, 404, 200, 200]
    for kind in range(12):
        cuts = list(range(1, len(data))) if kind == 0 else sorted(rounds.sample(range(1, len(data)), rounds.randint(1, 12)))
        with agent.connect() as c:
            for start, stop in zip([0] + cuts, cuts + [len(data)]):
                c.send(data[start:stop])
                if kind < 4:
                    time.sleep(0.0002)
            assert read_all(c) == want, cuts


# -- ends

def test_half_closed_client_gets_its_answer(agent):
    body = b'{"cmd":"sleep 0.2; echo late"}'
    got = answers(agent.address, b"POST /v1/exec HTTP/1.1\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % len(body) + body + HEALTH)
    assert [r.status for r in got] == [200, 200] and b"late" in got[0].body


def test_cut_off_requests_do_not_run(agent, tmp_path):
    mark = tmp_path / "ran"
    body = b'{"cmd":"touch %s"}' % bytes(mark)
    for cut in (len(body) - 1, len(body) // 2, 0):
        assert statuses(agent.address, b"POST /v1/exec HTTP/1.1\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % len(body) + body[:cut]) == []
    assert agent.run("true").exit["exit_code"] == 0
    assert not mark.exists()


def test_answer_survives_unread_input(agent):
    """The refusal arrives although the client is still sending: the close waits for it."""
    for _ in range(20):
        with agent.connect(5) as c:
            c.send(b"GET / HTTP/1.1\nbad\r\n\r\n" + b"x" * 300000)
            assert c.read_response().status == 400


def test_closed_clients_leave_nothing(agent):
    wait_until(lambda: agent.get("/health").status == 200)
    before = agent.descriptors()
    for kind in range(60):
        c = agent.connect()
        c.send([b"", b"GET /hea", HEALTH, HEALTH * 50][kind % 4])
        if kind % 3 == 0:
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by reset
        c.close()
    wait_until(lambda: agent.descriptors() <= before, what="descriptors back to the start")


def test_stop_of_a_stream_is_seen(agent):
    """A client that closes in the middle of a stream is noticed by what is written next."""
    before = agent.descriptors()
    c = agent.connect()
    body = b'{"cmd":"while :; do echo x; sleep 0.05; done","tag":"endless"}'
    c.send(b"POST /v1/exec HTTP/1.1\r\n" + AUTH + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert c.read_head().status == 200
    c.close()
    entry = wait_until(lambda: [p for p in agent.get("/v1/processes").json() if p["tag"] == "endless"])[0]
    agent.request("DELETE", f"/v1/processes/{entry['id']}")
    wait_until(lambda: agent.descriptors() <= before, what="descriptors back to the start")
