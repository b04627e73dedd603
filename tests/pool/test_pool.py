"""A pool does what it is for: sandboxes over several hosts, found by name from another program, as many hosts as are needed and no more, and
nothing is left of it."""
# ctest: timeout=300
import json

import pytest
from agent import wait_until
from localhub import Accounts

TWO_HOSTS = """
client = sbx.Client()
pool = pools.create(client, name="p", sandboxes_per_host=3, max_hosts=2)
boxes = [pool.sandbox(env=[f"N={n}"]) for n in range(6)]
"""


def test_over_two_hosts(hub):
    out = hub.program.run(TWO_HOSTS + """
assert len({box.id for box in boxes}) == 6 and len({box.id.split(".")[0] for box in boxes}) == 2
for n, box in enumerate(boxes):
    result = box.run("echo $N; id -u; cat; exit 3", input=b"in")
    assert result.code == 3 and result.out.split()[0] == b"%d" % n and int(result.out.split()[1]) >= 20000 and result.out.endswith(b"in")
    box.write("data", b"%d" % n * 100000)
    box.mkdir("d/e")
    assert box.stat("data").size == 100000 and {e.name for e in box.list(".")} >= {b"data", b"d"}
    box.rename("data", "d/data")
assert [box.read("d/data")[:1] for box in boxes] == [b"%d" % n for n in range(6)]
process = boxes[0].start("echo first; cat", input_open=1)
process.input(b"second", end=1)
assert b"".join(data for _, data in process) == b"first\\nsecond"
process.close()
process = boxes[0].start("sleep 1000", background=1)
assert process.kill() >= 1
process.close()
assert boxes[1].info()["id"] == boxes[1].id and boxes[1].info()["pool"] == "p" and boxes[1].info()["mode"] == "host"
info = pool.info()
assert (info["name"], info["sandboxes"], info["sandboxes_per_host"], info["max_hosts"]) == ("p", 6, 3, 2), info
assert [(h["sandboxes"], h["capacity"], h["ours"], h["stage"]) for h in info["hosts"]] == [(3, 3, True, "RUNNING")] * 2, info
assert all("Landlock" in h["isolation"] and 0 <= h["age_ms"] < 60000 for h in info["hosts"]), info
rows = pool.sandboxes()
assert {row["id"] for row in rows} == {box.id for box in boxes} and all(row["pool"] == "p" and not row["detached"] for row in rows), rows
[row] = pools.list_all(client)
assert (row["name"], row["hosts"], row["sandboxes_per_host"], row["image"]) == ("p", 2, 3, "python:3.12"), row
assert client.list() == []  # hosts are no sandboxes
try:
    pool.sandbox()
    raise AssertionError("a seventh")
except sbx.Error as error:
    assert error.code == sbx.BUSY and "2 of at most 2 hosts" in error.message, error
boxes[4].kill()
boxes[4].kill()
try:
    boxes[4].run("true")
    raise AssertionError("it has ended")
except sbx.Error as error:
    assert error.code == sbx.AGENT and boxes[4].id in error.message, error
again = pool.sandbox()
assert again.id.split(".")[0] == boxes[4].id.split(".")[0]
for box in [*boxes, again]: box.close()
until = time.monotonic() + 10
while pool.info()["sandboxes"] > 0 and time.monotonic() < until: time.sleep(0.01)
assert pool.info()["sandboxes"] == 0
pool.close(); client.close()
""")
    assert out == ""
    assert len(hub.jobs) == 2
    wait_until(lambda: not hub.living(), what="the end of the hosts")


def test_what_a_host_is(hub):
    hub.program.run("""
pool = pools.create(sbx.Client(), name="q", sandboxes_per_host=7, max_hosts=9, idle_timeout_ms=90500, image="debian:12", flavor="cpu-upgrade")
""")
    [job] = hub.jobs
    assert job.labels.items() >= {"hf-sandbox": "1", "hf-sandbox-mode": "pool", "hf-sandbox-pool": "q"}.items()
    assert len(job.labels["hf-sandbox-nonce"]) == 32
    assert job.environment.items() >= {"SBX_HOST_MODE": "1", "SBX_CAPACITY": "7", "SBX_MAX_HOSTS": "9", "SBX_IDLE_TIMEOUT": "91"}.items()
    assert "HF_TOKEN" not in job.secrets and hub.token not in json.dumps([job.environment, job.secrets])
    assert not [path for path in hub.directory.glob("**/sandbox/pools/*/*")], "an attached pool leaves no files"
    assert job.request["dockerImage"] == "debian:12" and job.request["flavor"] == "cpu-upgrade" and job.request["timeoutSeconds"] == 86400
    wait_until(lambda: not hub.living(), what="the end of the host")  # its program has ended


