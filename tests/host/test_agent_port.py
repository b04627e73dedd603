# ctest: timeout=300
"""The agent's port is no way out of a sandbox: a sandbox's own sockets are not answered, whatever token they show."""
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from agent import TOKEN, wait_until
from host_agent import HostAgent
from netns import Network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")

# ask.py address port method target token how: the status line of the answer, or "nothing".
ASK = b"""
import errno, os, socket, struct, sys, time
address, port, method, target, token, how = sys.argv[1:7]
family, _, _, _, to = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
if how == "forked" and os.fork() > 0:
    os._exit(os.wait()[1] != 0)
if how == "forked":
    os.setsid()
if how in ("closed", "reset"):
    while not os.path.exists("go"):
        time.sleep(0.005)
try:
    s = socket.socket(family, socket.SOCK_STREAM, 262 if how == "mptcp" else 0)
except OSError:
    s = socket.socket(family)  # this kernel has no MPTCP
s.settimeout(20)
if how == "device":
    s.setsockopt(socket.SOL_SOCKET, 25, b"lo")
if how == "reset":
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
data = b""
s.connect(to)
name = s.getsockname()[1]
try:
    s.sendall(f"{method} {target} HTTP/1.1\\r\\nX-Sandbox-Token: {token}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    if how in ("closed", "reset"):
        s.close()
        open("asked.new", "w").write(str(name))
        os.rename("asked.new", "asked")
        sys.exit()
    if how == "half":
        s.shutdown(socket.SHUT_WR)
    while piece := s.recv(65536):
        data += piece
except OSError as e:
    if e.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
        raise
print(data.split(b"\\r\\n")[0].decode() or "nothing")
"""
WAYS = ["plain", "half", "forked", "device", "mptcp"]
HERE = ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", Network.V4, Network.V6, Network.LINK]


@pytest.fixture(scope="module")
def network():
    with Network() as n:
        yield n


@pytest.fixture(scope="module")
def host(network):
    with HostAgent() as h:
        yield h


def new_tenant(host, count=1):
    made = host.create(count)
    for tenant in made:
        assert tenant.request("PUT", "/files/write?path=ask.py", body=ASK).status == 200
    return made


def ask(tenant, address, token, target=None, method="GET", how="plain"):
    output = tenant.run(["python3", "ask.py", address, str(tenant.host.port), method, target or tenant.prefix + "/info", token, how])
    assert output.exit["exit_code"] == 0, output.stderr
    return output.stdout.decode().strip()


def from_here(host, address, user=0):
    """The same question from the test, whose socket belongs to a user of the machine."""
    family, _, _, _, to = socket.getaddrinfo(address, host.port, type=socket.SOCK_STREAM)[0]
    os.seteuid(user)
    try:
        s = socket.socket(family)
    finally:
        os.seteuid(0)
    with s:
        s.settimeout(20)
        s.connect(to)
        s.sendall(b"GET /v1/sandboxes HTTP/1.1\r\nX-Sandbox-Token: %s\r\n\r\n" % TOKEN.encode())
        return s.recv(1000).split(b"\r\n")[0].decode()


OK, NOTHING = "HTTP/1.1 200 OK", "nothing"


def test_a_sandbox_gets_no_answer(host):
    (a,) = new_tenant(host)
    for address in HERE:
        assert ask(a, address, a.token) == NOTHING, address
    for how in WAYS:
        assert ask(a, "127.0.0.1", a.token, how=how) == NOTHING, how
        assert ask(a, "::1", TOKEN, "/v1/sandboxes", how=how) == NOTHING, how
    assert ask(a, "127.0.0.1", "none", "/health") == NOTHING
    a.end()


def test_control_a_sandbox_gets_no_answer(network):
    with HostAgent(off="agent-port") as h:
        (a,) = new_tenant(h)
        for address in HERE:
            assert ask(a, address, a.token) == OK, address
        for how in WAYS:
            assert ask(a, "127.0.0.1", a.token, how=how) == OK, how
            assert ask(a, "::1", TOKEN, "/v1/sandboxes", how=how) == OK, how


def test_everybody_else_does(host, network):
    for address in HERE:
        assert from_here(host, address) == OK, address
        assert from_here(host, address, user=12345) == OK, address
    with network.elsewhere():
        for address in (network.V4, network.V6, network.LINK.replace("v0", "v1")):
            assert from_here(host, address) == OK, address


def test_a_listener_at_the_same_port_is_not_the_peer(host, network):
    """Its port number says nothing about a peer from elsewhere, even when a sandbox's user listens at it here."""
    with socket.create_server(("", 0)) as listener:
        os.fchown(listener.fileno(), host.first_uid, host.first_uid)
        with network.elsewhere(), socket.socket() as s:
            s.bind(("", listener.getsockname()[1]))
            s.settimeout(20)
            s.connect((network.V4, host.port))
            s.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert s.recv(100).startswith(OK.encode())


def test_a_sandbox_bound_to_an_interface(network):
    """Then the kernel does not find it; the address tells."""
    with HostAgent(off="peer-gone") as h:
        (a,) = new_tenant(h)
        assert ask(a, "127.0.0.1", a.token, how="device") == OK
        assert ask(a, "127.0.0.1", a.token) == NOTHING


