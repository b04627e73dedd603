# ctest: timeout=300
"""A written file appears whole or not at all: readers, full disks, lost connections, killed agents, writers at the same time; ranged
writes end at the right bytes."""
import mmap
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent import Agent, wait_until
from fuse import FuseFile
from files import RANDOM, Files, error, target


@pytest.fixture(scope="module", params=["", "files-in-memory"], ids=["loop", "workers"])
def agent(request):
    """A file in memory is written by the loop itself, one on a disk by the workers. The files of these tests are in memory; half of the
    agents take them for files on a disk."""
    with Agent(off=request.param) as a:
        yield a


@pytest.fixture
def tmp_path():
    with tempfile.TemporaryDirectory(prefix="sbx-test-", dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture
def files(agent):
    return Files(agent)


SIZE = 2 << 20


def torn_reads(agent, path, seconds, until_torn=False):
    """Reads the file by the kernel while it is overwritten: how many reads saw neither the old nor the new contents."""
    contents = [bytes([c]) * SIZE for c in b"ab"]
    open(path, "wb").write(contents[0])
    stop, torn, reads = threading.Event(), 0, 0

    def overwrite():
        with agent.connect() as c:
            n = 0
            while not stop.is_set():
                assert Files(agent, c).write(path, contents[n % 2]).status == 200
                n += 1

    writer = threading.Thread(target=overwrite)
    writer.start()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not (until_torn and torn):
        with open(path, "rb") as f:
            seen = f.read()
        torn += seen not in contents
        reads += 1
    stop.set()
    writer.join()
    assert reads > 5 or torn
    return torn


def test_a_reader_sees_the_old_file_or_the_new_one(agent, tmp_path):
    assert torn_reads(agent, f"{tmp_path}/f", 5) == 0
    assert os.listdir(tmp_path) == ["f"]


def test_control_writing_in_place_shows_halves(tmp_path):
    with Agent(off="files-atomic") as a:
        assert torn_reads(a, f"{tmp_path}/f", 60, until_torn=True) > 0


def send_half(agent, path, off_by=1 << 20):
    """Sends a part of a body whose head promises more; returns the connection."""
    c = agent.connect()
    c.send_request("PUT", target("write", path=path), agent.headers([("Content-Length", 4 << 20)]))
    c.send(RANDOM[:off_by])
    return c


def test_a_body_that_ends_too_early_leaves_the_old_file(agent, tmp_path):
    path = f"{tmp_path}/f"
    before = agent.descriptors()
    for old in (None, b"old"):
        if old is not None:
            open(path, "wb").write(old)
        for size in (0, 1, 1 << 20):
            send_half(agent, path, size).close()
        wait_until(lambda: agent.descriptors() <= before, what="closing of the unfinished file")
        assert os.listdir(tmp_path) == ([] if old is None else ["f"])
        assert old is None or open(path, "rb").read() == old


@pytest.mark.parametrize("static", [False, True])
def test_a_killed_agent_leaves_the_old_file_and_nothing_beside_it(tmp_path, static):
    path = f"{tmp_path}/f"
    open(path, "wb").write(b"old")
    a = Agent(static=static, clean_exit=False)
    a.start()
    c = send_half(a, path)
    wait_until(lambda: any("(deleted)" in os.readlink(f"/proc/{a.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{a.pid}/fd")
                           if os.path.lexists(f"/proc/{a.pid}/fd/{fd}")), what="the unfinished file")
    os.kill(a.pid, signal.SIGKILL)
    a.wait_exit()
    c.close()
    assert os.listdir(tmp_path) == ["f"] and open(path, "rb").read() == b"old"


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    at = tmp_path / "disk"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", at], check=True)
    yield at
    subprocess.run(["umount", at], check=True)


@pytest.mark.parametrize("length", ["known", "chunked"])
def test_a_full_disk_is_said_and_the_old_file_stays(agent, files, small_disk, length):
    path = f"{small_disk}/f"
    assert files.write(path, b"old" * 1000).status == 200
    before = agent.descriptors()
    for query in ({}, {"offset": 0}) if length == "known" else ({},):
        framing = ("Content-Length", len(RANDOM)) if length == "known" else ("Transfer-Encoding", "chunked")
        with agent.connect() as c:
            try:
                c.send_request("PUT", target("write", path=path, **query), agent.headers([framing]))
                for at in range(0, len(RANDOM), 65536):
                    part = RANDOM[at : at + 65536]
                    c.send(part if length == "known" else b"%x\r\n" % len(part) + part + b"\r\n")
                c.send(b"" if length == "known" else b"0\r\n\r\n")
            except OSError:
                pass  # refused while it was sent; the answer is there
            reply = c.read_response()
        assert reply.status == 507 and reply.json()["code"] == "no_space", reply
        if not query:
            assert open(path, "rb").read() == b"old" * 1000 and os.listdir(small_disk) == ["f"]
    wait_until(lambda: agent.descriptors() <= before, what="closing of the unfinished file")
    if length == "known":  # what was written in place has filled the disk
        assert files.write(path, b"", offset=0, truncate_to=0).status == 200
    wait_until(lambda: files.write(path, b"new").status == 200, what="room where the unfinished file was")
    assert open(path).read() == "new"


def ask_first(agent, path):
    """Announces more than the disk has, and asks before sending it."""
    with agent.connect() as c:
        c.send_request("PUT", target("write", path=path), agent.headers([("Content-Length", len(RANDOM)), ("Expect", "100-continue")]))
        return c.read_head().status


def late_writer(agent, path, between):
    """Begins a conditional write in place, lets somebody else write the file, then sends its bytes: the status."""
    tag = Files(agent).write(path, b"0123456789").header("ETag")
    with agent.connect() as c:
        fields = [("Content-Length", 4), ("Expect", "100-continue"), ("If-Match", tag)]
        c.send_request("PUT", target("write", path=path, offset=2), agent.headers(fields))
        assert c.read_head().status == 100
        between(tag)
        c.send(b"late")
        return c.read_response().status


@pytest.mark.parametrize("other", ["in place", "whole"])
@pytest.mark.parametrize("off", ["", "etag-at-once"])
def test_a_condition_holds_until_the_bytes_are_written(tmp_path, other, off):
    """With the protection off, both writers are told that they succeeded."""
    path, query = f"{tmp_path}/f", {"offset": 0} if other == "in place" else {}
    with Agent(off=off) as a:
        status = late_writer(a, path, lambda tag: error_free(Files(a).write(path, b"OTHERBYTES", [("If-Match", tag)], **query)))
        assert status == (200 if off else 412)
        assert off or open(path).read() == "OTHERBYTES"
        assert late_writer(a, path, lambda tag: None) == 200 and open(path).read() == "01late6789"


def error_free(reply):
    assert reply.status == 200, reply


def test_many_conditional_writers_in_place_one_wins(agent, tmp_path):
    path = f"{tmp_path}/f"
    for _ in range(20):
        tag = [("If-Match", Files(agent).write(path, b"0" * 100000).header("ETag"))]
        with ThreadPoolExecutor(6) as pool:
            replies = list(pool.map(lambda n: Files(agent).write(path, bytes([n]) * 100000, tag, offset=0), range(6)))
        won = [n for n, r in enumerate(replies) if r.status == 200]
        assert len(won) == 1 and {r.status for r in replies} == {200, 412}
        assert open(path, "rb").read() == bytes([won[0]]) * 100000


def test_a_conditional_range_is_small_and_of_known_length(agent, files, tmp_path):
    path = f"{tmp_path}/f"
    tag = [("If-Match", files.write(path, b"old").header("ETag"))]
    assert "at most 262144 bytes" in error(files.write(path, RANDOM[: (1 << 18) + 1], tag, offset=0), 413, "too_large")
    chunked = tag + [("Transfer-Encoding", "chunked")]
    error(agent.request("PUT", target("write", path=path, offset=0), headers=chunked, body=b"1\r\nx\r\n0\r\n\r\n"), 413, "too_large")
    assert open(path).read() == "old"
    written = files.write(path, RANDOM[: 1 << 18], tag, offset=1)
    assert written.status == 200 and open(path, "rb").read() == b"o" + RANDOM[: 1 << 18]
    error(files.write(f"{tmp_path}/none/f", b"x", [("If-Match", "*")], offset=0, mkdir="false"), 404, "not_found")
    assert files.write(path, b"", [("If-Match", written.header("ETag"))], offset=0, truncate_to=1).status == 200
    assert open(path).read() == "o"


def test_what_cannot_fit_is_refused_before_it_travels(agent, small_disk):
    assert ask_first(agent, f"{small_disk}/f") == 507


def test_control_without_the_look_at_the_space_it_is_asked_for(small_disk):
    with Agent(off="files-space") as a:
        assert ask_first(a, f"{small_disk}/f") == 100


def test_writers_at_the_same_time_leave_one_of_their_files(agent, tmp_path):
    path = f"{tmp_path}/f"
    contents = [bytes([65 + i]) * (500000 + 70000 * i) for i in range(8)]

    def write(data):
        assert Files(agent).write(path, data).status == 200

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, contents))
        assert open(path, "rb").read() in contents
    assert os.listdir(tmp_path) == ["f"]


