# ctest: timeout=300
"""Many sandboxes in one machine: making, using, ending them; what their tokens open; what is left of them."""
import os
import secrets
import threading
import time
from pathlib import Path

import pytest
from agent import wait_until
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")


@pytest.fixture(scope="module")
def host():
    with HostAgent(capacity=16) as h:
        yield h


@pytest.fixture
def pair(host):
    made = host.create(2)
    yield made
    for tenant in made:
        host.request("DELETE", tenant.prefix)


def test_what_a_command_finds(host):
    (tenant,) = host.create(env={"A": "x y", "N": 7, "B": True, "PATH": "/usr/bin:/bin"})
    text = tenant.run("id -u; id -g; id -G; pwd; env | sort").stdout.decode()
    lines = text.split("\n")
    assert lines[:4] == [str(tenant.uid)] * 3 + [str(tenant.home)]
    environment = dict(line.split("=", 1) for line in lines[4:] if "=" in line)
    assert environment["A"] == "x y" and environment["N"] == "7" and environment["B"] == "true" and environment["PATH"] == "/usr/bin:/bin"
    assert environment["HOME"] == str(tenant.home) and environment["TMPDIR"] == str(tenant.home / ".tmp")
    assert environment["SBX_SANDBOX_ID"] == tenant.id and environment["SBX_PROXY_DIR"] == str(tenant.home / ".sbx/proxy")
    assert environment["USER"] == environment["LOGNAME"] == f"sbx-{tenant.id}"
    assert not any(name.startswith(("SBX_TOKEN", "SBX_PORT", "SBX_HOST", "ASAN")) for name in environment)
    assert tenant.run("echo $B $C", env={"C": "own"}).stdout == b"true own\n"
    tenant.end()


def test_files(pair):
    a, b = pair
    data = secrets.token_bytes(300_000)
    assert a.request("PUT", "/files/write?path=/d/e/f", body=data).status == 200
    assert a.get("/files/read?path=d/e/f").body == data
    assert a.get(f"/files/read?path={a.home}/d/e/f").body == data
    assert a.run("cat d/e/f | wc -c; stat -c '%u %a' d d/e d/e/f").stdout.decode().split() == ["300000"] + [str(a.uid), "700"] * 2 + [str(a.uid), "600"]
    assert b.get("/files/read?path=/d/e/f").status == 404
    assert [e["name"] for e in a.get("/files/list?path=/d").json()["entries"]] == ["e"]
    assert a.get("/files/stat?path=/d/../../../d/e/f").json()["path"] == str(a.home / "d/e/f")
    assert a.post("/files/mkdir?path=/x/y").json() == {"created": str(a.home / "x/y")}
    assert a.post("/files/rename?from=/d/e/f&to=/x/y/z").status == 200
    assert a.request("DELETE", "/files/delete?path=/x&recursive=1").status == 200
    assert a.get("/files/list?path=/").json()["entries"][-1]["name"] == "d"


def test_links_within_the_home_are_followed(pair):
    a, _ = pair
    a.run(f"mkdir d; echo old > d/f; ln -s d/f near; ln -s ../d/f d/up; ln -s {a.home}/d/f own; ln -s d way")
    for name in ("near", "own", "d/up", "way/f"):
        text = name.encode()
        assert a.request("PUT", f"/files/write?path={name}", body=text).status == 200, name
        assert a.get("/files/read?path=d/f").body == text
    assert a.run("readlink near own way").stdout.decode().split() == ["d/f", f"{a.home}/d/f", "d"]


def test_tokens(host, pair):
    a, b = pair
    assert host.request("GET", a.prefix + "/processes", token=b.token).status == 403
    assert host.request("GET", "/v1/sandboxes", token=a.token).status == 403
    assert host.request("GET", a.prefix + "/token", token=a.token).status == 403
    assert host.request("DELETE", a.prefix, token=b.token).status == 403
    assert host.request("POST", "/v1/shutdown", token=a.token, body=b"").status == 403
    assert host.get(a.prefix + "/token").json() == {"id": a.id, "token": a.token}
    assert host.request("GET", a.prefix + "/processes").status == 200  # the host's own
    assert a.get("/info").json()["id"] == a.id
    for target in ("/v1/exec", "/v1/processes", "/v1/files/read?path=/etc/passwd", "/v1/proxy/80/"):
        assert host.request("GET" if "read" in target else "POST", target, body=b"{}").status == 404
    assert host.request("DELETE", b.prefix, token=b.token).json() == {"id": b.id, "deleted": True}


