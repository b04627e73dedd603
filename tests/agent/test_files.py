# ctest: timeout=300
"""Reading and writing files: bytes, ranges, special files, entity tags, errors."""
import os
import resource
import select
import socket
import time

import pytest
from agent import Agent, wait_until
from fuse import FuseFile
from files import RANDOM, Files, error, target
from raw_http import HttpError


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


@pytest.fixture
def files(agent):
    return Files(agent)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 262144, 1 << 20, 3 << 20])
def test_bytes_survive_both_ways(files, tmp_path, size):
    data, path = RANDOM[:size], f"{tmp_path}/f"
    written = files.write(path, data)
    assert written.status == 200 and written.json() == {"path": path, "size": size}
    assert open(path, "rb").read() == data
    read = files.read(path)
    assert read.status == 200 and read.body == data and read.header("Content-Length") == str(size)
    assert read.header("Content-Type") == "application/octet-stream"
    assert read.header("ETag") == written.header("ETag") == files.stat(path).header("ETag")


def test_many_requests_on_one_connection(agent, tmp_path):
    with agent.connect() as c:
        files = Files(agent, c)
        for i in range(30):
            data = RANDOM[i : i + i * 10007]
            assert files.write(f"{tmp_path}/f", data).status == 200
            assert files.read(f"{tmp_path}/f").body == data
            assert files.read(f"{tmp_path}/f", offset=i, length=100).body == data[i : i + 100]


@pytest.mark.parametrize("offset,length", [(0, 10), (5, None), (99999, 1), (99990, 100), (100000, None), (10**9, 5),
                                           (2**64 - 1, None), (7, 0), (0, 2**64 - 1), (33333, 66666)])
def test_ranges(files, tmp_path, offset, length):
    path, data = f"{tmp_path}/f", RANDOM[:100000]
    open(path, "wb").write(data)
    query = {"offset": offset} if length is None else {"offset": offset, "length": length}
    read = files.read(path, **query)
    end = len(data) if length is None else offset + length
    assert read.status == 200 and read.body == data[offset:end]


def test_a_malformed_number_is_refused_and_writes_nothing(files, tmp_path):
    path = f"{tmp_path}/f"
    open(path, "w").write("old")
    for query in ({"offset": "x"}, {"offset": "-1"}, {"truncate_to": "1e3"}, {"offset": ""}):
        error(files.write(path, b"new", **query), 400, "invalid")
    error(files.read(path, offset="1x"), 400, "invalid")
    assert open(path).read() == "old"


def test_head_has_the_fields_and_no_body(agent, files, tmp_path):
    path = f"{tmp_path}/f"
    for size in (0, 10, 1 << 20):
        open(path, "wb").write(RANDOM[:size])
        with agent.connect() as c:
            head = c.request("HEAD", target("read", path=path), agent.headers())
            assert head.status == 200 and head.header("Content-Length") == str(size) and head.body == b""
            assert head.header("ETag")
            assert Files(agent, c).read(path).body == RANDOM[:size]  # nothing of a body stood in between


def test_missing_files_and_directories(files, tmp_path):
    missing = f"{tmp_path}/none"
    assert error(files.read(missing), 404, "not_found").startswith("no such file")
    error(files.stat(missing), 404, "not_found")
    error(files.list(missing), 404, "not_found")
    error(files.delete(missing), 404, "not_found")
    error(files.read(f"{tmp_path}"), 409, "is_directory")
    error(files.write(f"{tmp_path}", b"x"), 409, "is_directory")
    error(files.write(f"{tmp_path}/", b"x"), 409, "is_directory")
    error(files.write("/", b"x"), 409, "is_directory")
    open(f"{tmp_path}/file", "w").close()
    error(files.read(f"{tmp_path}/file/below"), 400, "not_directory")
    error(files.list(f"{tmp_path}/file"), 400, "not_directory")
    error(files.write(f"{tmp_path}/file/below", b"x"), 400, "not_directory")
    for call in (files.read, files.stat, files.list, files.delete, files.mkdir):
        error(call(""), 400, "invalid")
        error(call(b"/tmp/a\0b"), 400, "invalid")
        error(call("/" + "x/" * 2100), 400, "invalid")
        error(call("/tmp/" + "y" * 300), 400, "invalid")


def test_what_the_system_refuses_is_no_fault_of_the_agent(files):
    assert "Input/output error" in error(files.read("/proc/self/mem"), 400, "system")


