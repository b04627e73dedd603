"""A file written in parts over several connections (feature parts): it appears whole or not at all, like one written by one request."""
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from agent import Agent, wait_until
from files import RANDOM, Files, error


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


@pytest.fixture
def files(agent):
    return Files(agent)


def parts(agent, path, data, size=300_000, **query):
    """Sends them in any order; the name of the part file."""
    name = secrets.token_hex(12)
    offsets = sorted(range(0, len(data), size), key=lambda n: n * 7919 % 1009)
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda at: Files(agent).write(path, data[at:at + size], part=name, offset=at, **query), offsets))
    assert {r.status for r in replies} <= {200}, replies
    return name


def hidden(directory):
    return [name for name in os.listdir(directory) if name.startswith(".sbx-")]


def test_whole_or_not_at_all(agent, files, tmp_path):
    path = tmp_path / "new" / "file"
    name = parts(agent, path, RANDOM)
    assert hidden(path.parent) == [f".sbx-{name}"] and not path.exists()
    reply = files.write(path, b"", part=name, mode="640")
    assert reply.status == 200 and reply.header("ETag") == files.stat(path).header("ETag")
    assert path.read_bytes() == RANDOM and path.stat().st_mode & 0o7777 == 0o640 and not hidden(path.parent)


def test_it_looks_like_the_file_that_it_replaces(agent, files, tmp_path):
    path, link = tmp_path / "file", tmp_path / "elsewhere" / "link"
    path.write_bytes(b"old")
    path.chmod(0o604)
    link.parent.mkdir()
    link.symlink_to(path)
    assert files.write(link, b"", part=parts(agent, link, RANDOM)).status == 200
    assert link.is_symlink() and path.read_bytes() == RANDOM and path.stat().st_mode & 0o7777 == 0o604
    assert not hidden(tmp_path) and not hidden(link.parent)


def test_a_mode_without_the_right_to_write(agent, files, tmp_path):
    path = tmp_path / "file"
    assert files.write(path, b"", part=parts(agent, path, RANDOM, mode="444"), mode="444").status == 200
    assert path.read_bytes() == RANDOM and path.stat().st_mode & 0o7777 == 0o444


def test_conditions(agent, files, tmp_path):
    path = tmp_path / "file"
    name = parts(agent, path, b"one")
    assert files.write(path, b"", [("If-None-Match", "*")], part=name).status == 200
    tag = files.stat(path).header("ETag")
    for condition in (("If-None-Match", "*"), ("If-Match", '"-"')):
        name = parts(agent, path, b"two")
        error(files.write(path, b"", [condition], part=name), 412, "mismatch")
        assert path.read_bytes() == b"one"
        wait_until(lambda: not hidden(tmp_path), what="the end of what was refused")
    name = parts(agent, path, b"three")
    assert files.write(path, b"", [("If-Match", tag)], part=name).status == 200 and path.read_bytes() == b"three"


def test_failures(agent, files, tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    name = parts(agent, tmp_path / "directory", b"x")
    error(files.write(tmp_path / "directory", b"", part=name), 409, "is_directory")
    for target in ("file", "absent"):
        error(files.write(tmp_path / target, b"", part="missing"), 404, "not_found")
    assert (tmp_path / "file").read_bytes() == b"old" and os.listdir(tmp_path / "directory") == []
    wait_until(lambda: not hidden(tmp_path), what="the end of what was refused")
    error(files.write(tmp_path / "no" / "file", b"x", part="a", offset=0, mkdir="false"), 404, "not_found")
    for name in ("", "a/b", "../x", "x" * 25, "x" * 5000):
        error(files.write(tmp_path / "file", b"x", part=name, offset=0), 400, "invalid")
    os.symlink(tmp_path / "file", tmp_path / ".sbx-planted")
    assert files.write(tmp_path / "new", b"stolen", part="planted", offset=0).status >= 400
    assert files.write(tmp_path / "new", b"", part="planted").status >= 400
    assert (tmp_path / "file").read_bytes() == b"old"


def leave(tmp_path, off=""):
    """Two files that nobody finishes, one of which is still written to, and one that is finished. It is looked every two seconds here,
    not every ten minutes."""
    with Agent(off=off, env={"SBX_TEST_SCALE": "300"}) as a:
        directory = tmp_path / "there"
        left, going, done = (parts(a, directory / name, RANDOM[:400_000]) for name in ("left", "going", "done"))
        assert Files(a).write(directory / "done", b"", part=done).status == 200
        (directory / ".sbx-of-somebody-else").write_bytes(b"")
        directory.rename(tmp_path / "elsewhere")
        begin = time.monotonic()
        while time.monotonic() < begin + 8 and f".sbx-{left}" in os.listdir(tmp_path / "elsewhere"):
            assert Files(a).write(tmp_path / "elsewhere" / "going", b"x", part=going, offset=0).status == 200
        return [name in os.listdir(tmp_path / "elsewhere") for name in (f".sbx-{left}", f".sbx-{going}", "done", ".sbx-of-somebody-else")]


def test_what_nobody_finishes_is_removed(tmp_path):
    assert leave(tmp_path) == [False, True, True, True]


def test_control_of_what_nobody_finishes(tmp_path):
    assert leave(tmp_path, off="parts-left") == [True, True, True, True]


def test_more_of_them_than_are_watched(tmp_path):
    """Descriptors are no more than that, and come back."""
    with Agent(env={"SBX_TEST_SCALE": "200"}) as a:
        def descriptors():
            return len(os.listdir(f"/proc/{a.pid}/fd"))
        before = descriptors()
        for number in range(1200):
            assert Files(a).write(tmp_path / "file", b"x", part=f"{number}", offset=0).status == 200
        assert descriptors() <= 1024 + 20
        wait_until(lambda: ".sbx-0" not in hidden(tmp_path), 20, "the end of the first")
        wait_until(lambda: descriptors() <= before + 20, 20, "the end of their descriptors")
        assert Files(a).write(tmp_path / "file", b"x", part="late", offset=0).status == 200
        wait_until(lambda: ".sbx-late" not in hidden(tmp_path), 20, "the end of a later one")
