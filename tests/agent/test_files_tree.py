# ctest: timeout=300
"""Lists, deletion, directories, renaming: what they touch, what they leave, and that they hold nobody up."""
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from agent import Agent, wait_until
from files import Files, error
from machine import in_memory


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


@pytest.fixture(scope="module")
def static_agent():
    """Without sanitizers: for what is measured."""
    with Agent(static=True) as a:
        yield a


@pytest.fixture
def files(agent):
    return Files(agent)


def make_files(directory, count):
    os.makedirs(directory, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY)
    for i in range(count):
        os.close(os.open(f"file-{i:06}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
    os.close(fd)


@pytest.fixture
def memory_path():
    path = tempfile.mkdtemp(prefix="sbx-test-", dir=in_memory())
    yield Path(path)
    subprocess.run(["rm", "-rf", path], check=True)


def make_chain(directory, depth):
    """A directory in a directory, `depth` levels, with a file in each tenth."""
    at = os.open(directory, os.O_RDONLY)
    for i in range(depth):
        os.mkdir("deep", dir_fd=at)
        below = os.open("deep", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
        if i % 10 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=at))
    os.close(at)


class Prober:
    """Asks for /health on its own connection all the time; .worst is the longest answer in seconds."""

    def __init__(self, agent):
        self.agent, self.worst, self.count, self.stop = agent, 0.0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with self.agent.connect() as c:
            while not self.stop.is_set():
                begun = time.monotonic()
                assert c.request("GET", "/health").status == 200
                self.worst = max(self.worst, time.monotonic() - begun)
                self.count += 1
                time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def test_entries(files, tmp_path):
    (tmp_path / "b").write_bytes(b"12345")
    (tmp_path / "a").mkdir()
    (tmp_path / "c").symlink_to("nowhere")
    os.mkfifo(tmp_path / "d")
    os.chmod(tmp_path / "b", 0o4755)
    os.utime(tmp_path / "b", ns=(0, 1234567890123456789))
    listed = files.list(f"{tmp_path}").json()
    assert listed["truncated"] is False and listed["next"] is None
    a, b, c, d = listed["entries"]
    assert b == {"name": "b", "path": f"{tmp_path}/b", "type": "file", "size": 5, "mtime_ms": 1234567890123, "mode": "4755"}
    assert (a["name"], a["type"], c["name"], c["type"], d["name"], d["type"]) == ("a", "dir", "c", "symlink", "d", "file")
    assert b == files.stat(f"{tmp_path}/b").json()
    assert c == files.stat(f"{tmp_path}/c").json()
    root = files.stat("/").json()
    assert root["name"] == "" and root["path"] == "/" and root["type"] == "dir"
    assert files.list("/").json()["entries"][0]["path"].count("/") == 1
    assert files.list(f"{tmp_path}/a").json()["entries"] == []
    assert files.list(f"{tmp_path}/./a/..//").json()["entries"][1]["name"] == "b"


def test_lists_are_sorted_by_bytes_and_paged(files, tmp_path):
    names = [os.fsencode(n) for n in ("B", "a", "é", "Z", "a-b", "a.b", "aa", "\U0001F600", "~", " ")] + [b"\xff", b"\x80x", b"%2F"]
    for name in names:
        open(os.path.join(os.fsencode(tmp_path), name), "w").close()
    for limit in (1, 2, 5, 13, 14):
        got, after, pages = [], None, 0
        while True:
            page = files.list(f"{tmp_path}", limit=limit, **({} if after is None else {"after": after})).json()
            raw = page.get("escaped_names", {})
            got += [unquote_to_bytes(raw[str(i)]) if str(i) in raw else e["name"].encode() for i, e in enumerate(page["entries"])]
            pages += 1
            assert page["truncated"] == (page["next"] is not None)
            after = page["next"]
            if after is None:
                break
        assert got == sorted(names) and pages == -(-len(names) // limit)
    for limit in ("0", "50001", "x", "-1"):
        error(files.list(f"{tmp_path}", limit=limit), 400, "invalid")


def test_a_hundred_thousand_entries_list_in_pages_and_hold_nobody_up(static_agent, memory_path):
    make_files(f"{memory_path}/many", 100000)
    files = Files(static_agent)
    before = static_agent.resident_kib()
    with Prober(static_agent) as prober:
        names, after = [], None
        while after is not None or not names:
            page = files.list(f"{memory_path}/many", **({"after": after} if after else {})).json()
            assert len(page["entries"]) == 10000
            names += [e["name"] for e in page["entries"]]
            after = page["next"]
    assert names == [f"file-{i:06}" for i in range(100000)]
    assert prober.worst < 0.25, prober.worst
    assert static_agent.resident_kib() - before < 32 * 1024
    large = files.list(f"{memory_path}/many", limit=50000).json()
    assert len(large["entries"]) <= 50000 and large["truncated"]


def test_hundreds_of_thousands_of_files_are_deleted_without_a_delay_for_others(static_agent, memory_path):
    make_files(f"{memory_path}/many/a", 150000)
    make_files(f"{memory_path}/many/b/c", 150000)
    (memory_path / "other").write_text("other")
    with Prober(static_agent) as prober:
        reply = Files(static_agent).delete(f"{memory_path}/many", recursive=1)
    assert reply.status == 200 and reply.json() == {"deleted": f"{memory_path}/many"}
    assert not os.path.exists(memory_path / "many") and prober.count > 5
    assert prober.worst < 0.25, prober.worst


def test_control_a_deletion_on_the_loop_delays_everybody(memory_path):
    make_files(f"{memory_path}/many", 300000)
    with Agent(off="workers,files-slices") as a:
        with Prober(a) as prober:
            assert Files(a).delete(f"{memory_path}/many", recursive=1).status == 200
    assert prober.worst > 0.25, prober.worst


def test_four_large_deletes_leave_room_for_other_file_work(static_agent, memory_path):
    for i in range(5):
        make_files(f"{memory_path}/{i}", 40000)
    (memory_path / "other").write_text("other")
    threads = [threading.Thread(target=Files(static_agent).delete, args=(f"{memory_path}/{i}",), kwargs={"recursive": 1}) for i in range(5)]
    worst = 0.0
    with static_agent.connect() as c:
        files = Files(static_agent, c)
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            begun = time.monotonic()
            assert files.read(f"{memory_path}/other").body == b"other"
            worst = max(worst, time.monotonic() - begun)
    assert sorted(os.listdir(memory_path)) == ["other"]
    assert worst < 0.5, worst


def test_a_tree_of_ten_thousand_levels_is_deleted(agent, files, memory_path):
    make_chain(memory_path, 10000)
    before = agent.descriptors()
    assert files.delete(f"{memory_path}/deep", recursive=1).status == 200
    assert os.listdir(memory_path) == []
    wait_until(lambda: agent.descriptors() <= before, what="closing of the directories")


def test_a_wide_tree_below_a_deep_one(files, tmp_path):
    """More levels than are kept open, each with entries before and after the one that goes deeper."""
    at = tmp_path
    for level in range(60):
        for name in ("a", "z"):
            (at / f"{name}-directory").mkdir()
            (at / f"{name}-directory" / "file").touch()
            (at / f"{name}-file").touch()
        at = at / "m"
        at.mkdir()
    make_files(f"{at}", 500)
    assert files.delete(f"{tmp_path}/m", recursive=1).status == 200
    assert sorted(os.listdir(tmp_path)) == ["a-directory", "a-file", "z-directory", "z-file"]


def plant(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/precious").write_text("precious")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "outside")
    (tmp_path / "tree/file-link").symlink_to(tmp_path / "outside/precious")


def test_deletion_does_not_follow_links(files, tmp_path):
    plant(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    assert files.delete(f"{tmp_path}/link", recursive=1).status == 200
    assert files.delete(f"{tmp_path}/tree", recursive=1).status == 200
    assert (tmp_path / "outside/precious").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["outside"]


def test_control_a_deletion_that_follows_links_removes_what_is_outside(tmp_path):
    plant(tmp_path)
    with Agent(off="files-nofollow") as a:
        Files(a).delete(f"{tmp_path}/tree", recursive=1)
    assert not (tmp_path / "outside/precious").exists()


def mounted_inside(tmp_path, off=""):
    """An agent in a mount namespace of its own, in which a directory of the same file system is bound into the tree."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("precious")
    (tmp_path / "tree/mount").mkdir(parents=True)
    (tmp_path / "tree/before").touch()
    return Agent(off=off, wrap=["unshare", "-m", "sh", "-c", f'mount --bind {tmp_path}/precious {tmp_path}/tree/mount && exec "$@"', "sh"])


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@needs_root
def test_deletion_stops_at_a_mount_point_and_says_so(tmp_path):
    with mounted_inside(tmp_path) as a:
        reply = Files(a).delete(f"{tmp_path}/tree", recursive=1)
        assert "tree/mount is a mount point" in error(reply, 409, "conflict")
    assert (tmp_path / "precious/file").read_text() == "precious"


@needs_root
def test_control_a_deletion_that_crosses_mounts_empties_them(tmp_path):
    with mounted_inside(tmp_path, off="files-mount") as a:
        Files(a).delete(f"{tmp_path}/tree", recursive=1)
    assert not (tmp_path / "precious/file").exists()


def test_what_cannot_be_deleted(files, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    error(files.delete(f"{tmp_path}/full"), 400, "not_empty")
    for path in ("/", "//", ".", "..", "/tmp/..", f"{tmp_path}/full/."):
        error(files.delete(path, recursive=1), 400, "invalid")
    assert (tmp_path / "full/file").exists()
    assert files.delete(f"{tmp_path}/full/file").json() == {"deleted": f"{tmp_path}/full/file"}
    assert files.delete(f"{tmp_path}/full/").status == 200
    assert not (tmp_path / "full").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="chattr needs root")
def test_a_partial_deletion_says_what_is_left(files, tmp_path):
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree/a/b/fixed").touch()
    if subprocess.run(["chattr", "+i", tmp_path / "tree/a/b/fixed"], capture_output=True).returncode != 0:
        pytest.skip("no immutable files here")
    try:
        assert "tree/a/b/fixed" in error(files.delete(f"{tmp_path}/tree", recursive=1), 400, "denied")
    finally:
        subprocess.run(["chattr", "-i", tmp_path / "tree/a/b/fixed"], check=True)


def test_entries_that_appear_meanwhile(static_agent, tmp_path):
    """A command fills the tree while it is deleted: the answer is the truth either way."""
    make_files(f"{tmp_path}/tree/sub", 3000)
    stop = threading.Event()

    def fill():
        n = 0
        while not stop.is_set():
            try:
                open(f"{tmp_path}/tree/sub/new-{n}", "w").close()
                n += 1
            except FileNotFoundError:
                return

    filler = threading.Thread(target=fill)
    filler.start()
    reply = Files(static_agent).delete(f"{tmp_path}/tree", recursive=1)
    exists = os.path.exists(f"{tmp_path}/tree")
    stop.set()
    filler.join()
    assert (reply.status == 200) == (not exists), reply
    assert reply.status == 200 or reply.json()["code"] == "not_empty"


def test_directories(files, tmp_path):
    path = f"{tmp_path}/a/b/c"
    assert files.mkdir(path).json() == {"created": path}
    assert files.mkdir(path).status == 200
    assert files.mkdir(path + "/").status == 200
    assert os.stat(f"{tmp_path}/a").st_mode & 0o7777 == 0o700
    (tmp_path / "file").touch()
    error(files.mkdir(f"{tmp_path}/file"), 409, "exists")
    error(files.mkdir(f"{tmp_path}/file/below"), 400, "not_directory")
    (tmp_path / "link").symlink_to("a")
    assert files.mkdir(f"{tmp_path}/link/new").status == 200
    assert (tmp_path / "a/new").is_dir()


def test_renaming(files, tmp_path):
    a, b = f"{tmp_path}/a", f"{tmp_path}/b"
    files.write(a, b"a")
    assert files.rename(a, b).json() == {"from": a, "to": b}
    assert open(b).read() == "a" and not os.path.exists(a)
    files.write(a, b"new a")
    error(files.rename(a, b, replace="false"), 409, "exists")
    assert files.rename(a, b, replace="true").status == 200
    assert open(b).read() == "new a"
    error(files.rename(a, b), 404, "not_found")
    error(files.rename(b, f"{tmp_path}/none/x"), 404, "not_found")
    error(files.rename(b, ""), 400, "invalid")
    error(files.rename("", b), 400, "invalid")
    os.makedirs(f"{tmp_path}/d/e")
    error(files.rename(f"{tmp_path}/d", f"{tmp_path}/d/e/f"), 400, "invalid")
    error(files.rename(b, f"{tmp_path}/d"), 409, "is_directory")
    os.makedirs(f"{tmp_path}/g")
    error(files.rename(f"{tmp_path}/g", f"{tmp_path}/d"), 400, "not_empty")
    os.symlink("b", f"{tmp_path}/link")
    assert files.rename(f"{tmp_path}/link", f"{tmp_path}/link2").status == 200
    assert os.readlink(f"{tmp_path}/link2") == "b"
    assert files.rename(f"{tmp_path}/d", f"{tmp_path}/moved").status == 200
    if os.stat("/dev/shm").st_dev != os.stat(tmp_path).st_dev:
        error(files.rename(b, "/dev/shm/sbx-never"), 400, "invalid")
