# ctest: timeout=300
"""A user of the machine, and a place, are given to another sandbox only when nothing of the former owner is left."""
import ctypes
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import attacks
import pytest
from agent import wait_until
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")


def small(users=2, capacity=8, off=""):
    """A host that has so few users that they come round at once."""
    host = HostAgent(capacity=capacity, off=off)
    host.env["SBX_HOST_LAST_UID"] = str(host.first_uid + users - 1)
    return host


def ask_for(host, count):
    response = host.post("/v1/sandboxes", json={"count": count})
    assert response.status == 200, response
    answer = response.json()
    return [item["uid"] for item in answer["sandboxes"]], answer["rejected"]


def test_5c_25_users_that_run_out_are_no_error_for_ever():
    with small(users=3) as host:
        uids, rejected = ask_for(host, 5)
        assert sorted(uids) == [host.first_uid + i for i in range(3)] and rejected == 2
        assert ask_for(host, 1) == ([], 1)
        for _ in range(3):
            assert host.request("DELETE", "/v1/sandboxes").json() == {"deleted": 3}
            wait_until(lambda: host.get("/health").json()["sandboxes"] == 0, what="the end of all")
            assert len(ask_for(host, 3)[0]) == 3


def owned_by(uid):
    """Processes, files and IPC objects of a user."""
    found = [f"process {pid}" for pid in HostAgent.processes_of(None, uid)]
    for place in ("/dev/shm", "/dev/mqueue"):
        if os.path.isdir(place):
            found += [str(p) for p in Path(place).iterdir() if p.lstat().st_uid == uid]
    for kind in ("shm", "msg", "sem"):
        rows = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
        column = rows[0].split().index("uid")
        found += [f"{kind} {row}" for row in rows[1:] if row.split()[column] == str(uid)]
    # entry: local, remote, state, queues, timer, retransmissions, user
    for table in ("tcp", "tcp6", "udp", "udp6"):
        found += [f"{table} {row}" for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:] if int(row.split()[7]) == uid]
    return found


LEAVES = """
import mmap, os, socket, sys, time
name = "/dev/shm/sbx-left-" + os.environ["SBX_SANDBOX_ID"]
f = open(name, "w+"); f.write("x" * 4096); f.flush(); mmap.mmap(f.fileno(), 4096)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0))
n = socket.socket(socket.AF_UNIX); n.bind("\\0sbx-left-" + os.environ["SBX_SANDBOX_ID"]); n.listen()
p = socket.socket(socket.AF_UNIX); p.bind("socket"); p.listen()
for i in range(20):
    if os.fork() == 0:
        os.setsid()
        break
open("ready", "w").close()
time.sleep(3600)
"""


def create_one(host):
    """When the place is free again."""
    wait_until(lambda: host.get("/health").json()["sandboxes"] == 0, what="the former sandbox's end")
    return host.create()


def test_nothing_is_left_for_the_next_owner():
    with small(users=1) as host:
        for _ in range(5):
            (a,) = create_one(host)
            a.start(["python3", "-c", LEAVES], cwd=str(a.home))
            wait_until((a.home / "ready").exists, what="its processes")
            assert any("udp" in what for what in owned_by(a.uid)) and any("shm" in what for what in owned_by(a.uid))
            assert a.end() == {"id": a.id, "deleted": True}
            assert owned_by(a.uid) == [] and not a.home.exists()
            (b,) = create_one(host)
            assert b.uid == a.uid and b.run("ls -A; ls -A .tmp").stdout.split() == [b".sbx", b".tmp"]
            b.end()


def undeletable(host):
    """A sandbox whose home root has mounted something into; how its end went."""
    (a,) = host.create()
    (a.home / "mount").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(a.home / "mount")], check=True)
    response = host.request("DELETE", a.prefix)
    assert response.status == 500 and "could not be removed" in response.json()["error"]
    return a


def test_files_that_stay_keep_the_user():
    with small(users=1) as host:
        a = undeletable(host)
        try:
            assert ask_for(host, 1) == ([], 1)
            time.sleep(1.5)  # it is tried again meanwhile
            assert ask_for(host, 1) == ([], 1)
        finally:
            subprocess.run(["umount", str(a.home / "mount")], check=True)
        uids, _ = wait_until(lambda: next((got for got in [ask_for(host, 1)] if got[0]), None), what="the user's return")
        assert uids == [a.uid] and not a.home.exists()


def test_control_files_that_stay():
    with small(users=1, off="tenant-left") as host:
        a = undeletable(host)
        try:
            wait_until(lambda: ask_for(host, 1)[0], what="the user, given away over the former owner's files")
        finally:
            subprocess.run(["umount", str(a.home / "mount")], check=True)


def test_processes_that_stay_keep_the_user():
    """Whom root traces is not gone before root has looked."""
    libc = ctypes.CDLL(None, use_errno=True)
    with small(users=1) as host:
        (a,) = host.create()
        pid = a.start("exec sleep 3600")["pid"]
        assert libc.ptrace(0x4206, pid, None, None) == 0, ctypes.get_errno()  # PTRACE_SEIZE
        response = host.request("DELETE", a.prefix, timeout=30)
        assert response.status == 500 and "could not be killed" in response.json()["error"]
        assert ask_for(host, 1) == ([], 1)
        os.waitpid(pid, 0)
        uids, _ = wait_until(lambda: next((got for got in [ask_for(host, 1)] if got[0]), None), what="the user's return")
        assert uids == [a.uid]


def test_5c_26_commands_beside_the_end_have_their_own_domain_or_none():
    """Each end closes the descriptor of the sandbox's domain, and the next sandbox may get its number: a command that was admitted before
    is that sandbox's own, or does not run; and nothing of it is left."""
    script = "id -u; pwd; cat ../*/private; sleep 0.01"
    with small(users=4, capacity=4) as host:
        stop, wrong, ran = threading.Event(), [], []

        def commands(tenant):
            while not stop.is_set():
                try:
                    out = tenant.run(script).stdout.split()
                except Exception:  # it has ended
                    return
                ran.append(1)
                if out and out != [str(tenant.uid).encode(), str(tenant.home).encode(), b"mine"][:len(out)]:
                    wrong.append((tenant.uid, tenant.home, out))

        until = time.monotonic() + 8
        while time.monotonic() < until and not wrong:
            wait_until(lambda: host.get("/health").json()["sandboxes"] == 0, what="the end of all")
            tenants = host.create(4)
            for t in tenants:
                assert t.request("PUT", "/files/write?path=private&mode=644", body=b"mine").status == 200
            threads = [threading.Thread(target=commands, args=(t,)) for t in tenants for _ in range(2)]
            for t in threads:
                t.start()
            for t in tenants:
                assert t.end() == {"id": t.id, "deleted": True}
                assert owned_by(t.uid) == []
            for t in threads:
                t.join()
        assert not wrong and len(ran) > 20, (wrong, len(ran))
        assert host.descriptors() < 40


def test_a_storm_of_stops_keeps_no_sandbox_alive():
    """While the killer has the sandbox's user, the sandbox's processes may stop it."""
    with HostAgent() as host, tempfile.TemporaryDirectory() as directory:
        program = attacks.build(Path(directory)).read_bytes()
        for _ in range(5):
            (a,) = host.create()
            a.request("PUT", "/files/write?path=attack&mode=755", body=program)
            a.start("for i in 1 2 3 4; do ./attack stop-storm 30 & done; wait", cwd=str(a.home))
            wait_until(lambda: len(host.processes_of(a.uid)) >= 2, what="the storm")
            assert a.end() == {"id": a.id, "deleted": True}
            assert owned_by(a.uid) == []
