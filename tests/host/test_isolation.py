# ctest: timeout=300
"""What keeps the sandboxes of one machine apart, each with its control: files through the API, users, limits, ports."""
import os
import tempfile
from pathlib import Path

import pytest
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")


@pytest.fixture(scope="module")
def host():
    with HostAgent() as h:
        yield h


@pytest.fixture(scope="module")
def outside():
    """Files of the machine: one that everybody may read, one that only root may."""
    place = Path(tempfile.mkdtemp(prefix="sbx-outside-"))
    place.chmod(0o777)
    (place / "open").write_text("open")
    (place / "root").write_text("root")
    (place / "root").chmod(0o600)
    (place / "dir").mkdir()
    (place / "dir").chmod(0o777)
    yield place
    import shutil
    shutil.rmtree(place)


def plant(tenant, outside, neighbour):
    """Links out of the home, as a sandbox that is up to no good would leave them there."""
    tenant.run(f"ln -s {outside} out; ln -s {outside}/open o; ln -s {outside}/root r; ln -s / top; ln -s ../{neighbour.id} next;"
               f"ln -s {outside}/new fresh; mkdir d; ln -s ../../{neighbour.id} d/next; ln -s /proc/self/root magic")
    neighbour.run("echo private > private")


# (method, route): each would touch something outside.
TRICKS = [
    ("GET", "/files/read?path=o"), ("GET", "/files/read?path=out/open"), ("GET", "/files/read?path=top{outside}/open"),
    ("GET", "/files/read?path=r"), ("GET", "/files/read?path=out/root"), ("GET", "/files/read?path=next/private"),
    ("GET", "/files/read?path=d/next/private"), ("GET", "/files/read?path=magic{outside}/open"),
    ("GET", "/files/list?path=out"), ("GET", "/files/list?path=next"), ("GET", "/files/stat?path=out/open"),
    ("PUT", "/files/write?path=o"), ("PUT", "/files/write?path=out/open"), ("PUT", "/files/write?path=fresh"), ("PUT", "/files/write?path=out/new"),
    ("PUT", "/files/write?path=out/open&offset=0"), ("PUT", "/files/write?path=next/new"), ("PUT", "/files/write?path=out/dir/a/b"),
    ("POST", "/files/mkdir?path=out/made"), ("POST", "/files/mkdir?path=out/dir/made/deeper"),
    ("POST", "/files/rename?from=out/open&to=got"), ("POST", "/files/rename?from=mine&to=out/dir/put"),
    ("DELETE", "/files/delete?path=out/open"), ("DELETE", "/files/delete?path=out/dir&recursive=1"),
]


def state(outside):
    return sorted((str(p.relative_to(outside)), p.lstat().st_uid, p.read_text() if p.is_file() else "") for p in outside.rglob("*"))


def test_planted_links_lead_nowhere(host, outside):
    a, b = host.create(2)
    plant(a, outside, b)
    a.run("echo mine > mine")
    before = state(outside)
    for method, target in TRICKS:
        response = a.request(method, target.format(outside=outside), body=b"planted" if method == "PUT" else None)
        assert response.status in (400, 404), (method, target, response)
        assert state(outside) == before, (method, target)
    assert b.run("ls -A; cat private").stdout.decode().split() == [".sbx", ".tmp", "private", "private"]
    # Deleting the links themselves is fine, and leaves what they lead to.
    for name in ("out", "top", "next"):
        assert a.request("DELETE", f"/files/delete?path={name}&recursive=1").status == 200
    assert state(outside) == before
    a.end()
    b.end()


@pytest.mark.parametrize("off, target, stopped", [
    ("files-beneath", "/files/read?path=out/open", False), ("files-beneath", "/files/read?path=out/root", True),
    ("files-identity", "/files/read?path=out/root", True), ("files-beneath,files-identity", "/files/read?path=out/root", False),
    ("files-beneath", "/files/read?path=next/private", True), ("files-beneath,files-identity", "/files/read?path=next/private", False),
])
def test_control_planted_links(outside, off, target, stopped):
    with HostAgent(off=off) as h:
        a, b = h.create(2)
        plant(a, outside, b)
        assert (a.get(target).status != 200) == stopped


