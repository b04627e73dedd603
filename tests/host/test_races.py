# ctest: timeout=300
"""A sandbox that swaps a directory and a link out of its home all the time, while its files are read and changed through the API; and one
that renames all the time. Nothing outside is read or changed, and nobody waits for it."""
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import attacks
import pytest
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")
SECONDS = 3


@pytest.fixture(scope="module")
def program():
    with tempfile.TemporaryDirectory() as directory:
        yield attacks.build(Path(directory)).read_bytes()


def lay_out(place):
    shutil.rmtree(place, ignore_errors=True)
    (place / "dir/deep").mkdir(parents=True)
    for path in (place, place / "dir", place / "dir/deep"):
        path.chmod(0o777)
    for name in ("open", "mark", "dir/open", "dir/deep/open"):
        (place / name).write_text("outside")
        (place / name).chmod(0o666)


def state(place):
    return sorted((str(p.relative_to(place)), p.lstat().st_uid, p.lstat().st_mode, p.read_text() if p.is_file() else "") for p in place.rglob("*"))


# What is asked for while "x" is now a directory, now a link.
OPERATIONS = {
    "read": [("GET", "/files/read?path=x/open"), ("GET", "/files/read?path=x/dir/open"), ("GET", "/files/stat?path=x/mark")],
    "list": [("GET", "/files/list?path=x"), ("GET", "/files/list?path=x/dir")],
    "write": [("PUT", "/files/write?path=x/open"), ("PUT", "/files/write?path=x/new"), ("PUT", "/files/write?path=x/open&offset=0&mode=777"),
              ("PUT", "/files/write?path=x/a/b/c")],
    "mkdir": [("POST", "/files/mkdir?path=x/made/{n}"), ("POST", "/files/mkdir?path=x/dir/made-{n}")],
    "rename": [("POST", "/files/rename?from=x/open&to=got&overwrite=1"), ("POST", "/files/rename?from=mine&to=x/mine"),
               ("PUT", "/files/write?path=mine"), ("POST", "/files/rename?from=x/dir&to=taken-{n}")],
    "delete": [("DELETE", "/files/delete?path=x/open"), ("DELETE", "/files/delete?path=x/dir&recursive=1"),
               ("POST", "/files/mkdir?path=x/dir/deep"), ("DELETE", "/files/delete?path=x/dir/deep/open")],
}


def ask(tenant, operations, until, seen):
    n = 0
    while time.monotonic() < until and not seen:
        for method, target in operations:
            n += 1
            response = tenant.request(method, target.format(n=n), body=b"inside" if method == "PUT" else None)
            if method == "GET" and response.status == 200 and (b"outside" in response.body or b'"mark"' in response.body or b"/mark" in response.body):
                seen.append((target, response.body[:200]))


def changed(outside, before):
    try:
        return state(outside) != before
    except FileNotFoundError:  # taken away just now
        return True


def race(host, program, outside, operations, seconds=SECONDS):
    """What was seen of the outside, and whether it has changed."""
    lay_out(outside)
    before = state(outside)
    (a,) = host.create()
    a.request("PUT", "/files/write?path=attack&mode=755", body=program)
    swapper = a.start(["./attack", "swap", "x", str(outside), str(seconds + 60)], cwd=str(a.home))
    seen, until = [], time.monotonic() + seconds
    threads = [threading.Thread(target=ask, args=(a, operations, until, seen)) for _ in range(3)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        if not seen and changed(outside, before):
            seen.append("changed")
        time.sleep(0.02)
    for t in threads:
        t.join()
    assert a.get(f"/processes/{swapper['id']}").json()["running"], "it did not swap all the time"
    a.end()
    return seen or (["changed"] if changed(outside, before) else [])


@pytest.fixture
def outside():
    place = Path(tempfile.mkdtemp(prefix="sbx-outside-"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("kind", OPERATIONS)
def test_5c_20_swapped_links_lead_nowhere(program, outside, kind):
    with HostAgent() as host:
        assert race(host, program, outside, OPERATIONS[kind]) == []


@pytest.mark.parametrize("kind", OPERATIONS)
def test_control_swapped_links(program, outside, kind):
    with HostAgent(off="files-beneath,files-identity") as host:
        assert race(host, program, outside, OPERATIONS[kind], seconds=60) != []


WAYS = ("import os\n"
        "os.mkdir('d')\nopen('f', 'w').close()\n"
        "for i in range(31): os.symlink('d/../' * 800 + (f'l{i + 1}' if i < 30 else 'f'), f'l{i}')\n")


def looks(off="", wanted=None, seconds=SECONDS):
    """Answers to questions for a name with many '..', of a sandbox that renames all the time."""
    with HostAgent(off=off) as host:
        (a,) = host.create()
        with tempfile.TemporaryDirectory() as directory:
            a.request("PUT", "/files/write?path=attack&mode=755", body=attacks.build(Path(directory)).read_bytes())
        assert a.run(["python3", "-c", WAYS], cwd=str(a.home)).exit_code == 0
        assert a.get("/files/read?path=l0").status == 200
        for i in range(4):
            a.run(f"mkdir s{i}")
            a.start(["../attack", "rename-storm", str(seconds + 3)], cwd=str(a.home / f"s{i}"))
        until, seen = time.monotonic() + seconds, set()
        while time.monotonic() < until and wanted not in seen:
            seen.add(a.get("/files/read?path=l0").status)
        return seen


def test_renames_hold_up_nobody():
    assert 400 in looks(wanted=400, seconds=60)


def test_control_renames_hold_up_nobody():
    assert looks("files-tries") == {200}