def test_a_file_that_is_there_is_not_called_missing(files):
    """A whole file is put in place of the old one, and in /proc none can be made."""
    assert "not permitted" in error(files.write("/proc/self/mem", b"x"), 400, "denied")
    error(files.write("/proc/self/no-such-file", b"x"), 404, "not_found")


def test_no_descriptor_left_is_busy(tmp_path):
    (tmp_path / "f").write_text("text")
    with Agent() as a, a.connect() as c:
        files = Files(a, c)
        assert files.read(f"{tmp_path}/f").body == b"text"
        before = resource.prlimit(a.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(a.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        for call in (files.read, files.stat, files.list, lambda path: files.write(path, b"new")):
            error(call(f"{tmp_path}/f"), 503, "busy")
        resource.prlimit(a.pid, resource.RLIMIT_NOFILE, before)
        assert files.read(f"{tmp_path}/f").body == b"text"


def test_relative_paths_begin_at_the_working_directory(agent, files):
    assert files.write("relative/file", b"here").json()["size"] == 4
    assert (agent.dir / "relative/file").read_bytes() == b"here"
    assert files.read("./relative/../relative/file").body == b"here"
    assert {e["name"] for e in files.list(".").json()["entries"]} >= {"relative"}
    assert files.stat("relative/file").json()["path"] == f"{agent.dir}/relative/file"


def test_names_that_are_no_utf8_are_reachable(files, tmp_path):
    directory = os.fsencode(tmp_path)
    name = b"caf\xe9 \xff+%\n"
    written = files.write(directory + b"/" + name, b"bytes")
    assert written.status == 200, written
    assert open(directory + b"/" + name, "rb").read() == b"bytes"
    listed = files.list(directory).json()
    assert set(listed["entries"][0]) == {"name", "path", "type", "size", "mtime_ms", "mode"}
    assert listed["entries"][0]["name"] == "caf\ufffd \ufffd+%\n"
    escaped = listed["escaped_names"]["0"]
    assert files.agent.get(f"/v1/files/read?path={os.fsdecode(directory)}/{escaped}").body == b"bytes"


def test_missing_parents_are_made_private_unless_refused(files, tmp_path):
    path = f"{tmp_path}/a/b/c/file"
    error(files.write(path, b"x", mkdir="false"), 404, "not_found")
    assert not os.path.exists(f"{tmp_path}/a")
    assert files.write(path, b"x").status == 200
    assert os.stat(path).st_mode & 0o7777 == 0o600
    assert all(os.stat(p).st_mode & 0o7777 == 0o700 for p in (f"{tmp_path}/a", f"{tmp_path}/a/b", f"{tmp_path}/a/b/c"))


def test_modes(files, tmp_path):
    path = f"{tmp_path}/f"
    assert files.write(path, b"1", mode="755").status == 200
    assert os.stat(path).st_mode & 0o7777 == 0o755
    assert files.write(path, b"2").status == 200  # kept
    assert os.stat(path).st_mode & 0o7777 == 0o755
    assert files.write(path, b"3", mode="0644").status == 200
    assert files.stat(path).json()["mode"] == "644"
    assert files.write(path, b"4", mode="rwx").status == 200  # none: ignored, as the protocol has it
    assert os.stat(path).st_mode & 0o7777 == 0o644
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
        assert files.write(path, b"5").status == 200
        st = os.stat(path)
        assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (12345, 54321, 0o644)


def test_writing_through_a_link_replaces_its_target(files, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/target").write_text("old")
    (tmp_path / "link").symlink_to("real/target")
    (tmp_path / "link2").symlink_to(tmp_path / "link")
    (tmp_path / "dangling").symlink_to("real/new")
    (tmp_path / "directory").symlink_to("real")
    (tmp_path / "loop").symlink_to("loop")
    assert files.write(f"{tmp_path}/link2", b"new").status == 200
    assert (tmp_path / "real/target").read_text() == "new" and (tmp_path / "link").is_symlink() and (tmp_path / "link2").is_symlink()
    assert files.read(f"{tmp_path}/link2").body == b"new"
    assert files.stat(f"{tmp_path}/link2").json()["type"] == "symlink"
    assert files.write(f"{tmp_path}/dangling", b"made").status == 200
    assert (tmp_path / "real/new").read_text() == "made" and (tmp_path / "dangling").is_symlink()
    assert files.write(f"{tmp_path}/directory/inside", b"x").status == 200
    assert (tmp_path / "real/inside").read_text() == "x"
    error(files.write(f"{tmp_path}/directory", b"x"), 409, "is_directory")
    error(files.write(f"{tmp_path}/loop", b"x"), 400, "invalid")
    assert files.write(f"{tmp_path}/link", b"ranged", offset=0, truncate_to=6).status == 200
    assert (tmp_path / "real/target").read_text() == "ranged"


def test_files_of_proc_and_sys_are_read_to_their_end(files):
    for path in ("/proc/version", "/proc/cpuinfo", "/proc/sys/kernel/ostype", "/sys/kernel/mm/transparent_hugepage/enabled",
                 "/proc/kallsyms"):
        if os.path.exists(path):
            read = files.read(path)
            assert read.status == 200 and read.body == open(path, "rb").read(), path
            assert read.header("ETag") is None  # it would not change with the contents
    assert files.read("/proc/version", offset=6, length=7).body == open("/proc/version", "rb").read()[6:13]
    assert files.read("/proc/version", length=0).body == b""


def test_control_without_the_care_for_generated_files_they_read_as_empty():
    with Agent(off="files-pseudo") as a:
        assert Files(a).read("/proc/version").body == b""


def special_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    return listener


def test_special_files_are_refused_at_once(files, tmp_path):
    with special_files(tmp_path):
        for path in (tmp_path / "fifo", tmp_path / "socket", "/dev/null", "/dev/zero"):
            error(files.read(f"{path}"), 400, "not_regular")
            error(files.write(f"{path}", b"x"), 400, "not_regular")
            error(files.write(f"{path}", b"x", offset=0), 400, "not_regular")
            assert files.stat(f"{path}").json()["type"] == "file"


def test_control_without_the_check_a_fifo_holds_a_worker(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with Agent(off="files-regular") as a:
        with a.connect(timeout=0.5) as c:
            with pytest.raises(TimeoutError):
                Files(a, c).read(f"{tmp_path}/fifo")
        os.close(os.open(tmp_path / "fifo", os.O_WRONLY))  # lets it go


SLOW = 64 << 20  # far more than the buffers of a connection


def test_a_file_that_grows_is_sent_as_it_was_when_opened(agent, tmp_path):
    path, data = f"{tmp_path}/f", RANDOM[:1 << 20] * 8
    open(path, "wb").write(data)
    with agent.connect(receive_buffer=4096) as c:
        c.send_request("GET", target("read", path=path), agent.headers())
        response = c.read_head()
        with open(path, "ab") as f:
            f.write(b"more" * 1000)
        assert b"".join(c.body_pieces(response)) == data
        assert Files(agent, c).read(path, offset=len(data)).body == b"more" * 1000  # the connection is in step


def test_a_file_that_shrinks_breaks_the_connection(agent, tmp_path):
    path = f"{tmp_path}/f"
    with open(path, "wb") as f:
        f.truncate(SLOW)
    with agent.connect(receive_buffer=4096) as c:
        c.send_request("GET", target("read", path=path), agent.headers())
        response = c.read_head()
        assert response.header("Content-Length") == str(SLOW)
        c.read_exactly(1000)
        os.truncate(path, 5000)
        with pytest.raises((HttpError, ConnectionResetError)):
            for _ in c.body_pieces(response):
                pass
    assert agent.get("/health").status == 200


def test_a_reader_that_goes_away_leaves_nothing_open(agent, tmp_path):
    path = f"{tmp_path}/f"
    with open(path, "wb") as f:
        f.truncate(SLOW)
    before = agent.descriptors()
    for _ in range(10):
        with agent.connect(receive_buffer=4096) as c:
            c.send_request("GET", target("read", path=path), agent.headers())
            c.read_head()
    wait_until(lambda: agent.descriptors() <= before, what="closing of the files")


@pytest.fixture
def remote_file(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    (tmp_path / "remote").mkdir()
    with FuseFile(RANDOM * 6, tmp_path / "remote") as f:
        assert open(f.path, "rb").read() == f.data  # the kernel has it all in its cache
        yield f


def begin_and_stall(agent, connection, f):
    """Reads until the agent's next read of the file waits for a file system that does not answer; returns the response and what came."""
    connection.send_request("GET", target("read", path=f.path), agent.headers())
    response = connection.read_head()
    pieces, got = connection.body_pieces(response), []
    got.append(next(pieces))
    f.stall()
    while not f.asked.wait(0.001):
        if select.select([connection.socket], [], [], 0)[0]:
            got.append(next(pieces))
    assert sum(map(len, got)) < len(f.data)
    return pieces, got


def test_a_file_system_that_does_not_answer_holds_up_only_its_reader(agent, remote_file):
    with agent.connect(receive_buffer=1 << 18) as c:
        pieces, got = begin_and_stall(agent, c, remote_file)
        for _ in range(3):
            assert agent.get("/health", timeout=10).status == 200
        remote_file.go_on()
        assert b"".join(got) + b"".join(pieces) == remote_file.data


def test_control_reading_what_the_cache_has_may_wait_all_the_same(remote_file):
    with Agent(off="files-nowait") as a, a.connect(receive_buffer=1 << 18) as c:
        try:
            begin_and_stall(a, c, remote_file)
            with pytest.raises(TimeoutError):
                a.get("/health", timeout=1)
        finally:
            remote_file.go_on()


def test_entity_tags_guard_writes(files, tmp_path):
    path = f"{tmp_path}/f"
    first = files.write(path, b"one", [("If-None-Match", "*")])
    assert first.status == 200
    error(files.write(path, b"two", [("If-None-Match", "*")]), 412, "mismatch")
    tag = first.header("ETag")
    second = files.write(path, b"two", [("If-Match", tag)])
    assert second.status == 200 and second.header("ETag") != tag
    error(files.write(path, b"three", [("If-Match", tag)]), 412, "mismatch")
    error(files.write(path, b"xx", [("If-Match", tag)], offset=1), 412, "mismatch")
    error(files.write(f"{tmp_path}/none", b"x", [("If-Match", "*")]), 412, "mismatch")
    error(files.write(path, b"x", [("If-Match", "W/" + second.header("ETag"))]), 412, "mismatch")
    assert open(path).read() == "two"
    assert files.write(path, b"four", [("If-Match", f'"other", {second.header("ETag")}')]).status == 200
    error(files.delete(path, [("If-Match", tag)]), 412, "mismatch")
    assert files.delete(path, [("If-Match", files.stat(path).header("ETag"))]).status == 200


def test_unchanged_files_are_not_sent_again(files, tmp_path):
    path = f"{tmp_path}/f"
    open(path, "w").write("text")
    tag = files.stat(path).header("ETag")
    for call in (files.read, files.stat):
        same = call(path, [("If-None-Match", tag)])
        assert same.status == 304 and same.body == b"" and same.header("ETag") == tag
    assert files.read(path, [("If-None-Match", "W/" + tag)]).status == 304
    assert files.read(path, [("If-Match", tag)], offset=1).body == b"ext"
    open(path, "a").write("!")
    assert files.read(path, [("If-None-Match", tag)]).body == b"text!"
    error(files.read(path, [("If-Match", tag)], offset=1), 412, "mismatch")


def tags_of_overwrites(agent, path, count):
    with agent.connect() as c:
        files = Files(agent, c)
        return [files.write(path, b"%06d" % i).header("ETag") for i in range(count)]


def test_a_thousand_overwrites_have_a_thousand_tags(agent, tmp_path):
    tags = tags_of_overwrites(agent, f"{tmp_path}/f", 1000)
    assert len(set(tags)) == 1000


@pytest.mark.parametrize("round_", range(5))
def test_of_two_conditional_writers_one_wins(agent, tmp_path, round_):
    assert won_rounds(agent, f"{tmp_path}/f", 40) == [1] * 40


def won_rounds(agent, path, rounds):
    """How many of four writers with the same tag succeeded, for each round."""
    with agent.connect() as c:
        first = Files(agent, c)
        tag, won = first.write(path, b"0").header("ETag"), []
        connections = [agent.connect() for _ in range(4)]
        for i in range(rounds):
            for n, one in enumerate(connections):
                one.send_request("PUT", target("write", path=path), agent.headers([("If-Match", tag)]), b"%d-%d" % (i, n))
            replies = [one.read_response() for one in connections]
            assert {r.status for r in replies} <= {200, 412}
            won.append(sum(r.status == 200 for r in replies))
            tag = first.stat(path).header("ETag")
        for one in connections:
            one.close()
        return won


def test_control_without_the_lock_two_writers_win(tmp_path):
    with Agent(off="etag-lock") as a:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if any(n > 1 for n in won_rounds(a, f"{tmp_path}/f", 40)):
                return
        pytest.fail("no round with two winners was seen without the lock")
