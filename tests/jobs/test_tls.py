"""Whom the library trusts, what it says where it does not, and the way through proxies."""
# ctest: timeout=300
import datetime
import socket
import ssl
import subprocess
import threading

import pytest
import trustme
from conftest import Program
from localhub import Hub
from localhub.names import HUB_NAME, JOBS_DOMAIN

BUNDLES = ("CURL_CA_BUNDLE", "SSL_CERT_FILE")
LIFE = "box = sbx.Client({}).create(); assert box.run('echo hi').out == b'hi\\n'; box.kill()"
TRY = """
try:
    sbx.Client({}).info()
    print("trusted")
except sbx.Error as error:
    print(error.name, error.message)
"""


@pytest.fixture(scope="module")
def hub():
    with Hub(tls=True) as hub:
        hub.program = Program(hub)
        yield hub


def only(name=None, path=None):
    """The two variables, of which at most one is set."""
    return {bundle: str(path) if bundle == name else None for bundle in BUNDLES}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "wrong.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


# ---- The private CA

@pytest.mark.parametrize("how", [*BUNDLES, "ca_file"])
def test_a_private_ca(hub, how):
    option = f"ca_file={str(hub.tls.ca_file)!r}" if how == "ca_file" else ""
    hub.program.run(LIFE.format(option), **only(how, hub.tls.ca_file))


@pytest.mark.parametrize("off", [None, "ca-file-alone"])
def test_the_file_alone_counts(hub, wrong, tmp_path, off):
    """Not the system's directory beside it, for whose sake the file would be read again for each connection."""
    name = subprocess.run(["openssl", "x509", "-noout", "-subject_hash", "-in", hub.tls.ca_file], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / f"{name}.0").write_bytes(hub.tls.ca_file.read_bytes())
    mount = "import subprocess; subprocess.run(['mount', '--bind', sys.argv[1], '/etc/ssl/certs'], env={}, check=True)\n"
    out = hub.program.run(mount + TRY.format(f"ca_file={str(wrong)!r}"), tmp_path, off=off, **only())
    assert out.startswith("ERROR_CONNECTION" if off is None else "trusted"), out


def test_the_first_one_counts(hub, wrong):
    """The option before the variables, and of these the one that is libcurl's."""
    right = hub.tls.ca_file
    out = hub.program.run(TRY.format(f"ca_file={str(right)!r}"), CURL_CA_BUNDLE=wrong, SSL_CERT_FILE=wrong)
    assert out == "trusted\n"
    assert hub.program.run(TRY.format(""), CURL_CA_BUNDLE=right, SSL_CERT_FILE=wrong) == "trusted\n"
    assert hub.program.run(TRY.format(""), CURL_CA_BUNDLE=wrong, SSL_CERT_FILE=right).startswith("ERROR_CONNECTION")


def refused(hub, out, *words):
    assert out.startswith("ERROR_CONNECTION") and "certificate" in out.lower(), out
    assert all(word in out for word in words), out
    assert hub.token not in out


def test_another_ca(hub, wrong):
    """Nothing is sent to somebody else, and the error says what can be done."""
    before = len(hub.requests)
    for env in (only("CURL_CA_BUNDLE", wrong), only("SSL_CERT_FILE", wrong), only()):
        refused(hub, hub.program.run(TRY.format(""), **env), HUB_NAME, "ca_file", "CURL_CA_BUNDLE")
    refused(hub, hub.program.run(TRY.format(f"ca_file={str(wrong)!r}")), "ca_file")
    assert len(hub.requests) == before


def test_another_name(hub):
    before = len(hub.requests)
    address, port = hub._api_address
    refused(hub, hub.program.run(TRY.format(""), HF_ENDPOINT=f"https://{address}:{port}"), address, "name")
    assert len(hub.requests) == before


def test_an_expired_one(hub):
    """A server with a certificate of the right CA for the right name, of yesterday."""
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    issued = hub.tls.ca.issue_cert("localhost", not_after=past, not_before=past - datetime.timedelta(days=9))
    context, seen, refusals = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), [], []
    issued.configure_cert(context)

    def serve():
        while True:
            try:
                with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                    seen.append(connection.recv(1 << 16))
            except ssl.SSLError as error:
                refusals.append(error)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        out = hub.program.run(TRY.format(""), HF_ENDPOINT=f"https://localhost:{listener.getsockname()[1]}")
    refused(hub, out, "expired")
    assert not any(seen) and len(refusals) + len(seen) == 1, "it is not asked again"


