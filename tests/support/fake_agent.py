"""Peers for tests of the client: one that answers as the test says, and a proxy that breaks connections.

    with FakeAgent(handler) as peer:     handler(request) -> bytes to send, or None to close without a reply, or a list of
        peer.url                         bytes and numbers (seconds to wait); .requests has every request that came whole

    with Cutter(port, [1000, 50000]) as proxy:   forwards to 127.0.0.1:port; the n-th connection is cut (reset) after so many bytes of
        proxy.url                                the answer; later ones are not
"""
import json
import socket
import struct
import threading
import time


class Request:
    def __init__(self, method, target, headers, body, connection):
        self.method, self.target, self.headers, self.body, self.connection = method, target, headers, body, connection

    @property
    def json(self):
        return json.loads(self.body)


def reply(body=b"", status=200, content_type="application/json", headers=()):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def health(features="keys,frames,process,files"):
    body = {"status": "ok", "protocol": 3}
    if features:
        body["features"] = features.split(",")
    return reply(body)


def frame(kind, payload=b"", offset=0):
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    return struct.pack("<BxxxIQ", kind, len(payload), offset) + payload


def stream_head(content_type="application/x-hfsandbox-frames"):
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n".encode()


class Server:
    """Accepts on a loopback port; serve(connection) runs in a thread of its own."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections, self.failures = [], []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind, *_):
        self.listener.close()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        assert kind is not None or not self.failures, self.failures

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection, len(self.connections) - 1), daemon=True).start()

    def _serve(self, connection, number):
        try:
            with connection:
                self.serve(connection, number)
        except OSError:
            pass
        except Exception as error:  # noqa: BLE001: the test has to see it
            self.failures.append(repr(error))


class FakeAgent(Server):
    def __init__(self, handler):
        self.handler = handler
        self.requests = []

    def count(self, method, target):
        return sum(1 for r in self.requests if r.method == method and r.target.split("?")[0] == target)

    def serve(self, connection, number):
        file = connection.makefile("rb")
        while True:
            line = file.readline()
            if not line:
                return
            method, target, _ = line.decode().split()
            headers = {}
            while (line := file.readline().strip()):
                name, value = line.decode().split(":", 1)
                headers[name.lower()] = value.strip()
            body = file.read(int(headers.get("content-length", 0)))
            request = Request(method, target, headers, body, number)
            self.requests.append(request)
            answer = self.handler(request)
            if answer is None:
                return
            for part in answer if isinstance(answer, list) else [answer]:
                if isinstance(part, bytes):
                    connection.sendall(part)
                else:
                    time.sleep(part)
            if isinstance(answer, list):
                return


class Cutter(Server):
    def __init__(self, port, cuts):
        self.target, self.cuts = port, list(cuts)

    def serve(self, connection, number):
        limit = self.cuts[number] if number < len(self.cuts) else None
        with socket.create_connection(("127.0.0.1", self.target)) as upstream:
            threading.Thread(target=self._forward, args=(connection, upstream), daemon=True).start()
            passed = 0
            while True:
                data = upstream.recv(65536)
                if not data:
                    return
                if limit is not None and passed + len(data) >= limit:
                    connection.sendall(data[:limit - passed])
                    # A reset after the client has had the bytes; an orderly end every other time. A thread waits in recv on this
                    # socket: only shutdown frees it.
                    if number % 2:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        connection.shutdown(socket.SHUT_RD)
                    else:
                        connection.shutdown(socket.SHUT_RDWR)
                    connection.close()
                    return
                connection.sendall(data)
                passed += len(data)

    @staticmethod
    def _forward(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
