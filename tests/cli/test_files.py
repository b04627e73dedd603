"""hfsandbox cp and ls, with names and contents that want to do harm."""
import os
import stat

import pytest


def tree_of(path):
    return {str(p.relative_to(path)): (p.read_bytes() if p.is_file() else None, stat.S_IMODE(p.stat().st_mode)) for p in path.rglob("*")}


def test_copy_in_and_out(user, sandbox):
    data = os.urandom(5 << 20)
    (user.home / "a.bin").write_bytes(data)
    os.chmod(user.home / "a.bin", 0o755)
    user.ok("cp", "a.bin", f"{sandbox}:b.bin")
    assert user.ok("exec", sandbox, "-c", "stat -c '%s %a' b.bin").split() == [str(len(data)).encode(), b"755"]
    user.ok("cp", f"{sandbox}:b.bin", "c.bin")
    assert (user.home / "c.bin").read_bytes() == data and stat.S_IMODE((user.home / "c.bin").stat().st_mode) == 0o755
    user.ok("cp", f"{sandbox}:b.bin", ".")
    assert (user.home / "b.bin").read_bytes() == data
    user.ok("cp", "a.bin", f"{sandbox}:")
    user.ok("cp", "a.bin", f"{sandbox}:new/dir/")
    assert user.ok("exec", sandbox, "-c", "cmp a.bin b.bin && cmp a.bin new/dir/a.bin && echo same") == b"same\n"


@pytest.mark.parametrize("size", [0, 1, 70_000, (8 << 20) - 1, 8 << 20, (8 << 20) + 1])
def test_copy_streams(user, sandbox, size):
    data = os.urandom(size)
    user.ok("cp", "-", f"{sandbox}:stream", input=data)
    assert user.ok("cp", f"{sandbox}:stream", "-") == data
    assert os.listdir(user.home) == []


def test_copy_proc_files(user, sandbox):
    assert user.ok("cp", f"{sandbox}:/proc/version", "-").startswith(b"Linux version")


def test_copy_directories(user, sandbox):
    top = user.home / "top"
    (top / "sub/empty").mkdir(parents=True)
    (top / "file").write_bytes(b"\x00\xff")
    (top / "sub/run.sh").write_text("echo hi")
    (top / "sub/run.sh").chmod(0o755)
    (top / "file").chmod(0o640)
    (top / "link").symlink_to("file")
    os.mkfifo(top / "fifo")
    user.own(top)
    assert "-r" in user.fails("cp", "top", f"{sandbox}:")
    run = user("cp", "-r", "top", f"{sandbox}:copy")
    assert run.code == 0 and b"top/fifo is left out" in run.err and b"top/link is left out" in run.err and run.err.count(b"\n") == 2
    assert user.ok("exec", sandbox, "--", "sh", "copy/sub/run.sh") == b"hi\n"
    assert "-r" in user.fails("cp", f"{sandbox}:copy", "back")
    user.ok("cp", "-r", f"{sandbox}:copy", "back")
    os.unlink(top / "fifo")
    os.unlink(top / "link")
    back, here = tree_of(user.home / "back"), tree_of(top)
    assert {name: value[0] for name, value in back.items()} == {name: value[0] for name, value in here.items()}
    assert back["sub/run.sh"][1] == 0o755 and back["file"][1] == 0o640
    user.ok("cp", "-r", "top", f"{sandbox}:copy")
    assert user.ok("exec", sandbox, "--", "cat", "copy/top/sub/run.sh") == b"echo hi"


def test_links_of_a_directory_lead_nowhere(user, sandbox):
    """A directory from somebody else must not carry other files of this computer into the sandbox."""
    top = user.home / "theirs"
    top.mkdir()
    (user.home / "secret").write_text("secret")
    (top / "file").symlink_to(user.home / "secret")
    (top / "directory").symlink_to(user.home)
    user.own(top)
    run = user("cp", "-r", "theirs", f"{sandbox}:")
    assert run.code == 0 and run.err.count(b"is left out: it is a symbolic link") == 2
    assert user.ok("exec", sandbox, "--", "ls", "-A", "theirs") == b""


def test_errors_name_the_file(user, sandbox):
    assert "missing.txt" in user.fails("cp", "missing.txt", f"{sandbox}:x")
    assert "nothing-here" in user.fails("cp", f"{sandbox}:nothing-here", "x")
    assert "nothing-here" in user.fails("cp", f"{sandbox}:nothing-here", "-")
    assert not (user.home / "x").exists()
    (user.home / "f").write_text("x")
    user.fails("cp", "f", f"{sandbox}:/proc/nowhere")
    user.fails("cp", f"{sandbox}:/proc/version", "no/such/dir/x")
    assert "nothing-here" in user.fails("ls", f"{sandbox}:nothing-here")


