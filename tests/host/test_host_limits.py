# ctest: serial timeout=600
"""The limits of each sandbox of a host as a whole: memory, processes, disk; what `info` says of them; and neighbours unharmed."""
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from agent import wait_until
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")

MIB = 1 << 20


def usage(sandbox):
    return sandbox.get("/info").json()["usage"]


# ---- Memory

HOLD = "import sys, time; held = b'x' * (int(sys.argv[1]) << 20); print('held', flush=True); time.sleep(60)"
# Six processes, each far below the limit of a single one; the command waits for them.
SWARM = "for i in 1 2 3 4 5 6; do python3 -c \"%s\" 30 & done; wait" % HOLD
# Processes that leave their session, one after the other.
SCATTER = """import os, time
for i in range(60):
    if os.fork() == 0:
        os.setsid()
        held = b"x" * (30 << 20)
        time.sleep(60)
        os._exit(0)
    time.sleep(0.02)
time.sleep(60)"""


def swarm(off=""):
    """What became of a command whose processes together are over the limit, and of a neighbour's."""
    with HostAgent(off=off) as h:
        (a,), (b,) = h.create(max_mem_mb=100), h.create(max_mem_mb=100)
        neighbour = b.start(["python3", "-c", HOLD, "50"])
        wait_until(lambda: usage(b)["memory"] > 50 * MIB, what="the neighbour's memory")
        ended = a.run(SWARM, timeout=6, timeout_s=60).exit
        running = b.get(f"/processes/{neighbour['id']}").json()["running"]
        return ended.get("limit"), ended["timed_out"], running


def test_memory_of_many_processes():
    assert swarm() == ("memory", False, True)


def test_control_memory():
    assert swarm(off="host-memory-watch") == (None, True, True)


def test_memory_below_the_limit_is_left_alone():
    with HostAgent() as h:
        (a,) = h.create(max_mem_mb=300)
        output = a.run(SWARM, timeout=3, timeout_s=60)
        assert output.exit["timed_out"] and "limit" not in output.exit and output.stdout.count(b"held") == 6


def scatter(off=""):
    """The most that a sandbox had while its processes left their command, and how many were left."""
    with HostAgent(off=off) as h:
        (a,) = h.create(max_mem_mb=100)
        a.start(["python3", "-c", SCATTER])
        most = 0
        for _ in range(40):
            most = max(most, usage(a)["memory"])
            time.sleep(0.1)
        return most >> 20, len(h.processes_of(a.uid))


def test_memory_of_processes_that_leave_their_command():
    most, left = scatter()
    assert most < 800 and left <= 4, (most, left)


def test_control_memory_of_processes_that_leave_their_command():
    most, left = scatter(off="host-memory-row")
    assert left > 4 or most >= 800, (most, left)


def test_shared_memory_counts_with_its_files():
    with HostAgent() as h:
        (a,) = h.create(max_mem_mb=40)
        name = f"/dev/shm/sbx-test-{a.id}"
        try:
            a.run(f"head -c 30M /dev/zero > {name}")
            assert Path(name).stat().st_size == 30 * MIB
            a.start("sleep 60")
            wait_until(lambda: usage(a)["memory"] >= 30 * MIB, what="the file among the memory")
            assert a.run(f"head -c 20M /dev/zero > {name}.more; sleep 1; echo lives").stdout == b"lives\n"
            wait_until(lambda: not Path(name).exists(), what="the end of its files")
        finally:
            for path in (name, name + ".more"):
                Path(path).unlink(missing_ok=True)


# ---- First in line for the out-of-memory killer

EARLY = "import os, time; early = os.fork(); held = b'x' * (9 << 20) if early == 0 else b''; time.sleep(0.3); early and os.fork(); time.sleep(60)"


def order(off=""):
    """What /proc says: whether the agent is as it was, of the command, of all its processes."""
    with HostAgent(off=off) as h:
        (a,) = h.create()
        process = a.start(["python3", "-c", EARLY])
        wait_until(lambda: len(h.processes_of(a.uid)) == 3, what="its processes")
        time.sleep(0.5)
        read = lambda pid: int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        return read(h.pid) == read("self"), read(process["pid"]), [read(pid) for pid in h.processes_of(a.uid)]