def test_from_another_program(hub):
    """By the pool's name, and by the sandboxes' ids; leaving it there ends nothing."""
    one = hub.program.start(TWO_HOSTS + """
boxes[0].write("a", b"by one")
print(json.dumps([box.id for box in boxes]), flush=True)
sys.stdin.readline()
try:
    boxes[1].run("true")
    raise AssertionError("it was killed")
except sbx.Error as error:
    assert error.code == sbx.AGENT and "has ended" in error.message, error
assert boxes[0].read("b") == b"by two"
""")
    ids = json.loads(one.stdout.readline())
    for cached in (True, False):  # with what the first one has left in $HF_HOME, and with what the Hub says alone
        hub.program.run("""
ids = json.loads(sys.argv[1])
client = sbx.Client()
pool = pools.connect(client, "p")
assert pool.info()["sandboxes"] == 6 - int(sys.argv[2])
if not int(sys.argv[2]):
    try:
        pool.sandbox()
        raise AssertionError("there is no room")
    except sbx.Error as error:
        assert error.code == sbx.BUSY, error
    client.kill(ids[1])
    try:
        client.kill(ids[1])
        raise AssertionError("it has ended")
    except sbx.Error as error:
        assert error.code == sbx.NOT_FOUND, error
with client.connect(ids[0]) as box:
    assert box.id == ids[0] and box.read("a") == b"by one"
    box.write("b", b"by two")
with client.connect("alice/" + ids[0]) as box:
    assert box.read("a") == b"by one"
with pool.sandbox() as own:
    assert own.run("echo mine").out == b"mine\\n" and own.id not in ids
""", json.dumps(ids), 0 if cached else 1, **({} if cached else {"SBX_TEST_OFF": "pool-cache"}))
    assert len(hub.living()) == 2
    out, err = one.communicate("\n", timeout=60)
    assert one.returncode == 0, err
    wait_until(lambda: not hub.living(), what="the end of the hosts")
    hub.program.run("""
for name, what in (("p", sbx.NOT_FOUND), ("nobody's", sbx.INVALID), ("other", sbx.NOT_FOUND)):
    try:
        pools.connect(sbx.Client(), name)
        raise AssertionError("it is there")
    except sbx.Error as error:
        assert error.code == what, error
try:
    sbx.Client().connect(sys.argv[1])
    raise AssertionError("it is there")
except sbx.Error as error:
    assert error.code == sbx.NOT_FOUND, error
""", ids[0], off="pool-cache")


def test_detached(hub):
    """It outlives its program; delete ends it, from anywhere."""
    out = hub.program.run("""
pool = pools.create(sbx.Client(), detached=1, warm=2)
kept, gone = pool.sandbox(detached=1), pool.sandbox()
print(pool.name, kept.id, gone.id)
""")
    name, kept, gone = out.split()
    assert name.startswith("pool-") and len(name) == 17 and len(hub.living()) == 2
    hub.program.run("""
client = sbx.Client()
pool = pools.connect(client, sys.argv[1])
wait = time.monotonic() + 10
while len(rows := pool.sandboxes()) != 1 and time.monotonic() < wait: time.sleep(0.02)
assert [row["id"] for row in rows] == [sys.argv[2]], rows
box = client.connect(sys.argv[2])
assert pool.delete() == 2
try:
    box.run("sleep 100")
    raise AssertionError("it has ended")
except sbx.Error as error:
    assert error.code == sbx.AGENT and "CANCELED" in error.message, error
try:
    pool.sandbox()
    raise AssertionError("it has ended")
except sbx.Error as error:
    assert error.code == sbx.STATE, error
""", name, kept)
    assert not hub.living()


@pytest.mark.parametrize("spread", [0, 1])
def test_where_they_go(hub, spread):
    hub.program.run("""
pool = pools.create(sbx.Client(), warm=2, sandboxes_per_host=4, spread=int(sys.argv[1]), max_hosts=2)
boxes = [pool.sandbox() for _ in range(4)]
hosts = [box.id.split(".")[0] for box in boxes]
assert sorted(map(hosts.count, set(hosts))) == ([2, 2] if int(sys.argv[1]) else [4]), hosts
""", spread)