def test_of_many_creators_one_wins(agent, tmp_path):
    for i in range(20):
        with ThreadPoolExecutor(6) as pool:
            replies = list(pool.map(lambda n: Files(agent).write(f"{tmp_path}/{i}", b"%d" % n, [("If-None-Match", "*")]), range(6)))
        won = [n for n, r in enumerate(replies) if r.status == 200]
        assert len(won) == 1 and {r.status for r in replies} == {200, 412}
        assert open(f"{tmp_path}/{i}", "rb").read() == b"%d" % won[0]


def ranged(agent, path, data, chunk=1 << 18, truncate=True, mode=None, seed=0):
    """As the Hub's client does it: parallel ranges in any order, each with the mode, the last one with the whole length."""
    ranges = list(range(0, len(data), chunk))
    random.Random(seed).shuffle(ranges)

    def put(at):
        query = {"offset": at, **({"mode": mode} if mode else {})}
        if truncate and at + chunk >= len(data):
            query["truncate_to"] = len(data)
        reply = Files(agent).write(path, data[at : at + chunk], **query)
        assert reply.status == 200 and reply.json()["size"] == len(data[at : at + chunk]), reply

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, ranges))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("old", [None, 100, 3 << 20])
def test_parallel_ranges_end_at_the_right_bytes_and_length(agent, tmp_path, seed, old):
    path, data = f"{tmp_path}/f", RANDOM[: (2 << 20) + 12345]
    if old is not None:
        open(path, "wb").write(b"x" * old)
    ranged(agent, path, data, mode="640", seed=seed)
    assert open(path, "rb").read() == data
    assert os.stat(path).st_mode & 0o7777 == 0o640


