"""The dials: everything about the local Hub that a test can turn, with the place of PROTOCOL that it imitates.

    Hub(scheduling_delay=2, rtt=0.1)                    for all jobs of this Hub
    hub.dials.set(unready=404)                          from now on
    hub.next_jobs(1, fail_at="scheduling")              for the next job that is created
    hub.jobs[id].dial(rtt=0.2)                          for one job
    hub.fault("create", status=503, count=2)            for the next two requests of that kind; see faults.py
"""
from dataclasses import MISSING, dataclass, field, fields, replace


def dial(default, where, meaning, choices=None):
    return field(default=default, metadata={"where": where, "meaning": meaning, "choices": choices})


STATUS = (400, 401, 403, 404, 410, 500, 502, 503, 504)


@dataclass
class Dials:
    # -- a job's way
    scheduling_delay: float = dial(0.02, "PROTOCOL 3, stages", "seconds in SCHEDULING; float('inf') stays there")
    boot_delay: float = dial(0.0, "PROTOCOL 3, Jobs proxy: status before readiness is undocumented [?]",
                             "seconds in RUNNING before the command starts")
    fail_at: str = dial(None, "PROTOCOL 3, stages; 4, Bootstrap",
                        "where the job ends by itself: in SCHEDULING, in RUNNING before its command, or after it (see die_after)",
                        (None, "scheduling", "boot", "running"))
    fail_stage: str = dial("ERROR", "PROTOCOL 3, stages", "the stage that it ends in", ("ERROR", "CANCELED", "DELETED", "COMPLETED"))
    fail_message: str = dial("Job failed with exit code: 1. Reason: Error", "PROTOCOL 3, Job object: status.message", "and what it says")
    die_after: float = dial(1.0, "PROTOCOL 3, Jobs proxy: terminal stage", "seconds from the command's start to the death of fail_at=running")
    default_timeout: int = dial(1800, "PROTOCOL 3, Create: timeoutSeconds, server default 30 min", "seconds")
    max_timeout: int = dial(None, "PROTOCOL 12: maximum timeoutSeconds is unknown [?]", "more is refused with 400; None accepts all")
    timeout_stage: str = dial("ERROR", "PROTOCOL 11.10 and 12: stage on server-side timeout is unverified [?]", "where a timeout leads",
                              ("ERROR", "CANCELED", "COMPLETED"))
    timeout_message: str = dial("Job timeout", "PROTOCOL 11.10 [?]", "and what it says")
    cancel_grace: float = dial(0.5, "PROTOCOL 3, cancel [?]", "seconds between SIGTERM and SIGKILL; the stage is CANCELED at once")
    cancel_delay: float = dial(0.0, "PROTOCOL 3, cancel [?]", "seconds in which a canceled job still shows its old stage")
    # -- what the API says
    expose_form: str = dial("auto", "PROTOCOL 3, Jobs proxy: paths work as hosts; Gen2 pools require https and a host name [?]",
                            "exposeUrls as host names, or as paths of one address; auto: names with TLS", ("auto", "host", "path"))
    expose_urls: bool = dial(True, "PROTOCOL 3, Job object: absence of exposeUrls makes the client cancel", "whether they are there at all")
    list_environment: bool = dial(True, "PROTOCOL 3, Job object: list may omit environment", "whether lists carry it")
    label_dots: bool = dial(True, "PROTOCOL 3, Labels: docs allow '.', the service has rejected it [?]", "whether '.' in a label's value passes")
    page_size: int = dial(100, "PROTOCOL 2, Pagination", "jobs on one page")
    logs_end: str = dial("close", "PROTOCOL 3, logs: an emulator should close after the backlog once finished",
                         "stay: the stream of a finished job stays open, as without that advice", ("close", "stay"))
    keep_alive: float = dial(30.0, "PROTOCOL 3, logs: comment ': keep-alive' every 30 s", "seconds")
    metrics_period: float = dial(1.0, "PROTOCOL 3, metrics: at 1 Hz", "seconds")
    metrics_after_end: int = dial(500, "PROTOCOL 3, metrics: 500 once the job has finished; newer clients know 406 [?]", "status",
                                  (500, 406, 200))
    ratelimit_headers: bool = dial(True, "PROTOCOL 2, http_backoff: ratelimit and ratelimit-policy", "on every reply of the API")
    clock_ahead: float = dial(0.0, "PROTOCOL 3, Job object: createdAt, startedAt are the Hub's times", "seconds by which the Hub's clock is ahead "
                              "of this computer's, in all times that it tells and in Date")
    # -- sizes
    max_request: int = dial(None, "DESIGN 2: the Hub may refuse the size", "bytes of a create request; more is 413")
    max_secret: int = dial(None, "DESIGN 2: the agent travels as a secret [?]", "bytes of one secret; more is 400")
    max_env: int = dial(None, "DESIGN 2 [?]", "bytes of one value of environment; more is 400")
    # -- the proxy
    rtt: float = dial(0.0, "PROTOCOL 3, Jobs proxy: about 100 ms", "seconds that a request and its reply take on the way, together; "
                      "a new connection costs one more, with TLS two")
    window: int = dial(0, "PROTOCOL 3, Jobs proxy: about 2 MiB/s a stream at 100 ms", "most bytes on their way in one direction: "
                       "105000 makes that rate; 0 = no limit that is felt")
    unready: object = dial(502, "PROTOCOL 3, Jobs proxy: status before readiness is undocumented [?]",
                           "the answer while nothing listens: a status, 'refuse' (the connection breaks) or 'hang'",
                           (404, 500, 502, 503, 504, "refuse", "hang"))
    gone: int = dial(404, "PROTOCOL 3, Jobs proxy [?]", "the answer for a job that has ended or never was", STATUS)
    no_token: int = dial(401, "PROTOCOL 3, Jobs proxy: else 401", "without a token, or with one that nobody knows", STATUS)
    no_access: int = dial(403, "PROTOCOL 3, Jobs proxy: 403 without access [?]", "with a token that may not read the namespace", STATUS)
    no_port: int = dial(404, "PROTOCOL 3, Create: expose [?]", "for a port that is not exposed", STATUS)
    reuse: bool = dial(True, "PROTOCOL 12: upstream connection reuse is unknown [?]",
                       "connections to the job serve several requests, also of different clients")
    max_body: int = dial(0, "PROTOCOL 5: file bodies unlimited; a proxy may limit them [?]", "bytes of a proxied request; more is 413; 0 = any")

    PROXY = ("rtt", "window", "unready", "gone", "no_token", "no_access", "no_port", "reuse", "max_body")

    def set(self, **values):
        known = {f.name: f for f in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"there is no dial {name!r}")
            choices = known[name].metadata["choices"]
            if choices is not None and value not in choices:
                raise ValueError(f"{name}={value!r}: it may be one of {choices}")
            setattr(self, name, value)
        return self

    def with_(self, **values):
        return replace(self).set(**values)

    def proxy_words(self):
        """The proxy's own settings, as its commands name them (proxy_control.c)."""
        unready = {"refuse": 0, "hang": 1}.get(self.unready, self.unready)
        return [f"rtt_us={int(self.rtt * 1e6)}", f"window={self.window}", f"unready={unready}", f"gone={self.gone}", f"no_token={self.no_token}",
                f"no_access={self.no_access}", f"no_port={self.no_port}", f"reuse={int(self.reuse)}", f"max_body={self.max_body}"]

    def as_json(self):
        return {f.name: str(v) if (v := getattr(self, f.name)) == float("inf") else v for f in fields(self)}


def describe():
    """All dials as text, for README and the command line."""
    lines = []
    for f in fields(Dials):
        choices = f.metadata["choices"]
        lines.append(f"{f.name} = {f.default!r}" + (f"   one of {', '.join(map(str, choices))}" if choices else ""))
        lines.append(f"    {f.metadata['meaning']}  ({f.metadata['where']})")
    return "\n".join(lines)


assert all(f.default is not MISSING for f in fields(Dials))
