# ctest: timeout=300
"""The proxy to a sandbox of host mode: its ports are Unix sockets in its home, and nothing else is reached through them."""
import contextlib
import os
import shutil
import socket
import threading
from pathlib import Path

import pytest
from agent import TOKEN, wait_until
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")

# path backlog: answers GET with the head it got, POST with the body, and an upgrade with an echo.
SERVE = r"""
import os, re, socket, sys, threading, time
def serve(peer):
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.recv(65536)
    head, body = data.split(b"\r\n\r\n", 1)
    if b"Upgrade: echo" in head:
        peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        while body or (body := peer.recv(65536)):
            peer.sendall(body)
            body = b""
        peer.sendall(b"bye")
    else:
        length = int((re.search(rb"Content-Length: (\d+)", head) or [0, 0])[1])
        while len(body) < length:
            body += peer.recv(1 << 18)
        body = body or head
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    peer.close()
listener = socket.socket(socket.AF_UNIX)
path, backlog = sys.argv[1], int(sys.argv[2])
listener.bind(path)
listener.listen(backlog)
open(path + ".listens", "w").close()
while backlog == 0 and not os.path.exists("go"):
    time.sleep(0.005)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def serve(tenant, path=".sbx/proxy/8000.sock", backlog=100):
    tenant.start(["python3", "-c", SERVE, path, str(backlog)])
    wait_until((tenant.home / (path + ".listens")).exists, what="the server in the sandbox")


class Listener:
    """A server of the machine, which tells everybody who comes a secret."""

    def __init__(self, path, uid=0):
        self.path, self._count = Path(path), 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.inside = os.open(path, os.O_PATH | os.O_CLOEXEC)
        os.chmod(path, 0o777)
        os.seteuid(uid)
        try:
            self.socket.listen()
        finally:
            os.seteuid(0)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                self._count += 1
                if not peer.recv(65536):
                    continue
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")

    @property
    def asked(self):
        """How many came before now, whatever became of its path."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(f"/proc/self/fd/{self.inside}")
            s.sendall(b"?")
            while s.recv(1000):
                pass
        self._count -= 1
        return self._count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.inside)
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def host():
    with HostAgent() as h:
        yield h


@pytest.fixture
def pair(host):
    made = host.create(2)
    yield made
    for tenant in made:
        tenant.end()


@pytest.fixture
def outside(host):
    """A directory of the machine on the same file system as the homes, which everybody may pass."""
    place = host.place / "outside"
    place.mkdir()
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def refused(tenant, port=8000):
    response = tenant.get(f"/proxy/{port}/x")
    assert response.status == 502 and response.json()["code"] == "unreachable", response
    return response.json()["error"]


def test_a_server_answers(pair):
    a, b = pair
    serve(a)
    response = a.get("/proxy/8000/a/b/?q=1", headers=[("Authorization", "Bearer hf_x"), ("Cookie", "c=1"), ("X-Sandbox-Key", "k.1")])
    assert response.status == 200 and response.header("Connection") == "close"
    assert response.body.startswith(b"GET /a/b/?q=1 HTTP/1.1\r\n") and b"Cookie: c=1" in response.body
    assert not any(s in response.body for s in (b"Bearer", b"X-Sandbox", a.token.encode(), TOKEN.encode()))
    assert a.get("/proxy/8000", token=TOKEN).body.startswith(b"GET / HTTP/1.1\r\n")
    assert a.get("/proxy/8000/", token=b.token).status == 403
    assert "nothing listens" in refused(b)


def test_credentials_control():
    with HostAgent(off="proxy-credentials") as h:
        (a,) = h.create()
        serve(a)
        assert a.token.encode() in a.get("/proxy/8000/").body


def test_ports(pair):
    a, _ = pair
    for port in ("0", "65536", "100000", "-1", "x", "80x", "", "%38%30", "../../etc", "8000.sock"):
        assert a.get(f"/proxy/{port}/").status == 404, port
    serve(a, ".sbx/proxy/65535.sock")
    assert a.get("/proxy/65535/").status == 200


def test_a_tcp_port_of_the_machine_is_none(pair):
    a, _ = pair
    with socket.create_server(("127.0.0.1", 0)) as s:
        assert "nothing listens" in refused(a, s.getsockname()[1])


def test_large_bodies_both_ways(pair):
    a, _ = pair
    serve(a)
    data = os.urandom(1 << 20) * 12
    assert a.request("POST", "/proxy/8000/", body=data).body == data


def test_upgrade(host, pair):
    a, _ = pair
    serve(a)
    with host.connect() as c:
        c.send(b"GET %s/proxy/8000/ws HTTP/1.1\r\nX-Sandbox-Token: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly"
               % (a.prefix.encode(), a.token.encode()))
        assert c.read_head().status == 101 and c.read_exactly(5) == b"early"
        data = os.urandom(3 << 20)
        threading.Thread(target=c.send, args=(data,)).start()
        assert c.read_exactly(len(data)) == data
        c.shutdown_write()
        assert c.read_exactly(3) == b"bye" and c.at_end()


def test_no_server(pair):
    a, _ = pair
    assert "nothing listens" in refused(a)
    a.run("touch .sbx/proxy/8000.sock; mkdir .sbx/proxy/8001.sock; mkfifo .sbx/proxy/8002.sock;"
          "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\".sbx/proxy/8003.sock\")';"
          "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind(\".sbx/proxy/8004.sock\"); s.listen()'")
    for port in range(8000, 8005):
        assert "nothing listens" in refused(a, port), port
    a.run("rm -r .sbx/proxy")
    refused(a)
    a.run("rm -r .sbx; touch .sbx")
    refused(a)


