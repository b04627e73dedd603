"""Every request that the Hub got, with its headers: the API's and the proxy's."""
import json
import threading
from dataclasses import dataclass, field


@dataclass
class Request:
    kind: str            # see faults.py; "unknown" for what the Hub does not serve
    at: float            # seconds since 1970
    method: str
    path: str            # with the query
    headers: list        # (name, value) as they came
    body: bytes = b""
    status: int = None   # None: no reply was sent, or none yet
    job: str = None      # the proxy's: whose port; the API's: the job that asked, from inside
    port: int = None
    connection: int = 0  # the number of the client's connection
    action: str = ""     # what the proxy did: forward, status:401, cut, ...
    fault: str = None    # the fault that hit it

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Requests:
    """hub.requests: a list that grows. len(), iteration and of() look at everything up to now."""

    proxy_log: object
    api: list = field(default_factory=list)
    connections: int = 0  # that were opened to the API, whether or not a request came on them
    numbers: dict = field(default_factory=dict)  # of the API's connections that are or were open, by their handler
    lock: threading.Lock = field(default_factory=threading.Lock)
    _offset: int = 0
    _proxy: list = field(default_factory=list)
    _open: dict = field(default_factory=dict)

    def add(self, request):
        with self.lock:
            self.api.append(request)
        return request

    def _read_proxy(self):
        try:
            with open(self.proxy_log, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[:data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            key = entry["connection"], entry["number"]
            if entry["kind"] == "request":
                request = Request("proxy", entry["at"] / 1000, entry["method"], entry["target"], [tuple(h) for h in entry["headers"]],
                                  job=entry["job"], port=entry["port"], connection=entry["connection"], action=entry["action"])
                self._open[key] = request
                self._proxy.append(request)
            elif key in self._open:
                self._open.pop(key).status = entry["status"]

    def all(self):
        with self.lock:
            self._read_proxy()
            return sorted(self.api + self._proxy, key=lambda r: r.at)

    def of(self, kind, method=None, path=None, job=None):
        """Of that kind, with that method, with that text in the path, for or from that job."""
        return [r for r in self.all() if r.kind == kind and (method is None or r.method == method) and (path is None or path in r.path)
                and (job is None or r.job == job)]

    def clear(self):
        with self.lock:
            self._read_proxy()
            self.api, self._proxy, self._open = [], [], {}

    def __len__(self):
        return len(self.all())

    def __iter__(self):
        return iter(self.all())