def test_files_belong_to_the_sandbox(host):
    (a,) = host.create()
    a.request("PUT", "/files/write?path=new/f&mode=755", body=b"x")
    assert a.run("stat -c '%u:%g' new new/f").stdout.decode().split() == [f"{a.uid}:{a.uid}"] * 2
    a.end()


def test_control_files_belong_to_the_sandbox():
    with HostAgent(off="files-identity") as h:
        (a,) = h.create()
        a.request("PUT", "/files/write?path=f", body=b"x")
        assert (a.home / "f").stat().st_uid == 0


def test_the_user(host):
    (a,) = host.create()
    assert a.run("id -u; grep -E 'NoNewPrivs|CapEff|CapPrm' /proc/self/status").stdout.decode().split() == [
        str(a.uid), "CapPrm:", "0" * 16, "CapEff:", "0" * 16, "NoNewPrivs:", "1"]
    a.end()


def test_control_the_user():
    with HostAgent(off="host-uid") as h:
        (a,) = h.create()
        assert a.run("id -u").stdout == b"0\n"


def test_limits(host):
    (a,) = host.create(max_procs=20, max_mem_mb=300)
    assert a.run("ulimit -d; ulimit -n; ulimit -c").stdout.decode().split() == [str(300 * 1024), "4096", "0"]
    assert a.run("grep -i processes /proc/self/limits").stdout.split()[2:4] == [b"20", b"20"]
    refused = a.run("for i in $(seq 40); do sleep 20 & done; echo started", timeout=10)
    assert len(host.processes_of(a.uid)) <= 20 and (b"fork" in refused.stderr.lower() or refused.exit["exit_code"] != 0)
    a.end()


def test_control_limits():
    with HostAgent(off="host-limits") as h:
        (a,) = h.create(max_procs=20)
        a.start("for i in $(seq 40); do sleep 20 & done; wait")
        from agent import wait_until
        wait_until(lambda: len(h.processes_of(a.uid)) > 30, what="more processes than allowed")


LISTEN = "python3 -c 'import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); s.listen(); print(\"listens\")'"


def test_no_port_is_opened(host):
    (a,) = host.create()
    assert b"PermissionError" in a.run(LISTEN).stderr
    a.end()


def test_control_ports():
    with HostAgent(off="host-bind") as h:
        (a,) = h.create()
        assert a.run(LISTEN).stdout == b"listens\n"


SHARE = "python3 -c 'import multiprocessing as m; print(m.Pool(2).map(abs, [-1, -2]))'"


def left_in_shared_memory(h):
    (a,) = h.create()
    a.run(f"echo kept > /dev/shm/sbx-test-{a.id}; ln -s /etc /dev/shm/sbx-link-{a.id}; mkdir /dev/shm/sbx-dir-{a.id}")
    path = Path(f"/dev/shm/sbx-test-{a.id}")
    assert path.read_text() == "kept\n" and not Path(f"/dev/shm/sbx-link-{a.id}").is_symlink() and not Path(f"/dev/shm/sbx-dir-{a.id}").exists()
    a.end()
    return path


def test_shared_memory_is_each_sandboxs_own(host):
    a, b = host.create(2)
    assert a.run(SHARE).stdout == b"[1, 2]\n"
    name = f"/dev/shm/sbx-test-{a.id}"
    a.run(f"umask 077; echo private > {name}")
    assert b.run(f"cat {name}; echo x > {name}; rm -f {name}; ls /dev/shm").stdout == b"" and Path(name).read_text() == "private\n"
    a.end()
    b.end()
    assert not left_in_shared_memory(host).exists()


def test_control_shared_memory():
    with HostAgent(off="host-sweep") as h:
        path = left_in_shared_memory(h)
        assert path.exists()
        path.unlink()


def test_a_weaker_kernel_is_an_error():
    h = HostAgent(env={"SBX_MIN_LANDLOCK_ABI": "99"}, clean_exit=False)
    with pytest.raises(AssertionError, match="Landlock of version . here, 99 is needed"):
        h.start()
    h.__exit__(AssertionError)
    with HostAgent(env={"SBX_MIN_LANDLOCK_ABI": "99"}, args=["--allow-unconfined"]) as weak:
        (a,) = weak.create()
        assert a.item["confinement"] == "uid-only"
        steps = {step["name"]: step["holds"] for step in a.get("/info").json()["isolation"]["steps"]}
        assert steps["landlock"] is False and steps["identity"] is True
