"""Small questions to a Hub and to jobs' ports, for its own tests: nothing here knows a client library.

    reply = ask(hub, "POST", "/api/jobs/alice", {"command": [...], "dockerImage": "python:3.12"})
    reply.status, reply.headers, reply.json
    job = run(hub, "echo hi", expose=[8000])              creates a job and returns hub.jobs' object
    reply = ask_port(hub, job, 8000, "GET", "/path")
"""
import http.client
import json
import socket
import ssl
import urllib.parse


class Reply:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class _Named(http.client.HTTPConnection):
    """To an address, in the name of a host; context None: without TLS."""

    def __init__(self, address, parts, context, timeout):
        self.default_port = 443 if context else 80
        super().__init__(parts.hostname, parts.port, timeout=timeout)
        self.address, self.context = address, context

    def connect(self):
        self.sock = socket.create_connection(self.address, self.timeout)
        if self.context is not None:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)


def connection(hub, url, timeout=30):
    """An http.client connection to this URL of the Hub, whatever the system knows about its name; and the URL's path."""
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=str(hub.tls.ca_file)) if parts.scheme == "https" else None
    address = hub.addresses()[0 if parts.netloc == urllib.parse.urlsplit(hub.endpoint).netloc else 1]
    return _Named(address, parts, context, timeout), parts.path


def ask(hub, method, path, body=None, token=True, headers=None, timeout=30):
    """One request to the API. body: an object that becomes JSON, or bytes. token: True = the Hub's usual one."""
    headers = dict(headers or {})
    if token:
        headers.setdefault("Authorization", f"Bearer {hub.token if token is True else token}")
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    http_connection, _ = connection(hub, hub.endpoint, timeout)
    try:
        http_connection.request(method, path, body, headers)
        return Reply(http_connection.getresponse())
    finally:
        http_connection.close()


def request_of(command, image="python:3.12", expose=(), **more):
    """The body of a create request; a text is a shell's script."""
    body = {"command": ["sh", "-c", command] if isinstance(command, str) else command, "arguments": [], "environment": {}, "flavor": "cpu-basic",
            "dockerImage": image, "labels": {"name": "test"}}
    if expose:
        body["expose"] = {"ports": list(expose)}
    return {**body, **more}


def run(hub, command, image="python:3.12", namespace="alice", **more):
    reply = ask(hub, "POST", f"/api/jobs/{namespace}", request_of(command, image, **more))
    assert reply.status == 200, reply
    return hub.jobs[reply.json["id"]]


def ask_port(hub, job, port, method, path, body=None, headers=None, token=True, timeout=30):
    http_connection, prefix = connection(hub, hub.port_url(job, port), timeout)
    headers = dict(headers or {})
    if token:
        headers["Authorization"] = f"Bearer {hub.token if token is True else token}"
    try:
        http_connection.request(method, prefix + path, body, headers)
        return Reply(http_connection.getresponse())
    finally:
        http_connection.close()
