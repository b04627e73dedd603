"""The Hub's token: where it is looked for, who gets it, and that nobody else sees it or what is derived from it."""
# ctest: timeout=300
import hashlib
import hmac
import http.server
import json
import threading

import pytest
from agent import wait_until
from localhub import Accounts, Hub

SECRET = "geheim-7f3a9c1e5b"
TRY = """
def told(call, *args, **options):
    try:
        return call(*args, **options)
    except sbx.Error as error:
        print(f"{error.name}: {error.message}")
"""


class Recorder:
    """A server that notes what it is sent, and answers as it is told."""

    def __init__(self, status=200, headers=(), body=b"{}"):
        self.seen, self.connections = [], 0
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                recorder.connections += 1
                super().setup()

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                recorder.seen.append((self.command, self.path, dict(self.headers)))
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def key_of(job, token):
    return hmac.new(token.encode(), f"hf-sandbox:{job.labels['hf-sandbox-nonce']}".encode(), hashlib.sha256).hexdigest()


def bearer(request):
    return (request.header("authorization") or "").removeprefix("Bearer ")


# ---- Where it is looked for (PROTOCOL 1)

@pytest.fixture
def home(tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(f"  {Accounts.ALICE}\n")
    (tmp_path / "elsewhere").write_text(Accounts.ALICE_OTHER)
    (tmp_path / "cache" / "huggingface").mkdir(parents=True)
    (tmp_path / "cache" / "huggingface" / "token").write_text(Accounts.BOB)
    return tmp_path


A, O, B, R = Accounts.ALICE, Accounts.ALICE_OTHER, Accounts.BOB, Accounts.ALICE_READ
LOOKUPS = {
    "option": ({"HF_TOKEN": B}, f"hub_token={O!r}", O),
    "variable": ({"HF_TOKEN": O, "HUGGING_FACE_HUB_TOKEN": B}, "", O),
    "old variable": ({"HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": B}, "", B),
    "white space around": ({"HF_TOKEN": f" \t{O}\r\n"}, "", O),
    "line breaks inside": ({"HF_TOKEN": O[:9] + "\n" + O[9:]}, "", O),
    "home": ({}, "", A),
    "path": ({"HF_TOKEN_PATH": "HOME/elsewhere"}, "", O),
    "path with variables": ({"HF_TOKEN_PATH": "$PLACE/elsewhere", "PLACE": "HOME"}, "", O),
    "path with ~": ({"HF_TOKEN_PATH": "~/elsewhere", "HOME": "HOME"}, "", O),
    "cache": ({"HF_HOME": None, "XDG_CACHE_HOME": "HOME/cache"}, "", B),
    "only white space": ({"HF_TOKEN": " \n "}, "", A),
}


@pytest.mark.parametrize("how", LOOKUPS)
def test_lookup(shared, home, how):
    """The Hub sees which one it was."""
    variables, option, expected = LOOKUPS[how]
    env = {"HF_TOKEN": None, "HF_HOME": str(home / "hf"), **variables}
    env = {name: value and value.replace("HOME", str(home)) for name, value in env.items()}
    shared.requests.clear()
    shared.program.run(f"print(sbx.Client({option}).info()['user'])", **env)
    assert {bearer(r) for r in shared.requests.of("whoami")} == {expected}


REFUSED = {
    "none": ({"HF_HOME": "/nonexistent"}, "AUTH", "HF_TOKEN"),
    "implicit ones forbidden": ({"HF_TOKEN": A, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "yes"}, "AUTH", "HF_HUB_DISABLE_IMPLICIT_TOKEN"),
    "oidc": ({"HF_TOKEN": A, "HF_OIDC_RESOURCE": "x"}, "UNSUPPORTED", "HF_OIDC_RESOURCE"),
    "a space inside": ({"HF_TOKEN": A[:9] + " " + A[9:]}, "INVALID", "HF_TOKEN"),
    "a control character": ({"HF_TOKEN": A + "\x01x"}, "INVALID", "HF_TOKEN"),
    "no ascii": ({"HF_TOKEN": A + "é"}, "INVALID", "HF_TOKEN"),
    "clear text": ({"HF_TOKEN": A, "HF_ENDPOINT": "http://hub.example"}, "INVALID", "clear text"),
    "a password": ({"HF_TOKEN": A, "HF_ENDPOINT": f"https://user:{SECRET}@hub.example"}, "INVALID", "user and password"),
    "another header": ({"HF_TOKEN": A, "HF_ENDPOINT": "https://hub.example\r\nX: y"}, "INVALID", "HF_ENDPOINT"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_refused_before_anything_is_sent(shared, how):
    env, code, words = REFUSED[how]
    before, connections = len(shared.requests), shared.requests.connections
    out = shared.program.run(TRY + "told(sbx.Client)", **{"HF_TOKEN": None, **env})
    assert out.startswith(f"ERROR_{code}: ") and words in out and A not in out and A[9:] not in out and SECRET not in out, out
    assert len(shared.requests) == before and shared.requests.connections == connections


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline(shared, variable):
    connections = shared.requests.connections
    out = shared.program.run(TRY + "client = sbx.Client()\nfor call in (client.create, client.info, client.list, client.hardware): told(call)",
                             **{variable: "1"})
    assert out.count("ERROR_CONNECTION") == 4 and out.count("offline") == 4, out
    assert shared.requests.connections == connections


BAD_WORDS = {"id": "client.connect(BAD)", "id to kill": "client.kill(BAD)", "namespace": "client.create(hub_namespace=BAD)",
             "namespace of a list": "client.list(hub_namespace=BAD)", "client's namespace": "sbx.Client(hub_namespace=BAD).create()",
             "label": "client.create(labels=[BAD])", "label's value": "client.create(labels=['a=' + BAD])",
             "label of a list": "client.list(labels=['a=' + BAD])", "image": "client.create(image=BAD)", "flavor": "client.create(flavor=BAD)",
             "key": "client.create(client_key=BAD)", "token": "sbx.Client(hub_token=BAD).info()",
             "volume": "client.create(volumes=['hf://buckets/a/' + BAD + ':/x'])"}


@pytest.mark.parametrize("where", BAD_WORDS)
def test_lines_and_control_bytes(shared, where):
    """Nothing of them gets into a request: the call is refused before anything is sent."""
    before, connections = len(shared.requests), shared.requests.connections
    out = shared.program.run(f"""
client = sbx.Client()
for BAD in ("x\\r\\nX-Injected: 1", "x\\n", "\\x01x", "x\\x7f", "a b", "x\\t"):
    try:
        {BAD_WORDS[where]}
    except sbx.Error as error:
        assert error.code in (sbx.INVALID, sbx.NOT_FOUND) and error.http_status == 0, error
    else:
        raise AssertionError(repr(BAD))
""")
    assert len(shared.requests) == before and shared.requests.connections == connections, out


# ---- Who gets it

@pytest.fixture(scope="module")
def shared():
    from conftest import Program
    with Hub() as hub:
        hub.program = Program(hub)
        yield hub


def test_each_header_goes_where_it_belongs(either_hub):
    """The Hub's token: to the Hub and to the proxy. The sandbox's key: to the proxy alone. Telemetry gets neither."""
    hub = either_hub
    hub.program.run("""
client = sbx.Client()
box = client.create(ports=[8000])
box.run("true"); box.write("/tmp/a", b"x"); list(box.start("echo hi")); client.list(); client.hardware()
box.kill()
client.close()
""")
    job, seen = hub.jobs.last(), hub.requests.all()
    proxied = [r for r in seen if r.kind == "proxy"]
    assert len(proxied) > 3 and {bearer(r) for r in proxied} == {hub.token}
    assert {r.header("x-sandbox-token") for r in proxied} == {key_of(job, hub.token)}
    for request in seen:
        if request.kind == "telemetry":
            assert request.header("authorization") is None and request.header("cookie") is None
        elif request.kind != "proxy":
            assert request.header("x-sandbox-token") is None
    assert len([r for r in seen if r.kind == "telemetry"]) == 2
    assert all(hub.token not in f"{r.path}{r.body}" for r in seen), "not in a target, and in no body"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(shared, status):
    with Recorder() as elsewhere:
        there = {"Location": elsewhere.url + "/stolen"}
        for kind in ("whoami", "create", "list", "hardware"):
            shared.fault(kind, status=status, headers=there)
        out = shared.program.run(TRY + """
client = sbx.Client()
for call in (client.info, client.create, client.list, client.hardware): told(call)
""")
        shared.clear_faults()
        assert out.count(f"redirect ({status})") == 4, out
        shared.fault("proxy", status=status, headers=there, path="/v1/")
        out = shared.program.run(TRY + """
box = sbx.Client().create()
told(box.run, "true"); told(box.read, "/etc/passwd"); told(box.write, "/tmp/x", b"x"); told(box.info)
""")
        shared.clear_faults()
        assert out.count(f"redirect ({status})") == 4, out
        assert elsewhere.seen == [] and elsewhere.connections == 0
    assert not shared.jobs.running()


@pytest.mark.parametrize("form", ["host", "other job", "none of ours"])
def test_a_foreign_address_gets_nothing(hub, form):
    """The Hub names an address that is not the job's: it is not even connected to, and the job is ended."""
    with Recorder(body=b'{"status":"ok","features":[]}') as evil:
        def port_url(job, port):
            name = job.id if form == "host" else "0" * 24
            host = f"http://{name}--{port}.hf.jobs@127.0.0.1:{evil.server.server_port}" if form == "host" else evil.url
            return host + f"/p/{name}--{port}.hf.jobs" if form != "none of ours" else f"{evil.url}/x/--{port}.hf.jobs"
        hub.port_url = port_url
        out = hub.program.run(TRY + "told(sbx.Client().create)")
        assert "ERROR_PROTOCOL" in out and "gets no token" in out, out
        assert evil.seen == [] and evil.connections == 0
    wait_until(lambda: not hub.jobs.running(), what="the end of the job")


def test_the_recorder_records(hub):
    """The control of the two tests above: an address that counts as the job's gets both headers."""
    with Recorder(body=b'{"status":"ok","features":["keys","frames","process","files"]}') as place:
        hub.port_url = lambda job, port: f"{place.url}/p/{job.id}--{port}.hf.jobs"
        hub.program.run("sbx.Client().create().kill()")
        [(method, path, headers), *_] = place.seen
        assert path.endswith("/health") and headers["Authorization"] == f"Bearer {hub.token}"
        assert headers["X-Sandbox-Token"] == key_of(hub.jobs.last(), hub.token)


def test_forwarding(shared):
    """Off: no command finds the token. On: in HF_TOKEN and nowhere else. The key of the sandbox is never there."""
    look = """
box = sbx.Client().create(forward_hf_token=int(sys.argv[1]), secrets=["S=%s"])
print(json.dumps([box.run("env").out.decode(), box.run("cat /proc/self/environ /proc/*/cmdline /proc/1/environ").out.decode("latin-1")]))
""" % SECRET
    for forward in (0, 1):
        env, machine = json.loads(shared.program.run(look, forward))
        job, lines = shared.jobs.last(), env.splitlines()
        assert [line for line in lines if shared.token in line] == ([f"HF_TOKEN={shared.token}"] if forward else [])
        assert f"S={SECRET}" in lines and not any(line.startswith(("SBX_TOKEN", "HFSANDBOX_AGENT_PAYLOAD")) for line in lines)
        assert key_of(job, shared.token) not in env + machine
        assert forward or shared.token not in machine
        assert ("HF_TOKEN" in job.secrets) == bool(forward) and "HF_TOKEN" not in job.environment


# ---- Nobody else sees it

LOGGED = TRY + """
events = []
@sbx.LOG_HOOK
def hook(user, level, event, fields, count):
    events.append([event.decode()] + [fields[i].name + b"=" + (fields[i].value or b"") for i in range(count)])
client = sbx.Client(log=hook, log_level=0)
boxes = []
def show():  # and let nothing call the hook any more
    for box in boxes:
        box.close()
    client.close()
    print(events)
def make(**options):
    boxes.append(client.create(secrets=["S=%s"], **options))
    return boxes[-1]
""" % SECRET

ECHO = "{token} and {key} and {secret}"
PROVOKED = {
    "wrong token": ("", "told(make)", {"HF_TOKEN": Accounts.UNKNOWN}),
    "no access": ("", "told(make, hub_namespace='mallory')", {}),
    "an answer that repeats them": ("create", "told(make)", {}),
    "whoami that repeats them": ("whoami", "told(make)", {}),
    "an agent that repeats them": ("proxy", "box = make()\ntold(box.run, 'true'); told(box.read, '/x'); told(box.write, '/x', b'y')", {}),
    "use": ("", "box = make(); box.run('env'); print(box.info()); print(box.id); box.kill()", {}),
    "lists": ("", "b = make(); print(client.list(), client.info(), client.hardware()); b.kill()", {}),
    "a redirect": ("redirect", "told(make)", {}),
}


@pytest.mark.parametrize("how", PROVOKED)
def test_secrets_are_in_nothing_that_is_shown(hub, how):
    fault, text, env = PROVOKED[how]
    token = env.get("HF_TOKEN", hub.token)
    long = "x" * 180 + " " + token + " " + "y" * 50 + token + SECRET  # cut in the middle of it, somewhere
    for kind, status in (("create", 400), ("whoami", 401)):
        if fault == kind:
            hub.fault(kind, status=status, body={"error": long, "errors": [{"message": f"{SECRET} {token}"}], "message": token},
                      headers={"X-Error-Message": "z" * 230 + token, "X-Request-Id": token})
    if fault == "proxy":
        hub.fault("proxy", status=400, path="/v1/", body=json.dumps({"error": "a" * 430 + token, "code": "invalid"}))
    if fault == "redirect":
        hub.fault("create", status=307, headers={"Location": f"https://x/{token}", "X-Request-Id": token})
    process = hub.program.start(LOGGED + text + "\nshow()", **env)
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:
        assert token.encode() not in file.read()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    keys = [key_of(job, token) for job in hub.jobs]
    shown = out + err
    for secret in (token, SECRET, *keys):
        for part in (secret, secret[:12], secret[-12:]):
            assert part not in shown, shown
    assert "[[" in out and ("ERROR_" in out) == ("told" in text), out
    told = [f"{r.method} {r.path} {r.headers} {r.body}" for r in hub.requests.of("telemetry")]
    assert not any(secret in line for line in told for secret in (token, SECRET, "alice", "python:3.12", *keys))


def test_a_job_that_prints_its_secrets(hub):
    """The last lines of its log are in the error, without them."""
    hub.next_jobs(1, fail_at="boot", boot_delay=1.0, fail_message=f"Reason: {hub.token} harmless-reason")
    maker = hub.program.start(LOGGED + "told(make)\nshow()")
    wait_until(lambda: hub.jobs.running(), timeout=60, what="the job")
    job = hub.jobs.last()
    key = key_of(job, hub.token)
    for line in (f"token {hub.token}", f"key {key}", "x" * 150 + hub.token, SECRET, "harmless-words"):
        hub.loop.call_soon_threadsafe(job._add_line, line)
    out, err = maker.communicate(timeout=60)
    assert maker.returncode == 0, err
    assert "ERROR_AGENT" in out and "harmless-words" in out and "harmless-reason" in out and "***" in out, out
    for secret in (hub.token, key, SECRET):
        assert secret not in out and secret[:12] not in out and secret[-12:] not in out, out


def test_no_process_is_started(hub):
    """Whose arguments or environment could show something."""
    out = hub.program.run("""
box = sbx.Client().create(secrets=["S=%s"])
print(len(sbx.children()))
""" % SECRET)
    assert out.strip() == "0"
