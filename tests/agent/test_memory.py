"""What the agent may hold: idle, per idle connection, and for readers that do not read."""
# ctest: serial timeout=300
import json
import resource
import socket
import time

import pytest
from agent import Agent, wait_until

BIG = {"cmd": "exec head -c 1073741824 /dev/zero"}


def settled(read, quiet=1.0):
    """The value once it has not changed for a while."""
    value, since = read(), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(0.02)
        now = read()
        if now != value:
            value, since = now, time.monotonic()
    return value


def test_idle():
    with Agent(static=True) as a:
        assert a.resident_kib() <= 512


def test_idle_connections():
    """2 KiB each at 5,000."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 6000:
        pytest.skip(f"ulimit -n is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
    with Agent(static=True) as a:
        before, held = a.resident_kib(), []
        for _ in range(5000):
            connection = a.connect()
            assert connection.request("GET", "/health").status == 200
            held.append(connection)
        after = a.resident_kib()
        assert (after - before) / 5000 <= 2, (before, after)
        assert a.run("echo still served").stdout == b"still served\n"
        for connection in held:
            connection.close()
        wait_until(lambda: a.descriptors() < 32, what="the end of the connections")


def stuck_readers(agent, count, frames):
    """Connections that ask for a gigabyte and read nothing of it."""
    held = []
    for _ in range(count):
        connection = agent.connect(receive_buffer=4096)
        accept = [("Accept", "application/x-hfsandbox-frames")] if frames else []
        connection.send_request("POST", "/v1/exec", agent.headers(accept), json.dumps(BIG).encode())
        held.append(connection)
    return held


@pytest.mark.parametrize("frames", [True, False])
@pytest.mark.parametrize("count", [1, 16])
def test_slow_readers(count, frames):
    """Less than 16 MiB beyond the 8 MiB that one sandbox's output may hold. 0.5.0 held 765 MB."""
    with Agent(static=True) as a:
        before = a.resident_kib()
        held = stuck_readers(a, count, frames)
        wait_until(lambda: len([e for e in a.get("/v1/processes").json() if e["running"]]) == count, what="the commands")
        assert settled(a.resident_kib) - before < (8 + 16) * 1024
        assert a.run("echo others are served").stdout == b"others are served\n"
        for connection in held:
            connection.close()


def test_unread_background_output():
    """Nobody is attached: the oldest output is dropped and counted, and the command goes on."""
    with Agent(static=True) as a:
        before = a.resident_kib()
        process = a.start_process("head -c 200000000 /dev/zero")
        entry = a.get(f"/v1/processes/{process['id']}?wait_ms=60000").json()
        assert entry["running"] is False and entry["exit_code"] == 0
        out = entry["stdout"]
        assert out["end"] == 200_000_000 and out["dropped"] == out["start"] and 0 < out["end"] - out["start"] <= 1 << 20
        assert a.resident_kib() - before < 4096


def test_big_requests_do_not_stay():
    """A body of the largest size is held once and given back."""
    with Agent(static=True) as a:
        before = a.resident_kib()
        for _ in range(5):
            response = a.request("POST", "/v1/exec", body=b'{"cmd":"' + b"x" * (15 << 20) + b'"}')
            assert response.status in (200, 400, 413), response
        assert settled(a.resident_kib) - before < 2048


def test_slow_upload_is_not_gathered(tmp_path):
    """A file body goes through, whatever its size."""
    with Agent(static=True) as a:
        before = a.resident_kib()
        with a.connect(timeout=120) as c:
            size = 256 << 20
            c.send_request("PUT", f"/v1/files/write?path={tmp_path}/file", a.headers([("Content-Length", size)]))
            peak, block = before, b"\0" * (1 << 20)
            for n in range(256):
                c.send(block)
                if n % 16 == 0:
                    peak = max(peak, a.resident_kib())
            assert c.read_response().status == 200
        assert peak - before < 8192


def test_slow_download_is_not_gathered(tmp_path):
    with open(tmp_path / "file", "wb") as f:
        f.truncate(256 << 20)
    with Agent(static=True) as a:
        before = a.resident_kib()
        with a.connect(receive_buffer=4096) as c:
            c.send_request("GET", f"/v1/files/read?path={tmp_path}/file", a.headers())
            assert c.read_head().status == 200
            assert settled(a.resident_kib, 0.5) - before < 4096
            c.socket.shutdown(socket.SHUT_RDWR)