BUCKETS = Path("/proc/sys/net/ipv4/tcp_max_tw_buckets")


@pytest.fixture
def nothing_remembered(network):
    """The kernel keeps no trace of a closed connection, as when a flood has filled its table."""
    before = BUCKETS.read_text()
    BUCKETS.write_text("0")
    yield
    BUCKETS.write_text(before)


class Blind:
    """A sandbox that wants another one ended, and is gone before the agent looks."""

    def __init__(self, host, how):
        self.host = host
        self.a, self.b = new_tenant(host, 2)
        self.a.start(["python3", "ask.py", "127.0.0.1", str(host.port), "DELETE", self.b.prefix, TOKEN, how])

    def __enter__(self):
        os.kill(self.host.pid, signal.SIGSTOP)
        (self.a.home / "go").touch()
        wait_until((self.a.home / "asked").exists, what="the question")
        return int((self.a.home / "asked").read_text())

    def __exit__(self, *_):
        os.kill(self.host.pid, signal.SIGCONT)

    def carried_out(self):
        return self.b.id not in [item["id"] for item in self.host.sandboxes()]


def state(port):
    """Of the end of a connection of this network that has this port; None: there is no such end any more."""
    for line in Path("/proc/thread-self/net/tcp").read_text().splitlines():
        words = line.split()
        if words[1].endswith(f":{port:04X}"):
            return words[3]


FIN_WAIT_1 = "04"
# What the sandbox does with its socket, and what the test waits for before the agent goes on.
LEAVING = {"closed": ("closed", lambda port: True), "acknowledged": ("closed", lambda port: state(port) != FIN_WAIT_1),
           "reset": ("reset", lambda port: True)}


def leave(host, leaving):
    how, ready = LEAVING[leaving]
    blind = Blind(host, how)
    with blind as port:
        wait_until(lambda: ready(port), what="the end of its socket")
    return blind


def not_carried_out(blind):
    for _ in range(5):
        assert not blind.carried_out()
    assert blind.b.run("echo here").stdout == b"here\n"
    blind.a.end()
    blind.b.end()


@pytest.mark.parametrize("leaving", LEAVING)
def test_what_a_sandbox_left_behind_is_not_read(host, leaving):
    not_carried_out(leave(host, leaving))


@pytest.mark.parametrize("off, leaving", [("agent-port", "closed"), ("agent-port", "reset"), ("peer-closed", "acknowledged")])
def test_control_what_a_sandbox_left_behind(network, off, leaving):
    with HostAgent(off=off) as h:
        wait_until(leave(h, leaving).carried_out, what="the request of one that is gone")


def test_what_the_kernel_has_forgotten_is_not_read(host, nothing_remembered):
    not_carried_out(leave(host, "acknowledged"))


def test_control_what_the_kernel_has_forgotten(nothing_remembered):
    with HostAgent(off="peer-gone") as h:
        wait_until(leave(h, "acknowledged").carried_out, what="the request of one that is gone")


def test_the_next_one_at_its_port_lends_it_nothing(host):
    blind = Blind(host, "reset")
    with blind as port, socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.settimeout(20)
        s.connect(host.address)
        os.kill(host.pid, signal.SIGCONT)
        s.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert s.recv(100).startswith(OK.encode())
    assert not blind.carried_out()
    blind.a.end()
    blind.b.end()


def test_many_connections_of_a_sandbox_leave_nothing(host):
    (a,) = host.create()
    before = host.descriptors()
    a.run(["python3", "-c", "import socket\nfor i in range(2000):\n"
           f" with socket.create_connection(('127.0.0.1', {host.port}), 20) as s: s.recv(1) if i % 2 else s.close()"])
    wait_until(lambda: host.descriptors() <= before, what="descriptors back to the start")
    a.end()


# No netlink sockets that tell of others, as on a kernel without them.
WITHOUT = """
import ctypes, os, platform, struct, sys
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
code = [(0x20, 0, 0, 0), (0x15, 0, 5, number), (0x20, 0, 0, 16), (0x15, 0, 3, 16), (0x20, 0, 0, 32), (0x15, 0, 1, 4),
        (0x06, 0, 0, 0x50000 | 93), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
assert ctypes.CDLL(None).prctl(22, 2, struct.pack("HxxxxxxP", len(code), ctypes.addressof(program)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def step(host):
    (a,) = host.create()
    (found,) = [s for s in a.get("/info").json()["isolation"]["steps"] if s["name"] == "agent-port"]
    return found


def test_a_kernel_that_does_not_tell_is_an_error(host):
    assert step(host)["holds"] is True and step(host)["required"] is True
    without = [sys.executable, "-c", WITHOUT]
    h = HostAgent(wrap=without, clean_exit=False)
    with pytest.raises(AssertionError, match="agent-port: the kernel does not tell .*--allow-unconfined"):
        h.start()
    h.__exit__(AssertionError)
    with HostAgent(wrap=without, args=["--allow-unconfined"]) as weak:
        (a,) = new_tenant(weak)
        assert ask(a, "127.0.0.1", a.token) == OK
        assert step(weak)["holds"] is False and step(weak)["required"] is False
