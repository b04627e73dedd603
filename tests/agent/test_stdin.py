"""Standard input: given at once, or fed while the command runs, each byte once."""
import base64
import hashlib
import json
import os
import threading
import time

import pytest
from agent import Agent, wait_until
from streams import Output


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


def run(a, cmd, **body):
    return Output(a.events("POST", "/v1/exec", {"cmd": cmd, **body}))


def put(a, process, data, query="", status=200):
    r = a.request("PUT", f"/v1/processes/{process}/stdin{query}", body=data)
    assert r.status == status, r
    return r.json()


def test_forms(agent):
    assert run(agent, ["cat"], stdin="text é").stdout == "text é".encode()
    assert run(agent, ["cat"], stdin="a\0b").stdout == b"a\0b"
    assert run(agent, ["cat"], stdin="").stdout == b""
    every = bytes(range(256))
    assert run(agent, ["cat"], stdin_base64=base64.b64encode(every).decode()).stdout == every
    assert run(agent, "readlink /proc/self/fd/0").stdout == b"/dev/null\n"
    assert run(agent, ["cat"]).stdout == b""


def test_much_input_and_output_do_not_wait_for_each_other(agent):
    data = "0123456789abcdef" * (12 << 16)
    o = run(agent, ["cat"], stdin=data)
    assert o.stdout == data.encode()
    assert run(agent, "head -c 10; exec 0<&-; seq 1 100000 | tail -1", stdin=data).stdout == b"0123456789100000\n"


def test_fed_while_it_runs(agent):
    process = agent.start_process("while read x; do echo got $x; done; echo end", stdin_open=True)["id"]
    assert put(agent, process, b"one\n") == {"offset": 4, "open": True}
    wait_until(lambda: agent.output(process, "").stdout == b"got one\n")
    assert put(agent, process, b"two\nthr") == {"offset": 11, "open": True}
    assert put(agent, process, b"ee\n", "?eof=1") == {"offset": 14, "open": False}
    assert agent.output(process).stdout == b"got one\ngot two\ngot three\nend\n"


def test_first_input_and_more(agent):
    process = agent.start_process(["cat"], stdin="first ", stdin_open=True)["id"]
    assert put(agent, process, b"second", "?offset=6&eof=1") == {"offset": 12, "open": False}
    assert agent.output(process).stdout == b"first second"


def test_repeated_requests_feed_nothing_twice(agent):
    process = agent.start_process(["cat"], stdin_open=True)["id"]
    put(agent, process, b"abcdef", "?offset=0")
    put(agent, process, b"abcdef", "?offset=0")
    put(agent, process, b"defghi", "?offset=3")
    r = agent.request("PUT", f"/v1/processes/{process}/stdin?offset=10", body=b"x")
    assert r.status == 409 and r.json()["code"] == "conflict" and "10" in r.json()["error"] and "9" in r.json()["error"]
    put(agent, process, b"", "?offset=9&eof=1")
    assert put(agent, process, b"ghi", "?offset=6&eof=1") == {"offset": 9, "open": False}
    assert put(agent, process, b"more", "?offset=9", 409)["code"] == "conflict"
    assert put(agent, process, b"more", "", 409)["code"] == "conflict"
    assert agent.output(process).stdout == b"abcdefghi"
    assert put(agent, process, b"ghi", "?offset=6&eof=1") == {"offset": 9, "open": False}
    r = agent.request("PUT", f"/v1/processes/{process}/stdin?offset=x", body=b"")
    assert r.status == 400


def test_a_cut_off_request_is_taken_up(agent):
    """The connection is lost in the middle; the same bytes are sent again."""
    data = b"".join(b"%09d\n" % i for i in range(20_000))
    process = agent.start_process(["cat"], stdin_open=True)["id"]
    with agent.connect() as c:
        c.send_request("PUT", f"/v1/processes/{process}/stdin?offset=0", agent.headers([("Content-Length", len(data))]))
        c.send(data[:77_777])
    put(agent, process, data, "?offset=0&eof=1")
    assert agent.output(process).stdout == data


def test_a_command_that_does_not_read_makes_the_sender_wait(agent):
    fifo = agent.dir / "go"
    os.mkfifo(fifo)
    process = agent.start_process(f"read x < {fifo}; exec sha256sum", stdin_open=True)["id"]
    data = bytes(range(256)) * (32 << 10)
    answers = []
    sender = threading.Thread(target=lambda: answers.append(put(agent, process, data, "?eof=1")))
    sender.start()
    time.sleep(0.5)
    assert not answers and agent.get("/health").status == 200
    with open(fifo, "w") as f:
        f.write("go\n")
    sender.join()
    assert answers == [{"offset": len(data), "open": False}]
    assert agent.output(process).stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_pending_input_is_bounded():
    with Agent(static=True) as a:
        before = a.resident_kib()
        process = a.start_process("exec sleep 300", stdin_open=True)["id"]
        with a.connect(timeout=1) as c:
            c.send_request("PUT", f"/v1/processes/{process}/stdin", a.headers([("Content-Length", 64 << 20)]))
            sent = 0
            try:
                while sent < 64 << 20:
                    sent += c.socket.send(b"x" * 65536)
            except TimeoutError:
                pass
            assert sent < 32 << 20
            assert a.resident_kib() - before < 4 * 1024
            a.request("DELETE", f"/v1/processes/{process}")


def test_a_command_that_closes_its_input(agent):
    process = agent.start_process("exec 0<&-; echo closed; exec sleep 300", stdin_open=True)["id"]
    wait_until(lambda: agent.output(process, "").stdout == b"closed\n")
    answer = put(agent, process, b"x" * 1_000_000)
    assert answer == {"offset": 1_000_000, "open": False}
    agent.request("DELETE", f"/v1/processes/{process}")


def test_the_end_of_a_command_frees_the_sender(agent):
    process = agent.start_process("exec sleep 300", stdin_open=True)["id"]
    answers = []
    sender = threading.Thread(target=lambda: answers.append(put(agent, process, b"x" * (4 << 20))))
    sender.start()
    wait_until(lambda: agent.post(f"/v1/processes/{process}/signal", json={"signal": 9}).status == 200)
    sender.join()
    assert answers[0]["open"] is False
    assert put(agent, process, b"late", "?offset=4194304")["open"] is False


def test_no_input_to_feed(agent):
    process = agent.start_process("exec sleep 300")["id"]
    assert put(agent, process, b"x", "", 409)["code"] == "conflict"
    agent.request("DELETE", f"/v1/processes/{process}")


def test_chunked(agent):
    process = agent.start_process(["cat"], stdin_open=True)["id"]
    with agent.connect() as c:
        c.send_request("PUT", f"/v1/processes/{process}/stdin?eof=1", agent.headers([("Transfer-Encoding", "chunked")]))
        c.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        r = c.read_response("PUT")
        assert r.status == 200 and json.loads(r.body) == {"offset": 5, "open": False}
    assert agent.output(process).stdout == b"abcde"