def test_many_at_once_from_one_thread(hub):
    """A hundred creations begun at once share requests, and boot the two hosts that they need together."""
    hub.program.run("""
client = sbx.Client()
pool = pools.create(client, warm=-1, sandboxes_per_host=50)
queue = sbx.Queue(client)
for n in range(100): pool.sandbox_later(queue, user=n + 1)
boxes = {}
while len(boxes) < 100:
    done = queue.next()
    assert done is not None and done.status == 0, done and done.error.message
    boxes[done.user] = sbx.Sandbox(sbx.c_void_p(done.sandbox))
assert len({box.id for box in boxes.values()}) == 100
assert pool.info()["sandboxes"] == 100
for box in boxes.values(): box.close()
queue.close(); pool.close(); client.close()
""")
    assert len(hub.jobs) == 2
    posts = [r for r in hub.requests.of("proxy") if r.method == "POST" and r.path.endswith("/v1/sandboxes")]
    assert 2 <= len(posts) <= 20, len(posts)
    wait_until(lambda: not hub.living(), what="the end of the hosts")


def test_options(hub):
    hub.program.run("""
client = sbx.Client()
def refused(what, code=sbx.INVALID, **options):
    try:
        what(**options)
        raise AssertionError(options)
    except sbx.Error as error:
        assert error.code == code, error
for options in ({"name": "a b"}, {"name": ".a"}, {"name": "x" * 101}, {"warm": -2}, {"adopt": 7}, {"image": "a b"}, {"sandboxes_per_host": 10**9},
                {"idle_timeout_ms": -5}, {"start_timeout_ms": -1}, {"hub_namespace": "a/b"}):
    refused(lambda **o: pools.create(client, **o), **options)
pool = pools.create(client, name="o", sandboxes_per_host=2)
for options in ({"image": "debian:12"}, {"cwd": "/"}, {"isolation": "full"}, {"limit_disk": 1 << 30}, {"secrets": ["A=1"]}, {"forward_hf_token": 1},
                {"env": ["A"]}, {"client_key": "a"}):
    refused(pool.sandbox, **options)
# What the agent refuses is the caller's fault, and costs no place.
refused(pool.sandbox, limit_processes=5000)
box = pool.sandbox(idle_timeout_ms=1500, limit_processes=77, limit_memory=(100 << 20) + 1)
assert box.info()["idle_ms"] == 2000, box.info()
assert pool.sandbox().id.split(".")[0] == box.id.split(".")[0]
""")
    assert len(hub.jobs) == 1


def test_an_organisation(hub):
    """Ids carry the namespace that is not the client's own."""
    hub.program.run("""
client = sbx.Client()
pool = pools.create(client, name="p", hub_namespace="acme")
with pool.sandbox() as box:
    assert box.id.startswith("acme/") and box.id.count(".") == 1, box.id
    assert [row["id"] for row in pool.sandboxes()] == [box.id]
    with client.connect(box.id) as again: assert again.run("echo in").out == b"in\\n" and again.id == box.id
    with sbx.Client().connect(box.id) as again: assert again.run("echo in").out == b"in\\n" and again.id == box.id
    with sbx.Client(hub_namespace="acme") as other:
        with pools.connect(other, "p") as same, same.sandbox() as own: assert "/" not in own.id
        with other.connect(box.id) as again: assert again.run("echo in").out == b"in\\n"
    assert [row["name"] for row in pools.list_all(client, "acme")] == ["p"] and pools.list_all(client) == []
    sbx.Client().kill(box.id)
""")
    wait_until(lambda: not hub.living(), what="the end of the host")


def test_an_image_without_a_decoder(hub):
    """Its host is the agent that the Hub publishes."""
    hub.program.run("""
pool = pools.create(sbx.Client(), image="local/no-decoder")
with pool.sandbox() as box: assert box.run("echo in").out == b"in\\n"
""")
    assert [("HFSANDBOX_AGENT_PAYLOAD" in job.secrets, job.environment["SBX_HOST_MODE"]) for job in hub.jobs] == [(True, "1"), (False, "1")]


def test_a_server_inside(hub):
    """A sandbox of a pool is reached at sockets of its own, with its own key."""
    hub.program.run("""
import urllib.request
pool = pools.create(sbx.Client())
box, other = pool.sandbox(), pool.sandbox()
server = box.start(["python3", "-c", '''
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = repr((self.path, self.headers.get("X-Sandbox-Token"), self.headers.get("Authorization"))).encode()
        self.send_response(200); self.send_header("Content-Length", len(body)); self.end_headers(); self.wfile.write(body)
    def address_string(self): return "-"
print("on", flush=True)
socketserver.UnixStreamServer(os.environ["SBX_PROXY_DIR"] + "/8000.sock", Handler).serve_forever()
'''])
assert server.next()[1] == b"on\\n"
def get(of, with_headers_of):
    request = urllib.request.Request(of.port_url(8000) + "/a?b=c", headers=with_headers_of.port_headers(8000))
    try:
        return urllib.request.urlopen(request).read().decode()
    except urllib.error.HTTPError as error:
        return error.code
until = time.monotonic() + 10
while isinstance(got := get(box, box), int) and time.monotonic() < until: time.sleep(0.02)
assert got == repr(("/a?b=c", None, None)), got
assert get(box, other) == 403
""")