@pytest.mark.parametrize("path", ["/nonexistent/ca.pem", "/etc", "/dev/null"])
@pytest.mark.parametrize("how", [*BUNDLES, "ca_file"])
def test_a_file_that_cannot_be_used(hub, how, path):
    option = f"ca_file={path!r}" if how == "ca_file" else ""
    out = hub.program.run(TRY.format(option), **only(how, path))
    assert out.startswith("ERROR_INVALID") and how in out and path in out, out


def test_a_job_that_another_one_answers_for(hub, wrong, tmp_path):
    """The proxy before the jobs is held to the same: a certificate without its name gets no token."""
    issued = hub.tls.ca.issue_cert("*.elsewhere.example")
    with Proxy(lambda name: evil.getsockname(), only="--49983.") as proxy, socket.create_server(("127.0.0.1", 0)) as evil:
        context, seen = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
        issued.configure_cert(context)

        def serve():
            while True:
                try:
                    with context.wrap_socket(evil.accept()[0], server_side=True) as connection:
                        seen.append(connection.recv(1 << 16))
                except ssl.SSLError:
                    pass
                except OSError:
                    return
        threading.Thread(target=serve, daemon=True).start()
        proxy.hub = hub
        out = hub.program.run("""
try:
    sbx.Client().create(timeout_ms=4000)
except sbx.Error as error:
    print(error.name, error.message)
""", https_proxy=proxy.url)
        assert proxy.heads and not any(seen) and "ERROR_" in out and hub.token not in out
    assert not hub.jobs.running()


# ---- Proxies

class Proxy:
    """Notes the heads of what it is asked for, and passes CONNECT on to this Hub (or, for names with a certain part, to somebody else)."""

    def __init__(self, elsewhere=None, only=None):
        self.elsewhere, self.only, self.heads, self.hub = elsewhere, only, [], None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        head = b""
        while b"\r\n\r\n" not in head:
            data = near.recv(1)
            if not data:
                return
            head += data
        self.heads.append(head.decode())
        method, target, _ = head.decode().split(" ", 2)
        if method != "CONNECT":
            near.sendall(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
            return
        name = target.rsplit(":", 1)[0]
        if self.only and self.only in name:
            address = self.elsewhere(name)
        else:
            address = self.hub._proxy_address if name.endswith(JOBS_DOMAIN) else self.hub._api_address
        far = socket.create_connection(address)
        near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Thread(target=self._pump, args=(far, near), daemon=True).start()
        self._pump(near, far)

    @staticmethod
    def _pump(source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def names(self):
        return {head.split(" ")[1].rsplit(":", 1)[0] for head in self.heads}


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_a_proxy_sees_names_and_nothing_else(hub, variable):
    with Proxy() as proxy:
        proxy.hub = hub
        hub.program.run(LIFE.format(""), **{variable: proxy.url})
        assert proxy.names() == {HUB_NAME, f"{hub.jobs.last().id}--49983.{JOBS_DOMAIN}"}
        for head in proxy.heads:
            first, *lines = head.strip().split("\r\n")
            assert first.startswith("CONNECT ")
            assert {line.split(":")[0].lower() for line in lines} <= {"host", "user-agent", "proxy-connection"}, head
            assert hub.token not in head and "Bearer" not in head


@pytest.mark.parametrize("no_proxy", [HUB_NAME + "," + JOBS_DOMAIN, "*", "." + HUB_NAME.split(".", 1)[-1] + "," + JOBS_DOMAIN])
def test_no_proxy(hub, no_proxy):
    with Proxy() as proxy:
        proxy.hub = hub
        hub.program.run(LIFE.format(""), https_proxy=proxy.url, no_proxy=no_proxy)
        assert proxy.heads == [] or no_proxy.startswith(".")


def test_never_for_loopback():
    """Whatever the variables say: the token of a Hub on this computer, and the local agents, go through nobody else."""
    with Hub() as hub, Proxy() as proxy:
        proxy.hub = hub
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        Program(hub).run(LIFE.format(""), **dict.fromkeys(names, proxy.url))
        assert proxy.heads == []


def test_a_proxy_that_is_not_there(hub):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    out = hub.program.run(TRY.format(""), https_proxy=f"http://user:geheim@127.0.0.1:{port}")
    assert out.startswith("ERROR_CONNECTION") and "geheim" not in out and hub.token not in out, out
