"""HTTP/1.1 over a socket that the test holds in its hands: what is sent is sent exactly, what comes is taken apart strictly."""
import json
import socket

TIMEOUT = 30


class HttpError(Exception):
    """The peer's bytes are no HTTP response, or end in the middle of one."""


class Response:
    def __init__(self, version, status, reason, headers):
        self.version, self.status, self.reason = version, status, reason
        self.headers = headers  # [(name as sent, value)]
        self.body = b""

    def header(self, name, otherwise=None):
        values = self.all(name)
        return values[-1] if values else otherwise

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


def head(method, target, headers=(), version="HTTP/1.1"):
    """The bytes of a request head. headers: pairs, or a dict."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    lines = [f"{method} {target} {version}"] + [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"


class Connection:
    """One TCP or Unix connection. Reads are buffered; everything has a deadline."""

    def __init__(self, address, timeout=TIMEOUT, receive_buffer=None):
        family = socket.AF_UNIX if isinstance(address, (str, bytes)) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def shutdown_write(self):
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.socket.sendall(data)

    def send_request(self, method, target, headers=(), body=None, host="agent"):
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        names = {name.lower() for name, _ in pairs}
        if "host" not in names:
            pairs.insert(0, ("Host", host))
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            pairs.append(("Content-Length", len(body)))
        self.send(head(method, target, pairs) + (body or b""))

    def _more(self):
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise HttpError(f"the peer closed; held: {self.held[:200]!r}")
        self.held += piece

    def read_exactly(self, count):
        if len(self.held) < count:
            pieces, have = [self.held], len(self.held)
            while have < count:
                piece = self.socket.recv(1 << 18)
                if not piece:
                    self.held = b"".join(pieces)
                    raise HttpError(f"the peer closed after {have} of {count} bytes")
                pieces.append(piece)
                have += len(piece)
            self.held = b"".join(pieces)
        taken, self.held = self.held[:count], self.held[count:]
        return taken

    def read_line(self):
        while b"\r\n" not in self.held:
            self._more()
        line, self.held = self.held.split(b"\r\n", 1)
        return line

    def read_head(self):
        words = self.read_line().decode("latin-1").split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1."):
            raise HttpError(f"no status line: {words!r}")
        headers = []
        while line := self.read_line():
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or name != name.strip():
                raise HttpError(f"no header field: {line!r}")
            headers.append((name, value.strip()))
        return Response(words[0], int(words[1]), words[2] if len(words) > 2 else "", headers)

    def body_pieces(self, response, method="GET"):
        """The pieces of a body as they come; ends where the framing says so."""
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            return
        if (response.header("Transfer-Encoding") or "").lower() == "chunked":
            while True:
                size = int(self.read_line().split(b";")[0], 16)
                if size == 0:
                    while self.read_line():
                        pass
                    return
                yield self.read_exactly(size)
                if self.read_exactly(2) != b"\r\n":
                    raise HttpError("a chunk does not end with CRLF")
        elif (length := response.header("Content-Length")) is not None:
            left = int(length)
            while left > 0:
                if not self.held:
                    self._more()
                piece, self.held = self.held[:left], self.held[left:]
                left -= len(piece)
                yield piece
        else:
            while True:
                if self.held:
                    piece, self.held = self.held, b""
                    yield piece
                piece = self.socket.recv(1 << 18)
                if not piece:
                    return
                yield piece

    def read_response(self, method="GET"):
        """The next final response, whole. Interim ones (100) are skipped and kept in .interim."""
        interim = []
        while True:
            response = self.read_head()
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response.status)
        response.interim = interim
        response.body = b"".join(self.body_pieces(response, method))
        return response

    def request(self, method, target, headers=(), body=None):
        self.send_request(method, target, headers, body)
        return self.read_response(method)

    def at_end(self):
        """True when the peer has closed and nothing is left to read (waits for one of the two)."""
        if self.held:
            return False
        try:
            piece = self.socket.recv(1)
        except ConnectionResetError:
            return True
        self.held += piece
        return piece == b""


def answers(address, data, timeout=10, close=True):
    """Sends bytes, ends the writing, returns all responses until the agent closes."""
    with Connection(address, timeout) as c:
        c.send(data)
        if close:
            c.shutdown_write()
        found = []
        try:
            while True:
                found.append(c.read_response())
        except (HttpError, ConnectionResetError):
            return found


def statuses(address, data, **more):
    return [r.status for r in answers(address, data, **more)]