def test_a_failed_download_leaves_the_old_file(user, sandbox):
    (user.home / "old").write_text("old")
    user.fails("cp", f"{sandbox}:nothing-here", "old")
    assert (user.home / "old").read_text() == "old" and os.listdir(user.home) == ["old"]


def test_ls(user, sandbox):
    user.ok("exec", sandbox, "-c", "mkdir -p d/sub; printf 12345 >d/file; chmod 640 d/file; ln -s file d/link")
    rows = user.json("ls", f"{sandbox}:d")
    assert [(r["name"], r["type"]) for r in rows] == [("file", "regular"), ("link", "symlink"), ("sub", "directory")]
    assert rows[0]["size"] == 5 and rows[0]["mode"] == 0o640 and rows[0]["mtime_ms"] > 1e12
    lines = user.ok("ls", f"{sandbox}:d").decode().split("\n")
    assert lines[0].split() == ["MODE", "SIZE", "CHANGED", "NAME"]
    assert lines[1].startswith("-rw-r-----  ") and lines[1].endswith("  file") and lines[3].endswith("  sub/")
    [row] = user.json("ls", f"{sandbox}:d/file")
    assert row["name"] == "d/file" and row["size"] == 5
    assert "ID:path" in user.fails("ls", "d")


HOSTILE = ["esc\x1b[2J\x1b]0;owned\x07", "line\nbreak", "c1\u009b31m", "right\u202eleft", "tab\there", "quote\"'\\", " lead", "-rf",
           "\u200bzero", "a:b"]


def test_hostile_names_do_not_reach_the_terminal(user, sandbox):
    names = HOSTILE + [b"not\xffutf8"]
    script = "mkdir h; cd h; for name; do : >\"./$name\"; done"
    user.ok("exec", sandbox, "-c", script, "--", *names)
    assert b"\x1b[2J" in user.ok("exec", sandbox, "--", "ls", "h"), "raw output shows that the names are what they seem"
    text = user.ok("ls", f"{sandbox}:h")
    assert not [c for c in text if c < 32 and c != 10] and text.count(b"\n") == len(names) + 1
    for bad in ("\u009b", "\u202e", "\u200b"):
        assert bad.encode() not in text
    assert rb"esc\x1b[2J\x1b]0;owned\x07" in text and rb"line\x0abreak" in text and rb"not\xffutf8" in text
    rows = user.json("ls", f"{sandbox}:h")
    assert set(HOSTILE) <= {row["name"] for row in rows}
    [odd] = [row for row in rows if "name_base64" in row]
    assert odd["name_base64"] == "bm90/3V0Zjg="
    user.ok("cp", "-r", f"{sandbox}:h", "h")
    assert set(os.listdir(os.fsencode(user.home / "h"))) == {os.fsencode(n) for n in names}


def test_hostile_commands_in_ps_and_errors(user, sandbox):
    user.ok("spawn", sandbox, "--tag", "t\x1b[31m", "--", "sh", "-c", "sleep 300", "it's \x1b]0;x\x07\nnext")
    text = user.ok("ps", sandbox)
    assert b"\x1b" not in text and b"\x07" not in text and text.count(b"\n") == 2
    assert r"'it'\''s \x1b]0;x\x07\x0anext'".encode() in text
    [row] = user.json("ps", sandbox)
    assert row["tag"] == "t\x1b[31m"
    assert b"\x1b" not in user("cp", f"{sandbox}:no\x1b[2Jfile", "x").err


def test_links_inside_do_not_lead_out(user, sandbox):
    """A sandbox cannot choose where on this computer its files land, nor make the command read files of this computer."""
    (user.home / "mine").write_text("mine")
    user.ok("exec", sandbox, "-c", f"mkdir out; ln -s /etc/hostname out/link; echo x >out/file; ln -s {user.home} out/dir")
    run = user("cp", "-r", f"{sandbox}:out", "out")
    assert run.code == 0 and run.err.count(b"left out") == 2
    assert os.listdir(user.home / "out") == ["file"]
    user.fails("cp", f"{sandbox}:out/dir/mine", "stolen")
    assert not (user.home / "stolen").exists()


def test_copied_files_are_never_set_user_id(user, sandbox):
    user.ok("exec", sandbox, "-c", "echo x >f; chmod 6755 f")
    user.ok("cp", f"{sandbox}:f", "f")
    assert stat.S_IMODE((user.home / "f").stat().st_mode) & 0o7000 == 0