def test_control_without_the_final_length_the_old_tail_stays(tmp_path):
    path, data = f"{tmp_path}/f", RANDOM[: 2 << 20]
    open(path, "wb").write(b"x" * (3 << 20))
    with Agent(off="files-truncate") as a:
        ranged(a, path, data)
    assert os.path.getsize(path) == 3 << 20


def test_a_ranged_write_keeps_the_rest_and_may_leave_a_hole(files, tmp_path):
    path = f"{tmp_path}/f"
    open(path, "wb").write(b"0123456789")
    assert files.write(path, b"abc", offset=3).json()["size"] == 3
    assert open(path, "rb").read() == b"012abc6789"
    assert files.write(path, b"z", offset=15).status == 200
    assert open(path, "rb").read() == b"012abc6789\0\0\0\0\0z"
    assert files.write(path, b"", offset=0, truncate_to=4).status == 200
    assert open(path, "rb").read() == b"012a"
    assert files.write(path, b"12345678", truncate_to=4).status == 200
    assert open(path, "rb").read() == b"1234"
    error(files.write(path, b"x", offset=2**63 - 1), 507, "no_space")


@pytest.mark.skipif(os.geteuid() != 0, reason="an agent of another user is started by root")
def test_ranges_with_a_read_only_mode_work_for_an_ordinary_user(tmp_path):
    home = tempfile.mkdtemp(prefix="sbx-user-")
    os.chown(home, 65534, 65534)
    try:
        with Agent(static=True, wrap=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], cwd=home) as a:
            ranged(a, f"{home}/f", RANDOM[: 1 << 20], mode="444")
            assert open(f"{home}/f", "rb").read() == RANDOM[: 1 << 20] and os.stat(f"{home}/f").st_mode & 0o7777 == 0o444
            error(Files(a).write(f"{home}/f", b"x", offset=0), 400, "denied")
            assert Files(a).write(f"{home}/f", b"x").status == 200
    finally:
        subprocess.run(["rm", "-rf", home], check=True)