def test_a_full_queue_is_waited_for(host, pair):
    """A server that is slow to accept gets what comes later, too."""
    a, _ = pair
    serve(a, backlog=0)
    results, before = [], host.descriptors()
    asking = [threading.Thread(target=lambda: results.append(a.get("/proxy/8000/").status)) for _ in range(6)]
    with socket.socket(socket.AF_UNIX) as s:  # takes the one place there is
        s.connect(str(a.home / ".sbx/proxy/8000.sock"))
        for thread in asking:
            thread.start()
        wait_until(lambda: host.descriptors() >= before + 6, what="requests that wait")
        (a.home / "go").touch()
        for thread in asking:
            thread.join()
    assert results == [200] * 6


def test_a_queue_that_stays_full_has_a_deadline():
    with HostAgent(env={"SBX_TEST_SCALE": "20"}) as h:
        a, b = h.create(2)
        serve(a, backlog=0)
        before = h.descriptors()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(a.home / ".sbx/proxy/8000.sock"))
            assert "in time" in refused(a)
            threads = [threading.Thread(target=a.get, args=("/proxy/8000/",), kwargs={"timeout": 30}) for _ in range(3)]
            for thread in threads:
                thread.start()
            assert b.run("echo on").stdout == b"on\n"
            for thread in threads:
                thread.join()
        wait_until(lambda: h.descriptors() <= before, what="descriptors back to the start")


def test_the_end_of_a_sandbox_that_is_waited_for(host):
    (a,) = host.create()
    serve(a, backlog=0)
    before = host.descriptors()
    with socket.socket(socket.AF_UNIX) as s, host.connect() as c:
        s.connect(str(a.home / ".sbx/proxy/8000.sock"))
        c.send_request("GET", a.prefix + "/proxy/8000/", host.headers())
        wait_until(lambda: host.descriptors() > before, what="the request")
        assert a.end()["deleted"] is True
        wait_until(lambda: host.sandboxes() == [], what="the sandbox's end")
    wait_until(lambda: host.descriptors() <= before, what="descriptors back to the start")


LINKS = ["ln -s {to} .sbx/proxy/8000.sock", "ln -s {dir} proxies; rm -r .sbx/proxy; ln -s ../proxies .sbx/proxy",
         "rm -r .sbx/proxy; ln -s {dir} .sbx/proxy", "mkdir d; ln -s {dir} d/proxy; rm -r .sbx; ln -s d .sbx",
         "rm -r .sbx; mkdir .sbx; ln -s /proc/self/root{dir} .sbx/proxy"]


def plant(tenant, link, to):
    assert tenant.run(link.format(to=to, dir=to.parent)).exit["exit_code"] == 0


@pytest.mark.parametrize("link", LINKS)
def test_planted_links_lead_nowhere(pair, outside, link):
    a, _ = pair
    with Listener(outside / "8000.sock") as secret:
        plant(a, link, secret.path)
        refused(a)
        assert secret.asked == 0

def test_a_link_to_another_sandbox(pair):
    a, b = pair
    serve(b)
    plant(a, LINKS[0], b.home / ".sbx/proxy/8000.sock")
    refused(a)
    serve(a, "own.sock")
    plant(a, LINKS[0].replace("8000", "8001"), a.home / "own.sock")
    assert "link" in refused(a, 8001)


@pytest.mark.parametrize("off, status, asked", [("proxy-owner", 502, 0), ("files-beneath", 502, 1), ("files-beneath,proxy-owner", 200, 1)])
@pytest.mark.parametrize("link", LINKS)
def test_control_planted_links(off, status, asked, link):
    with HostAgent(off=off) as h:
        (a,) = h.create()
        outside = h.place / "outside"
        outside.mkdir()
        with Listener(outside / "8000.sock") as secret:
            plant(a, link, secret.path)
            assert a.get("/proxy/8000/").status == status and secret.asked == asked


@pytest.mark.parametrize("off, status", [("files-beneath,proxy-owner", 502), ("files-beneath,proxy-owner,files-identity", 200)])
def test_control_a_link_to_another_sandbox(off, status):
    """Its home is closed to the first one's user, as whom the socket is looked for."""
    with HostAgent(off=off) as h:
        a, b = h.create(2)
        serve(b)
        plant(a, LINKS[0], b.home / ".sbx/proxy/8000.sock")
        assert a.get("/proxy/8000/").status == status


def place(how, secret, at):
    if how == "linked":
        os.link(secret.path, at)
    else:
        os.rename(secret.path, at)


@pytest.mark.parametrize("how", ["linked", "moved"])
def test_a_socket_of_somebody_else(host, pair, outside, how):
    a, b = pair
    for uid in (0, b.uid):
        with Listener(outside / "8000.sock", uid) as secret:
            place(how, secret, a.home / ".sbx/proxy/8000.sock")
            assert "not of this sandbox" in refused(a)
            os.chown(a.home / ".sbx/proxy/8000.sock", a.uid, a.uid)
            assert "not of this sandbox" in refused(a)
            (a.home / ".sbx/proxy/8000.sock").unlink()
    with Listener(outside / "8000.sock", a.uid) as own:
        place(how, own, a.home / ".sbx/proxy/8000.sock")
        assert a.get("/proxy/8000/").body == b"secret"


@pytest.mark.parametrize("how", ["linked", "moved"])
def test_control_a_socket_of_somebody_else(how):
    with HostAgent(off="proxy-owner") as h:
        (a,) = h.create()
        with Listener(h.place / "8000.sock") as secret:
            place(how, secret, a.home / ".sbx/proxy/8000.sock")
            assert a.get("/proxy/8000/").body == b"secret"