def test_asynchronous(hub):
    """Every function that waits can complete on a queue instead."""
    hub.program.run("""
from ctypes import byref, c_void_p
client = sbx.Client()
queue = sbx.Queue(client)
def later(short, *args):
    assert sbx.check(short, None, *args, sbx.call(30000, None, queue, 7)) == sbx.PENDING
    done = queue.next()
    assert done.user == 7 and done.status == 0, done.error.message
    return done
first = pools.Pool(c_void_p(later("pool_create", client.handle, byref(pools.PoolOptions(name="p"))).pool))
pool = pools.Pool(c_void_p(later("pool_connect", client.handle, b"p", None).pool))
box = sbx.Sandbox(c_void_p(later("pool_sandbox", pool.handle, None).sandbox))
assert box.run("echo in").out == b"in\\n"
assert later("pool_warm", pool.handle, 1).number == 1
info = later("pool_info", pool.handle).bytes
assert json.loads(sbx._take_bytes(c_void_p(info)))["sandboxes"] == 1
rows = c_void_p(later("pool_sandboxes", pool.handle).sandboxes)
assert sbx.lib.sbx_sandbox_list_count(rows) == 1
sbx.lib.sbx_sandbox_list_free(rows)
listed = c_void_p(later("pool_list_all", client.handle, None).pools)
assert sbx.lib.sbx_pool_list_count(listed) == 1
sbx.lib.sbx_pool_list_free(listed)
assert later("pool_delete", pool.handle).number == 1
# What is never read goes with the queue.
for _ in range(3): assert sbx.check("pool_create", None, client.handle, byref(pools.PoolOptions()), sbx.call(30000, None, queue)) == sbx.PENDING
for handle in (box, pool, first, queue, client): handle.close()
""")
    wait_until(lambda: not hub.living(), what="the end of the hosts")


@pytest.mark.parametrize("adopt", ["ADOPT_ALL", "ADOPT_RUNNING", "ADOPT_NONE"])
def test_whose_hosts(hub, adopt):
    """Those that are starting, those that run, its own alone. (Pages of the Hub's list are short, and say nothing of the environment.)"""
    hub.dial(page_size=1, list_environment=False)
    first = hub.program.start("""
pool = pools.create(sbx.Client(), name="p", sandboxes_per_host=3, max_hosts=7)
print("up", flush=True)
sys.stdin.readline()
""")
    assert first.stdout.readline() == "up\n"
    hub.next_jobs(1, scheduling_delay=1.5)
    second = hub.program.start("pool = pools.create(sbx.Client(), name='p', sandboxes_per_host=3, warm=2)\nprint('up', flush=True)\nsys.stdin.readline()\n")
    wait_until(lambda: len(hub.hosts()) == 2, what="the second host")
    running, starting = (job.id for job in hub.hosts())
    out = hub.program.run("""
pool = pools.create(sbx.Client(), name="p", sandboxes_per_host=3, warm=-1, adopt=getattr(pools, sys.argv[1]))
boxes = [pool.sandbox() for _ in range(4)]
print(*[box.id.split(".")[0] for box in boxes])
""", adopt, HF_HOME="/nonexistent/home").split()
    own = [job.id for job in hub.hosts() if job.id not in (running, starting)]
    assert set(out) == {"ADOPT_ALL": {running, starting}, "ADOPT_RUNNING": {running, *own}, "ADOPT_NONE": set(own)}[adopt]
    assert len(own) == {"ADOPT_ALL": 0, "ADOPT_RUNNING": 1, "ADOPT_NONE": 2}[adopt]
    hub.program.run("""
with pools.connect(sbx.Client(), "p") as pool, pool.sandbox():
    info = pool.info()
    assert (info["sandboxes_per_host"], info["max_hosts"]) in ((3, 7), (3, 0)), info
    assert all(host["capacity"] == 3 for host in info["hosts"]), info
""", HF_HOME="/nonexistent/home")
    for program in (first, second):
        assert program.communicate("\n", timeout=60)[1] == ""
