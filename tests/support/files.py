"""The files routes of an agent under test, in the words of the tests."""
import os
from urllib.parse import quote

RANDOM = os.urandom(3 << 20)


def error(response, status, code):
    """Asserts which error it is; returns its text."""
    assert response.status == status, response
    assert response.json()["code"] == code, response
    return response.json()["error"]


def target(route, **query):
    """Names and bytes alike: query values are percent-encoded bytes."""
    return f"/v1/files/{route}" + "?" + "&".join(
        f"{name}={quote(value if isinstance(value, (bytes, str)) else str(value), safe='')}" for name, value in query.items())


class Files:
    def __init__(self, agent, connection=None):
        self.agent, self.connection = agent, connection

    def call(self, method, route, headers=(), body=None, **query):
        path = target(route, **query)
        if self.connection is not None:
            return self.connection.request(method, path, self.agent.headers(headers), body)
        return self.agent.request(method, path, headers=headers, body=body)

    def read(self, path, headers=(), **query):
        return self.call("GET", "read", headers, path=path, **query)

    def write(self, path, body, headers=(), **query):
        return self.call("PUT", "write", headers, body, path=path, **query)

    def stat(self, path, headers=()):
        return self.call("GET", "stat", headers, path=path)

    def list(self, path, **query):
        return self.call("GET", "list", path=path, **query)

    def delete(self, path, headers=(), **query):
        return self.call("DELETE", "delete", headers, path=path, **query)

    def mkdir(self, path):
        return self.call("POST", "mkdir", body=b"", path=path)

    def rename(self, source, to, **query):
        return self.call("POST", "rename", body=b"", to=to, **{"from": source}, **query)