def test_chunked_bodies_and_100_continue(agent, tmp_path):
    path = f"{tmp_path}/f"
    with agent.connect() as c:
        c.send_request("PUT", target("write", path=path), agent.headers([("Transfer-Encoding", "chunked")]))
        for at in range(0, len(RANDOM), 99991):
            part = RANDOM[at : at + 99991]
            c.send(b"%x\r\n" % len(part) + part + b"\r\n")
        c.send(b"0\r\n\r\n")
        assert c.read_response().json()["size"] == len(RANDOM)
        c.send_request("PUT", target("write", path=path), agent.headers([("Content-Length", 5), ("Expect", "100-continue")]))
        assert c.read_head().status == 100
        c.send(b"hello")
        assert c.read_response().status == 200
    assert open(path).read() == "hello"


def test_a_refused_upload_is_answered_before_its_body(agent, tmp_path):
    with agent.connect() as c:
        c.send_request("PUT", target("write", path=f"{tmp_path}"), agent.headers([("Content-Length", 1 << 40), ("Expect", "100-continue")]))
        reply = c.read_response()
        assert reply.status == 409 and reply.json()["code"] == "is_directory" and reply.interim == []


def test_a_slow_upload_holds_no_worker_and_little_memory(agent, tmp_path):
    slow = [send_half(agent, f"{tmp_path}/{i}", 1000) for i in range(50)]
    begun = time.monotonic()
    assert Files(agent).write(f"{tmp_path}/fast", RANDOM).status == 200
    assert time.monotonic() - begun < 5
    for c in slow:
        c.close()


@contextmanager
def locked(directory):
    """The file f in memory, which this process writes to from memory that does not come: its lock is held for as long. No process is
    started meanwhile: it would close a file that does not answer."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    (directory / "remote").mkdir()
    with FuseFile(RANDOM, directory / "remote") as f:
        source, to = os.open(f.path, os.O_RDONLY), os.open(directory / "f", os.O_WRONLY | os.O_CREAT)
        memory = mmap.mmap(source, 0, prot=mmap.PROT_READ)
        f.stall()
        writer = threading.Thread(target=os.write, args=[to, memory])
        writer.start()
        try:
            assert f.asked.wait(10)
            yield f
        finally:
            f.go_on()
            writer.join()
            memory.close()
            os.close(source)
            os.close(to)


def begin_range(agent, path):
    """A write in place, as far as the file's lock."""
    c = agent.connect()
    c.send_request("PUT", target("write", path=path, offset=0), agent.headers([("Content-Length", len(RANDOM)), ("Expect", "100-continue")]))
    assert c.read_head().status == 100
    c.send(RANDOM[:1000])
    return c


def test_a_locked_file_holds_up_only_its_writer(agent, tmp_path):
    with locked(tmp_path) as lock, begin_range(agent, f"{tmp_path}/f") as c:
        for _ in range(3):
            assert agent.get("/health", timeout=10).status == 200
        lock.go_on()
        c.send(RANDOM[1000:])
        assert c.read_response().status == 200


def test_control_the_loop_would_wait_for_the_lock(tmp_path):
    with Agent(off="files-own") as a, locked(tmp_path), begin_range(a, f"{tmp_path}/f"), pytest.raises(TimeoutError):
        for _ in range(50):
            a.get("/health", timeout=1)