def test_control_tokens():
    with HostAgent(off="tenant-token") as h:
        a, b = h.create(2)
        assert h.request("GET", a.prefix + "/processes", token=b.token).status == 200


def test_the_hosts_token_can_be_kept_out():
    with HostAgent(env={"SBX_COMPAT_HOST_TOKEN": "0"}) as h:
        (a,) = h.create()
        assert h.request("GET", a.prefix + "/processes").status == 403
        assert a.get("/processes").json() == []
        assert h.get(a.prefix + "/token").status == 200


def test_processes_of_another_sandbox_are_not_there(pair):
    a, b = pair
    process = a.start("sleep 60")
    for name in (process["id"], process["pid"]):
        assert b.get(f"/processes/{name}").status == 404
        assert b.get(f"/processes/{name}/output").status == 404
        assert b.post(f"/processes/{name}/signal", json={"signal": 9}).status == 404
        assert b.request("DELETE", f"/processes/{name}").json()["killed"] is False
    assert b.get("/processes").json() == []
    assert a.get(f"/processes/{process['id']}").json()["running"] is True


def test_control_processes_of_another_sandbox():
    with HostAgent(off="process-owner") as h:
        a, b = h.create(2)
        process = a.start("sleep 60")
        assert b.get(f"/processes/{process['id']}").status == 200


def test_keys_of_another_sandbox_start_anew(pair):
    a, b = pair
    key = [("X-Sandbox-Key", f"{secrets.token_hex(8)}.1")]
    first = a.post("/processes", json={"cmd": "sleep 60"}, headers=key).json()
    assert a.post("/processes", json={"cmd": "sleep 60"}, headers=key).json()["id"] == first["id"]
    assert b.post("/processes", json={"cmd": "sleep 60"}, headers=key).json()["id"] != first["id"]


def test_an_end_leaves_nothing(host):
    (a,) = host.create()
    a.run("mkdir -p deep/er; touch deep/er/f; chmod 0 deep; ln -s / root; mkfifo fifo")
    a.start("trap '' TERM; sleep 300 & setsid sleep 300 & (setsid sh -c 'sleep 300 & wait' &) ; wait")
    a.start("kill -STOP $$")
    wait_until(lambda: len(host.processes_of(a.uid)) >= 5, what="its processes")
    assert a.end() == {"id": a.id, "deleted": True}
    assert host.processes_of(a.uid) == [] and not a.home.exists()
    assert a.get("/info").status == 403 and host.request("GET", a.prefix + "/info").status == 404
    assert host.request("DELETE", a.prefix).status == 404
    # As the Hub's own clients expect of a sandbox that is not there.
    assert host.get(a.prefix + "/processes").json() == []
    assert host.request("DELETE", a.prefix + "/processes/p-1").status == 200


def test_an_end_beside_commands_that_start_all_the_time(host):
    (a,) = host.create()
    stop = threading.Event()

    def start():
        while not stop.is_set():
            host.request("POST", a.prefix + "/processes", json={"cmd": "sleep 300 & sleep 300"})
    threads = [threading.Thread(target=start) for _ in range(4)]
    for t in threads:
        t.start()
    wait_until(lambda: len(host.processes_of(a.uid)) > 20, what="commands")
    a.end()
    assert host.processes_of(a.uid) == []
    stop.set()
    for t in threads:
        t.join()
    assert host.processes_of(a.uid) == [] and not a.home.exists()


STRAY = """python3 -c '
import os, resource
if os.fork(): os._exit(0)
os.setsid()
resource.setrlimit(resource.RLIMIT_RTTIME, (77, 77))
if os.fork(): os._exit(0)
os.execvp("sleep", ["sleep", "300"])' </dev/null >/dev/null 2>&1"""


def strays_after_a_kill_next_door(off=""):
    """A daemon that has got rid of its command's mark, and a kill of another sandbox's command, by an agent that is pid 1."""
    with HostAgent(pid1=True, off=off) as h:
        a, b = h.create(2)
        a.run(STRAY)
        wait_until(lambda: len(h.processes_of(a.uid)) == 1, what="the daemon")
        b.run("sleep 300", timeout=0.3)
        return len(h.processes_of(a.uid))


def test_a_kill_spares_the_daemons_of_other_sandboxes():
    assert strays_after_a_kill_next_door() == 1


def test_control_daemons_of_other_sandboxes():
    assert strays_after_a_kill_next_door(off="only-sandbox,tree-owner") == 0


