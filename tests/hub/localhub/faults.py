"""Faults: what goes wrong with certain requests, and how often.

    hub.fault("create", status=500, count=1)                     PROTOCOL 3: transient 500s on create occur in practice
    hub.fault("create", cut="after")                             acted upon, but the reply is lost (DESIGN 6)
    hub.fault("inspect", cut="before", skip=2, count=1)          the third one is cut before anything has happened
    hub.fault("*", status=503, rate=0.02)                        two in a hundred of all requests of the API
    hub.fault("proxy", cut="reply", bytes=1000, path="/files/")  the jobs proxy breaks off a reply's body
    hub.fault("create", status=500, acts=True)                   made, but the answer denies it
    hub.rate_limit("list", seconds=1, form="ratelimit")          PROTOCOL 2, http_backoff: 429 in its two forms

The first argument is a kind of request: harnesses, whoami, create, inspect, list, cancel, labels, expose, duplicate, hardware, logs, metrics,
telemetry, resolve, "*" for all of them, or proxy. Statuses carry a body and headers as PROTOCOL 2 (Errors) says.
"""
import itertools
import random
import urllib.parse
from dataclasses import dataclass, field

KINDS = ("harnesses", "whoami", "create", "inspect", "list", "cancel", "labels", "expose", "duplicate", "hardware", "logs", "metrics",
         "telemetry", "resolve")
CUTS = ("before", "after", "reply", "request")
_numbers = itertools.count(1)


@dataclass
class Fault:
    kind: str
    status: int = None
    cut: str = None          # before: nothing has happened; after: all has; reply, request: in the middle of a body (the proxy)
    hang: bool = False       # taken and never answered
    acts: bool = False       # the request has its effect before the status, or before it hangs (the API)
    late: float = 0.0        # with cut="before": it has its effect that much later, when nobody waits for it any more (the API)
    delay: float = 0.0       # seconds added to the reply
    bytes: int = 0           # of the body, before a cut in its middle
    orderly: bool = False    # a cut is an end of stream rather than a reset
    count: int = None        # so many requests; None = all
    skip: int = 0            # that many pass first
    rate: float = 1.0        # by chance, of those that match
    method: str = ""
    path: str = ""           # a part of the target
    job: str = ""
    port: int = 0
    headers: dict = field(default_factory=dict)
    body: object = None      # text, or an object that becomes JSON
    hits: int = 0            # of the API; for the proxy: hub.proxy.hits(fault)
    name: str = field(default_factory=lambda: f"fault-{next(_numbers)}")

    def __post_init__(self):
        if self.kind not in KINDS + ("*", "proxy"):
            raise ValueError(f"there is no kind of request {self.kind!r}")
        if self.cut not in CUTS + (None,) or (self.cut in ("reply", "request") and self.kind != "proxy"):
            raise ValueError(f"cut={self.cut!r} is not known here")
        if (self.acts or self.late) and self.kind == "proxy":
            raise ValueError("the proxy knows no acts and no late")
        if not (self.status or self.cut or self.hang or self.delay):
            raise ValueError("a fault without a status, a cut, a delay or hang=True does nothing")

    def matches(self, kind, request):
        return (self.kind in ("*", kind) and self.method in ("", request.method) and self.path in request.path_qs
                and self.job in request.path)

    def proxy_words(self):
        kind = ("status" if self.status else "hang" if self.hang else
                {"before": "cut", "after": "lose-reply", "reply": "cut-reply", "request": "cut-request"}.get(self.cut, "none"))
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        values = {"kind": kind, "status": self.status or 0, "delay_us": int(self.delay * 1e6), "bytes": self.bytes, "orderly": int(self.orderly),
                  "count": -1 if self.count is None else self.count, "skip": self.skip, "rate": self.rate, "method": self.method,
                  "path": self.path, "job": self.job, "port": self.port, "headers": urllib.parse.quote(headers),
                  "body": urllib.parse.quote(self.body or "")}
        return [f"{key}={value}" for key, value in values.items() if value not in ("", None)]


class Faults:
    """Those of the API; the proxy keeps its own."""

    def __init__(self, seed=1):
        self.list, self.random = [], random.Random(seed)

    def add(self, fault):
        self.list.append(fault)
        return fault

    def remove(self, name=None):
        self.list = [f for f in self.list if name is not None and f.name != name]

    def meet(self, kind, request):
        """The fault that hits this request, counted; or None."""
        for fault in self.list:
            if fault.count == 0 or not fault.matches(kind, request):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.rate < 1 and self.random.random() >= fault.rate:
                continue
            if fault.count is not None:
                fault.count -= 1
            fault.hits += 1
            return fault
        return None


def rate_limit_headers(remaining, seconds, form="both"):
    """PROTOCOL 2, http_backoff: what a client reads first is ratelimit, then an all-digit Retry-After."""
    headers = {}
    if form in ("ratelimit", "both"):
        headers |= {"ratelimit": f'"api";r={remaining};t={int(seconds)}', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}
    if form in ("retry-after", "both"):
        headers["Retry-After"] = str(int(seconds))
    return headers
