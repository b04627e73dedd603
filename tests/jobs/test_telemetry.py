"""What the Hub is told about the use of the library (PROTOCOL 6): two events for each sandbox that was made, and nothing where that is unwanted."""
# ctest: timeout=300
import re
import socket
import threading
import time

import pytest
import sbx
from agent import wait_until
from localhub import Hub

LIFE = """
with sbx.Client() as client, client.create(lifetime_ms=3600000) as box:
    box.run("echo geheim-7f3a9c"); box.write("/tmp/geheim-7f3a9c", b"geheim-7f3a9c")
    box.kill()
"""
SILENT = [{"HF_HUB_DISABLE_TELEMETRY": "1"}, {"DISABLE_TELEMETRY": "yes"}, {"DO_NOT_TRACK": "ON"}, {"HF_HUB_DISABLE_TELEMETRY": "true"}]
HEADERS = {"host", "accept", "user-agent"}


def fields(request):
    first, *rest = request.header("user-agent").split("; ")
    assert re.fullmatch(r"hfsandbox/\d+\.\d+\.\d+", first)
    return dict(item.split("/", 1) for item in rest)


def told(hub):
    return hub.requests.of("telemetry")


def test_two_events(either_hub):
    hub = either_hub
    hub.program.run(LIFE)
    created, ended = told(hub)
    assert [(r.method, r.path, r.body) for r in (created, ended)] == [("HEAD", "/api/telemetry/hfsandbox/create", b""),
                                                                      ("HEAD", "/api/telemetry/hfsandbox/terminate", b"")]
    for request in (created, ended):
        names = [name.lower() for name, _ in request.headers]
        assert set(names) <= HEADERS and len(names) == len(set(names)), request.headers
    session = fields(created)["session_id"]
    assert re.fullmatch("[0-9a-f]{32}", session)
    assert fields(created) == {"session_id": session, "flavor": "cpu-basic", "timeout": "3600s", "forward_hf_token": "False"}
    duration = fields(ended)["duration_s"]
    assert duration.isdigit() and int(duration) < 60
    assert fields(ended) == {"session_id": session, "duration_s": duration, "reason": "user"}
    job = hub.jobs.last()
    assert session not in str(job.labels) and job.id not in f"{created.headers}{ended.headers}"


def test_options_are_told_as_they_are(hub):
    hub.program.run("sbx.Client().create(flavor='cpu-upgrade', forward_hf_token=1, secrets=['S=geheim-7f3a9c']).kill()")
    created, _ = told(hub)
    assert fields(created)["flavor"] == "cpu-upgrade" and fields(created)["forward_hf_token"] == "True"
    assert fields(created)["timeout"] == "86400s"


def test_reasons_and_sessions(hub):
    """Each sandbox is a session of its own; what the program's end has ended says so."""
    hub.program.run("""
client = sbx.Client()
boxes = [client.create() for _ in range(3)]
boxes[0].kill()
boxes[1].close()
boxes[2].kill(); boxes[2].kill()
last = client.create()
import ctypes
ctypes.CDLL(None).exit(0)
""")
    wait_until(lambda: len(told(hub)) == 8, what="the last event")
    created = [fields(r)["session_id"] for r in told(hub) if r.path.endswith("/create")]
    ended = {fields(r)["session_id"]: fields(r)["reason"] for r in told(hub) if r.path.endswith("/terminate")}
    assert len(set(created)) == 4 and [ended[s] for s in created] == ["user", "user", "user", "atexit"]


def test_what_was_not_made_is_not_told(hub):
    hub.fault("create", status=400)
    hub.program.run("""
try:
    sbx.Client().create()
except sbx.Error:
    pass
""")
    hub.clear_faults()
    maker = hub.program.run("print(sbx.Client().create(detached=1).id)").strip()
    before = len(told(hub))
    hub.program.run("box = sbx.Client().connect(sys.argv[1]); box.run('true'); box.close(); sbx.Client().list()", maker)
    assert len(told(hub)) == before == 1


# ---- Never in the way