def test_readers_see_the_end(host):
    (a,) = host.create()
    result = []
    reader = threading.Thread(target=lambda: result.append(a.run("echo begun; sleep 300")))
    reader.start()
    wait_until(lambda: host.get(a.prefix + "/processes").json(), what="the command")
    a.end()
    reader.join(20)
    assert result[0].stdout == b"begun\n" and result[0].exit["limit"] == "sandbox"


def test_capacity():
    with HostAgent(capacity=3) as h:
        answer = h.post("/v1/sandboxes", json={"count": 5}).json()
        assert len(answer["sandboxes"]) == 3 and answer["rejected"] == 2
        assert h.post("/v1/sandboxes").json() == {"sandboxes": [], "rejected": 1}
        assert h.request("DELETE", f"/v1/sandboxes/{answer['sandboxes'][0]['id']}").status == 200
        wait_until(lambda: len(h.post("/v1/sandboxes").json()["sandboxes"]) == 1, what="the place that has become free")
        assert h.request("DELETE", "/v1/sandboxes").json() == {"deleted": 3}
        wait_until(lambda: os.listdir(h.homes) == [], what="the end of all")
        assert h.sandboxes() == []


def test_made_once():
    with HostAgent(capacity=8) as h:
        key = [("X-Sandbox-Key", "client.1")]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(h.post("/v1/sandboxes", json={"count": 2}, headers=key).json())) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(answers) == 6 and all(answer == answers[0] for answer in answers) and len(h.sandboxes()) == 2
    with HostAgent(capacity=8, off="keys") as h:
        for _ in range(2):
            h.post("/v1/sandboxes", json={"count": 2}, headers=key)
        assert len(h.sandboxes()) == 4


@pytest.mark.parametrize("body, word", [
    (b"{", "JSON"), (b"[1]", "object"), (b'{"count":"x"}', "count"), (b'{"count":-1}', "count"), (b'{"env":[]}', "env"),
    (b'{"env":{"A=B":"x"}}', "env"), (b'{"env":{"":"x"}}', "env"), (b'{"env":{"A":null}}', "env"), (b'{"env":{"A":{}}}', "env"),
    (b'{"env":{"A":"\\u0000"}}', "env"), (b'{"env":{"A":"' + b"x" * 70000 + b'"}}', "64 KiB"), (b'{"max_procs":0}', "max_procs"),
    (b'{"max_procs":4097}', "max_procs"), (b'{"max_mem_mb":0}', "max_mem_mb"), (b'{"max_mem_mb":1048577}', "max_mem_mb"),
    (b'{"idle_timeout_secs":-1}', "idle_timeout_secs"), (b'{"idle_timeout_secs":1.5}', "idle_timeout_secs"),
])
def test_bad_requests(host, body, word):
    before = len(host.sandboxes())
    response = host.request("POST", "/v1/sandboxes", body=body)
    assert response.status == 400 and word in response.json()["error"], response
    assert len(host.sandboxes()) == before


def test_idle_sandboxes_end(host):
    idle, busy, other = host.create(1, idle_timeout_secs=1) + host.create(1, idle_timeout_secs=1) + host.create(1)
    busy.start("sleep 300")
    wait_until(lambda: idle.id not in [item["id"] for item in host.sandboxes()], what="the end of the idle one")
    time.sleep(1)
    assert {busy.id, other.id} <= {item["id"] for item in host.sandboxes()}
    busy.end()
    other.end()


def test_an_empty_host_ends():
    with HostAgent(env={"SBX_IDLE_TIMEOUT": "1"}) as h:
        (a,) = h.create()
        time.sleep(1.5)
        assert h.process.poll() is None
        a.end()
        assert h.wait_exit(20) == 0


def test_the_end_of_the_host_ends_all():
    with HostAgent() as h:
        a, b = h.create(2)
        a.start("trap '' TERM; sleep 300 & wait")
        b.start("setsid sleep 300 & sleep 300")
        h.stop()
        assert h.processes_of(a.uid) == [] and h.processes_of(b.uid) == [] and os.listdir(h.homes) == []


def test_what_a_former_host_left_is_removed():
    with HostAgent() as h:
        (h.homes / "left").mkdir()
        (h.homes / "left" / "file").write_text("x")
        h.stop()
        h.exit_status = None
        h.start()
        assert os.listdir(h.homes) == []
        other = HostAgent(env={"SBX_HOST_DIRECTORY": h.homes})
        with pytest.raises(AssertionError, match="another agent uses it"):
            other.start()
        other.__exit__(AssertionError)


def test_users_rotate(host):
    (a,) = host.create()
    a.end()
    (b,) = host.create()
    assert b.uid != a.uid
    b.end()
