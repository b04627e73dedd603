"""An agent in host mode, with its homes in a directory of its own. Needs root.

    with HostAgent(capacity=8, off="files-beneath") as host:
        a, b = host.create(2, env={"A": "1"})
        a.run("id").stdout                          as agent.Agent, below /v1/sandboxes/<id> and with the sandbox's own token
        a.end()
"""
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import streams
from agent import Agent

UIDS = 1000  # of one host
SLOTS = 40


def reserve_uids():
    """The first of a range of users that no other host of this machine's tests has, and what holds it."""
    for slot in range(SLOTS):
        lock = open(f"/tmp/sbx-test-uids-{slot}", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return 20000 + slot * UIDS, lock
        except BlockingIOError:
            lock.close()
    raise AssertionError("too many hosts at once")


class HostAgent(Agent):
    own_users = False  # of a user namespace, which nobody else has

    def __init__(self, capacity=8, off="", env=None, **more):
        self.first_uid, self._uids = (None, None) if self.own_users else reserve_uids()
        self.place = Path(tempfile.mkdtemp(prefix="sbx-homes-"))
        self.place.chmod(0o711)
        self.homes = self.place / "homes"
        super().__init__(off=off, env={"SBX_HOST_MODE": "1", "SBX_CAPACITY": capacity, "SBX_HOST_DIRECTORY": self.homes,
                                       "SBX_HOST_FIRST_UID": self.first_uid, **(env or {})}, **more)

    def __exit__(self, *more):
        try:
            super().__exit__(*more)
        finally:
            shutil.rmtree(self.place, ignore_errors=True)
            if self._uids is not None:
                self._uids.close()

    def create(self, count=1, headers=(), **body):
        response = self.post("/v1/sandboxes", json={"count": count, **body}, headers=headers)
        assert response.status == 200, response
        answer = response.json()
        assert answer["rejected"] == 0, answer
        return [Tenant(self, item) for item in answer["sandboxes"]]

    def put_as_root(self, path, data, mode):
        """A file of the machine's root."""
        Path(path).write_bytes(data)
        Path(path).chmod(mode)

    def outside(self, path):
        """The same place as the tests see it."""
        return Path(path)

    def sandboxes(self):
        return self.get("/v1/sandboxes").json()

    def processes_of(self, uid):
        """The processes of a user, threads not counted."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.stat(f"/proc/{pid}").st_uid == uid:
                    found.append(int(pid))
            except FileNotFoundError:
                pass
        return found


class Tenant:
    def __init__(self, host, item):
        self.host, self.item = host, item
        self.id, self.uid, self.token, self.home = item["id"], item["uid"], item["token"], Path(item["home"])
        self.prefix = f"/v1/sandboxes/{self.id}"

    def request(self, method, target, **more):
        return self.host.request(method, self.prefix + target, **{"token": self.token, **more})

    def get(self, target, **more):
        return self.request("GET", target, **more)

    def post(self, target, json=None, **more):
        return self.request("POST", target, json=json, **({} if json is not None else {"body": b""}), **more)

    def run(self, cmd, timeout_s=30, **body):
        def events():
            import json as json_module
            with self.host.connect(timeout_s) as c:
                headers = self.host.headers([("Accept", streams.FRAME_TYPE)], self.token)
                c.send_request("POST", self.prefix + "/exec", headers, json_module.dumps({"cmd": cmd, **body}).encode())
                response = c.read_head()
                pieces = c.body_pieces(response)
                if response.status != 200:
                    response.body = b"".join(pieces)
                    raise AssertionError(f"exec: {response}")
                yield from streams.frame_events(pieces)
        return streams.Output(events())

    def start(self, cmd, **body):
        response = self.post("/processes", json={"cmd": cmd, **body})
        assert response.status == 200, response
        return response.json()

    def end(self):
        response = self.host.request("DELETE", self.prefix)
        assert response.status == 200, response
        return response.json()