@pytest.mark.parametrize("how", [{"hang": True}, {"status": 500}, {"status": 404}, {"cut": "before"}, {"cut": "after"}, {"delay": 30}])
def test_a_hub_that_does_not_want_it(hub, how):
    """No call waits for it, and the program's end little: a telemetry that is waited for would take 3 seconds and more."""
    hub.fault("telemetry", **how)
    out = hub.program.run("""
begin = time.monotonic()
client = sbx.Client()
box = client.create()
box.run("true"); box.kill(); box.close()
used = time.monotonic()
client.close()
print(used - begin, time.monotonic() - used)
""")
    used, end = map(float, out.split())
    assert end < 1.5 and used < 30, (used, end)
    assert len(told(hub)) >= 1


def test_the_programs_end_does_not_wait_either(hub):
    hub.fault("telemetry", hang=True)
    out = hub.program.run("""
client = sbx.Client()
client.create().kill()
import atexit, ctypes
print(time.time(), flush=True)
ctypes.CDLL(None).exit(0)
""")
    assert time.time() - float(out) < 3


# ---- Silence

@pytest.mark.parametrize("env", SILENT, ids=lambda env: "=".join(*env.items()))
def test_silence(hub, env):
    """The connections and requests are those of the calls alone: the same as with the option, byte by byte but for what is random."""
    def trace(options="", **env):
        requests, connections = len(hub.requests), hub.requests.connections
        hub.program.run(LIFE.replace("sbx.Client()", f"sbx.Client({options})"), **env)
        found = [r for r in list(hub.requests)[requests:] if r.kind != "proxy"]
        return sorted({(r.method, re.sub("[0-9a-f]{24}", "ID", r.path), tuple(sorted(name.lower() for name, _ in r.headers))) for r in found}), \
            hub.requests.connections - connections

    silent, connections = trace(**env)
    assert not told(hub) and (silent, connections) == trace("no_telemetry=1") and not told(hub)
    loud, more = trace()
    assert len(told(hub)) == 2 and more > connections
    assert {path for _, path, _ in loud} - {path for _, path, _ in silent} == {f"/api/telemetry/hfsandbox/{e}" for e in ("create", "terminate")}
    assert all("geheim" not in f"{r.path}{r.headers}{r.body}" for r in told(hub))


@pytest.mark.parametrize("env", [{}, {"HF_HUB_DISABLE_TELEMETRY": "1"}])
def test_info_says_whether(hub, env):
    assert hub.program.run("print(sbx.Client().info()['telemetry'])", **env).strip() == str(not env)
    assert hub.program.run("print(sbx.Client(no_telemetry=1).info()['telemetry'])", **env).strip() == "False"


class Listener:
    """Counts connections to where the Hub is said to be."""

    def __init__(self):
        self.socket, self.connections = socket.create_server(("127.0.0.1", 0)), 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                self.socket.accept()[0].close()
            except OSError:
                return
            self.connections += 1

    def env(self):
        return {"HF_ENDPOINT": f"http://127.0.0.1:{self.socket.getsockname()[1]}", "HF_TOKEN": "hf_x" * 9}


@pytest.mark.parametrize("provider", ["local", "jobs"])
def test_local_sandboxes_tell_nobody(provider):
    """Not one connection, with a token and an endpoint lying around. The control: the same listener as the Hub of jobs."""
    listener = Listener()
    sbx.script("""
import sys, sbx
try:
    with sbx.Client(provider=sys.argv[1]) as client, client.create() as box:
        assert box.run("echo hi").out == b"hi\\n"
        box.write("a", b"x"); client.info(); client.list(); client.reap(); box.kill()
    with sbx.Client(provider=sys.argv[1]) as client:
        left = client.create()
        client.kill(client.create(detached=1).id)
        sys.exit(0)
except sbx.Error as error:
    assert sys.argv[1] == "jobs", error
""", provider, env={**listener.env(), "HFSANDBOX_PROVIDER": None})
    assert (listener.connections > 0) == (provider == "jobs")
    listener.socket.close()


def test_the_hub_sees_offline_programs_not_at_all(hub):
    connections = hub.requests.connections
    hub.program.run("""
try:
    sbx.Client().create()
    raise AssertionError
except sbx.Error:
    pass
""", HF_HUB_OFFLINE="1")
    assert hub.requests.connections == connections and isinstance(hub, Hub)