def test_commands_go_first_when_the_machine_has_no_memory():
    assert order() == (True, 1000, [1000] * 3)


def test_control_order():
    assert order(off="oom-order") == (True, int(Path("/proc/self/oom_score_adj").read_text()), [int(Path("/proc/self/oom_score_adj").read_text())] * 3)


# ---- Processes

FORKS = """import os, time
made = 0
while made < 200:
    try:
        pid = os.fork()
    except OSError:
        break
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    made += 1
print(made, flush=True)
time.sleep(60)"""


def forks(off=""):
    with HostAgent(off=off) as h:
        (a,), (b,) = h.create(max_procs=50), h.create()
        process = a.start(["python3", "-c", FORKS])
        output = lambda: a.get(f"/processes/{process['id']}").json()["stdout"]["end"] > 0
        wait_until(output, what="the end of the forks")
        made = usage(a)["processes"]
        assert b.run("echo fine").stdout == b"fine\n"
        limits = a.get("/info").json()["limits"]["processes"]
        a.end()
        return made, limits


def test_processes():
    assert forks() == (50, 50)


def test_control_processes():
    made, _ = forks(off="host-limits")
    assert made > 150


# ---- Disk

FILL = "i=0; while [ $i -lt 100 ]; do head -c 1M /dev/zero > f$i; i=$((i+1)); sleep 0.02; done; sleep 3"


def test_disk():
    with HostAgent() as h:
        (a,), (b,) = h.create(max_disk_mb=20), h.create(max_disk_mb=20)
        assert b.request("PUT", "/files/write?path=mine", body=b"x" * 1000).status == 200
        sleeper = a.start("sleep 60")
        ended = a.run(FILL, timeout_s=60).exit
        assert ended.get("limit") == "disk" and ended["signal"] == 9
        wait_until(lambda: not a.get(f"/processes/{sleeper['id']}").json()["running"], what="the end of all its commands")
        for method, target in (("PUT", "/files/write?path=more"), ("POST", "/files/mkdir?path=dir")):
            refused = a.request(method, target, body=b"x" if method == "PUT" else b"")
            assert refused.status == 507 and refused.json()["code"] == "no_space", refused
        assert a.get("/files/read?path=f0").status == 200
        assert usage(a)["disk"] > 20 * MIB
        assert b.request("PUT", "/files/write?path=more", body=b"x").status == 200 and b.run("cat mine | wc -c").stdout == b"1000\n"
        assert a.run("echo $((6 * 7)); sleep 1.5").stdout == b"42\n"  # who does not write may run
        assert a.run(FILL.replace("f$i", "g$i"), timeout_s=60).exit.get("limit") == "disk"
        for entry in a.get("/files/list?path=/").json()["entries"]:
            if entry["type"] == "file":
                assert a.request("DELETE", f"/files/delete?path={entry['name']}").status == 200
        wait_until(lambda: a.request("PUT", "/files/write?path=more", body=b"x").status == 200, what="room")
        assert a.run("echo x > again && cat again").stdout == b"x\n"


def test_control_disk():
    with HostAgent(off="host-disk") as h:
        (a,) = h.create(max_disk_mb=20)
        assert "limit" not in a.run(FILL, timeout_s=60).exit
        assert a.request("PUT", "/files/write?path=more", body=b"x").status == 200


def test_an_upload_that_cannot_fit_is_refused_before_it_travels():
    with HostAgent() as h:
        (a,) = h.create(max_disk_mb=1)
        refused = a.request("PUT", "/files/write?path=big", body=b"x" * (2 * MIB))
        assert refused.status == 507 and refused.json()["code"] == "no_space"
        assert a.request("PUT", "/files/write?path=small", body=b"x" * 1000).status == 200
    with HostAgent(off="host-disk") as h:
        (a,) = h.create(max_disk_mb=1)
        assert a.request("PUT", "/files/write?path=big", body=b"x" * (2 * MIB)).status == 200


