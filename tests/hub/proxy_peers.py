"""Both ends of the proxy's connections for its tests: a server in a job that says what it got, and a raw client."""
import ssl

from agent import wait_until
from localhub.ask import ask_port, run
from raw_http import Connection

# GET: what came, as JSON. POST: the body's length and sum. /stream: pieces as the client sends lines. /ws: an upgrade, then echo.
SERVER = r"""
import hashlib, json, socket, threading
def serve(s, number):
    f = s.makefile("rb")
    while line := f.readline():
        method, target, _ = line.decode().split()
        headers = []
        while (line := f.readline().strip()):
            name, value = line.decode().split(":", 1)
            headers.append([name, value.strip()])
        small = {k.lower(): v for k, v in headers}
        if target == "/ws":
            s.sendall(b"HTTP/1.1 101 X\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello")
            while data := s.recv(65536):
                s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            return
        if small.get("expect"):
            s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = hashlib.sha256()
        size = 0
        def take(n):
            left = n
            while left > 0:
                data = f.read1(min(left, 1 << 18))
                if not data:
                    raise ConnectionError
                body.update(data)
                left -= len(data)
            return n
        if "content-length" in small:
            size = take(int(small["content-length"]))
        elif small.get("transfer-encoding") == "chunked":
            while n := int(f.readline().split(b";")[0], 16):
                size += take(n)
                f.readline()
            while f.readline().strip():
                pass
        if target.startswith("/bytes/"):
            n = int(target.split("/")[2])
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n)
            piece = b"x" * (1 << 18)
            while n > 0:
                s.sendall(piece[:n])
                n -= len(piece)
            continue
        if target == "/until-close":
            s.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            s.close()
            return
        if target == "/slow":
            s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            go.wait(30)
            s.sendall(b"4\r\nlast\r\n0\r\n\r\n")
            continue
        if target == "/go":
            go.set()
        if target == "/die":
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all")
            s.shutdown(socket.SHUT_RDWR)
            return
        counts[target] = counts.get(target, 0) + 1
        text = json.dumps({"method": method, "target": target, "headers": headers, "connection": number, "size": size,
                           "sum": body.hexdigest(), "count": counts[target], "counts": counts}).encode()
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text))
        s.sendall(b"" if method == "HEAD" else text)
def quietly(s, number):
    try:
        serve(s, number)
    except (OSError, ValueError):
        pass
    ended.append(number)
    s.close()
counts, ended, go = {}, [], threading.Event()
listener = socket.create_server(("", 8000))
number = 0
while True:
    s, _ = listener.accept()
    number += 1
    threading.Thread(target=quietly, args=(s, number), daemon=True).start()
"""


def server(hub, **more):
    job = run(hub, ["python3", "-c", SERVER], expose=[8000, 9000], **more)
    wait_until(lambda: ask_port(hub, job, 8000, "GET", "/").status == 200, 30, "its port")
    return job


class Client(Connection):
    """A raw connection to the proxy, in the name of a job."""

    def __init__(self, hub, job, port=8000, **more):
        super().__init__(hub.addresses()[1], **more)
        self.name = f"{job.id}--{port}.hf.jobs"
        self.prefix = "" if hub.tls else f"/p/{self.name}"
        self.token = hub.token
        if hub.tls:
            context = ssl.create_default_context(cafile=str(hub.tls.ca_file))
            self.socket = context.wrap_socket(self.socket, server_hostname=self.name)

    def ask(self, method, path, headers=(), body=None, token=True):
        pairs = list(headers) + ([("Authorization", f"Bearer {self.token}")] if token else [])
        return self.request(method, self.prefix + path, [("Host", self.name)] + pairs, body)
