"""What a pool does not believe and does not give away: hosts and lists of others, files that somebody planted, answers that make no sense, and the
creator's own token."""
# ctest: timeout=300
import json

import pytest
from localhub import Accounts


@pytest.mark.parametrize("off", [None, "pool-forward"])
def test_the_creators_token_does_not_get_in(hub, off):
    """With it every sandbox of the pool could be entered: token and nonce give the host's key."""
    out = hub.program.run("""
pool = pools.create(sbx.Client())
try:
    print(pool.sandbox(env=["HF_TOKEN=" + os.environ["HF_TOKEN"]]).run("echo $HF_TOKEN").out.decode())
except sbx.Error as error:
    print(error.name)
    assert os.environ["HF_TOKEN"] not in error.message
print(pool.sandbox(env=["HF_TOKEN=hf_another"]).run("echo $HF_TOKEN").out.decode())
""", off=off)
    assert out.split() == (["ERROR_INVALID", "hf_another"] if off is None else [hub.token, "hf_another"])


@pytest.mark.parametrize("off", [None, "initiator"])
def test_hosts_of_strangers(hub, off):
    """Labels are a claim: a host that another user has made gets no key of ours."""
    theirs = hub.program.start("""
pool = pools.create(sbx.Client(hub_namespace="acme"), name="p")
print("up", flush=True)
sys.stdin.readline()
""")
    assert theirs.stdout.readline() == "up\n"
    out = hub.program.run("""
client = sbx.Client(hub_namespace="acme", hub_token=sys.argv[1])
assert [row["name"] for row in pools.list_all(client)] == ["p"]
try:
    pools.connect(client, "p").sandbox(timeout_ms=5000)
except sbx.Error as error:
    print(error.name, error.message)
""", Accounts.BOB, off=off, HF_HOME="/nonexistent/home")
    assert out.startswith("ERROR_DENIED") == (off is None) and (off is not None or "another user has made it" in out), out
    keys = {r.header("x-sandbox-token") for r in hub.requests.of("proxy")} - {None}
    assert len(keys) == (1 if off is None else 2)  # its own owner's
    theirs.communicate("\n", timeout=60)


@pytest.mark.parametrize("off", [None, "pool-label"])
def test_a_hub_that_lists_too_much(hub, off):
    """What does not carry the pool's name is none of its hosts, whatever the query has brought."""
    hub.program.run("""
pool = pools.create(sbx.Client(), name="other", detached=1)
""")
    [other] = hub.jobs
    hub.fault("list", status=200, body=[other.as_json()])
    out = hub.program.run("""
pool = pools.create(sbx.Client(), name="p")
print(pool.info()["hosts"] and pool.info()["hosts"][0]["id"])
""", off=off)
    assert (out.strip() == other.id) == (off is not None)
    assert len(hub.jobs) == (2 if off is None else 1)


PLANTED = """
import glob
client = sbx.Client()
pool = pools.create(client, name="p", detached=1, warm=-1)
with pool.sandbox() as box: pass
pool.close(); client.close()
[path] = glob.glob(os.environ["HF_HOME"] + "/sandbox/pools/*/p.json")
cache = json.load(open(path))
assert os.stat(path).st_mode & 0o7777 == 0o600 and cache["version"] == 1 and cache["hosts"][0]["live"] >= 0
print(path)
"""


@pytest.mark.parametrize("off", [None, "pool-cache-url"])
def test_a_planted_cache(hub, off, tmp_path):
    """The file does not decide where keys are sent."""
    import http.server
    import threading
    keys = []

    class Thief(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            keys.append(self.headers.get("X-Sandbox-Token"))
            self.send_error(404)

        def log_message(self, *_):
            pass

    home = {"HF_HOME": str(tmp_path)}
    path = hub.program.run(PLANTED, **home).strip()
    cache = json.loads(open(path).read())
    with http.server.ThreadingHTTPServer(("127.0.0.2", 0), Thief) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cache["hosts"][0]["base_url"] = f"http://127.0.0.2:{server.server_port}/p/{cache['hosts'][0]['job_id']}--49983.hf.jobs"
        open(path, "w").write(json.dumps(cache))
        hub.program.run("""
try:
    with pools.connect(sbx.Client(), "p") as pool, pool.sandbox() as box: assert box.run("echo in").out == b"in\\n"
except sbx.Error as error:
    assert sys.argv[1] == "misled", error
""", "misled" if off else "", off=off, **home)
        server.shutdown()
    assert bool(keys) == (off is not None)
    assert len(hub.living()) == 1


@pytest.mark.parametrize("off", [None, "pool-cache-key"])
def test_another_accounts_cache(hub, off, tmp_path):
    """Hosts that one account remembers are no news to another: it neither asks them nor forgets them for the first."""
    home = {"HF_HOME": str(tmp_path)}
    hub.program.run(PLANTED, off=off, **home)
    before = len(hub.requests.of("proxy"))
    hub.program.run("""
try:
    pools.connect(sbx.Client(hub_token=sys.argv[1]), "p").sandbox(timeout_ms=20000)
    raise AssertionError("in")
except sbx.Error as error:
    assert error.code in (sbx.NOT_FOUND, sbx.AUTH), error
""", Accounts.MALLORY, off=off, **home)
    asked = len(hub.requests.of("proxy")) - before
    assert (asked == 0) == (off is None), asked
    listed = len(hub.requests.of("list"))
    hub.program.run("""
with pools.connect(sbx.Client(), "p") as pool, pool.sandbox() as box: assert box.run("echo in").out == b"in\\n"
""", **home)
    if off is None:
        assert len(hub.requests.of("list")) == listed  # it did not need the Hub


@pytest.mark.parametrize("off", [None, "pool-twice"])
def test_a_host_that_answers_nonsense(hub, off):
    """Nobody gets a sandbox that another one has, nor one whose name could be a path."""
    out = hub.program.run("""
import urllib.request
client = sbx.Client()
pool = pools.create(client, sandboxes_per_host=10)
boxes = [pool.sandbox()]
host, name = boxes[0].id.split(".")
def next_answer(body):
    fault = {"kind": "proxy", "method": "POST", "path": "/v1/sandboxes", "status": 200, "body": json.dumps(body), "count": 1}
    request = urllib.request.Request(os.environ["HF_ENDPOINT"] + "/_hub/faults", json.dumps(fault).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).read()
next_answer({"sandboxes": [{"id": name, "token": "x"}], "rejected": 0})
boxes.append(pool.sandbox())
print(len({box.id for box in boxes}))
for body in ({"sandboxes": [{"id": "../../x", "token": "x"}]}, {"sandboxes": [{"id": 7}]}, {"sandboxes": "x"}, {}):
    next_answer(body)
    boxes.append(pool.sandbox())
    assert boxes[-1].run("echo in").out == b"in\\n"
next_answer([1])
try:
    pool.sandbox()
    raise AssertionError("no answer")
except sbx.Error as error:
    assert error.code == sbx.PROTOCOL and "describes no sandboxes" in error.message, error
""", off=off)
    assert out.split() == (["2"] if off is None else ["1"])
    assert len(hub.jobs) == 1