def test_what_counts_on_the_disk():
    with HostAgent() as h:
        (a,) = h.create()
        a.run("mkdir -p d/e; cd d/e; head -c 3M /dev/zero > f; ln f g; ln f h; truncate -s 1G hole; for i in $(seq 300); do mkdir x && cd x; done; head -c 2M /dev/zero > deep")
        a.start("sleep 60")
        disk = wait_until(lambda: usage(a)["disk"] > 5 * MIB and usage(a)["disk"], what="the walk")
        assert disk < 9 * MIB


UNLINKED = "exec 3> f; rm f; for i in $(seq 40); do head -c 1M /dev/zero >&3; sleep 0.05; done; sleep 3"


def unnamed(off=""):
    """Who writes into a file without a name, and an upload of unknown length that goes on and on."""
    with HostAgent(off=off) as h:
        (a,), (b,) = h.create(max_disk_mb=20), h.create(max_disk_mb=20)
        ended = a.run(UNLINKED, timeout_s=60).exit
        with h.connect() as c:
            c.send_request("PUT", b.prefix + "/files/write?path=big", h.headers([("Transfer-Encoding", "chunked")], b.token))
            try:
                for _ in range(60):
                    c.send(b"%x\r\n" % MIB + bytes(MIB) + b"\r\n")
                    time.sleep(0.04)
                c.send(b"0\r\n\r\n")
                status = c.read_response().status
            except (ConnectionError, EOFError, AssertionError):
                status = None
        return ended.get("limit"), status


def test_files_without_a_name_count():
    assert unnamed() == ("disk", None)


def test_control_files_without_a_name():
    assert unnamed(off="host-unnamed") == (None, 200)


def test_a_full_disk_of_the_machine_is_a_clear_error():
    h = HostAgent()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0711", "tmpfs", h.place], capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        with h:
            a, b = h.create(2)
            assert b"space" in a.run("head -c 8M /dev/zero > all").stderr
            for target, body in (("more", b"x" * 100_000), ("large", b"x" * (2 * MIB))):
                refused = b.request("PUT", f"/files/write?path={target}", body=body)
                assert refused.status == 507 and refused.json()["code"] == "no_space" and "space" in refused.json()["error"], refused
            assert a.request("DELETE", "/files/delete?path=all").status == 200
            assert b.request("PUT", "/files/write?path=more", body=b"x" * 100_000).status == 200
            a.end()
            b.end()
    finally:
        subprocess.run(["umount", "-l", h.place], check=False)


# ---- What info says

def test_info():
    with HostAgent(capacity=5) as h:
        (a,), (b,) = h.create(max_procs=7, max_mem_mb=123, max_disk_mb=45, idle_timeout_secs=100), h.create()
        found = a.get("/info").json()
        assert found["limits"] == {"processes": 7, "memory": 123 * MIB, "disk": 45 * MIB, "open_files": 4096}
        assert b.get("/info").json()["limits"] == {"processes": 256, "memory": 2048 * MIB, "disk": 8192 * MIB, "open_files": 4096}
        assert found["usage"]["processes"] == 0 and found["usage"]["memory"] == 0 and found["idle_ms"] == 100_000
        a.start(["python3", "-c", HOLD, "20"])
        b.start("sleep 60 & sleep 60")
        wait_until(lambda: 20 * MIB < usage(a)["memory"] < 60 * MIB, what="its memory")
        wait_until(lambda: usage(b)["processes"] in (2, 3), what="its processes")
        assert usage(a)["processes"] == 1 and usage(b)["memory"] < 10 * MIB
        a.request("PUT", "/files/write?path=f", body=b"x" * (3 * MIB))
        wait_until(lambda: usage(a)["disk"] >= 3 * MIB, what="its disk")
        assert usage(b)["disk"] < MIB
        host = h.get("/v1/info").json()
        assert host["sandboxes"] == 2 and host["capacity"] == 5 and host["mode"] == "host"
        assert host["usage"]["memory"] >= usage(a)["memory"] // 2 and host["usage"]["processes"] >= 3 and host["usage"]["disk"] >= 3 * MIB
        assert host["processes"]["running"] == 2 and "sandboxes" not in found


@pytest.mark.parametrize("value", [0, 1048577, "x"])
def test_bad_limits_of_the_disk(value):
    with HostAgent() as h:
        response = h.post("/v1/sandboxes", json={"max_disk_mb": value})
        assert response.status == 400 and "max_disk_mb" in response.json()["error"]
