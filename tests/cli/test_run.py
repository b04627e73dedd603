"""hfsandbox run: a command in a sandbox of its own behaves as it would in a shell."""
import fcntl
import os
import random
import select
import subprocess
import time

import pytest
from agent import wait_until


def read_until(fd, what, timeout=20):
    data, deadline = b"", time.monotonic() + timeout
    while what not in data:
        assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], f"{what!r} did not come: {data!r}"
        piece = os.read(fd, 65536)
        assert piece, f"the end came before {what!r}: {data!r}"
        data += piece
    return data


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize("text,code", [("exit 0", 0), ("exit 7", 7), ("exit 124", 124), ("exit 255", 255), ("kill -9 $$", 137),
                                       ("kill -TERM $$", 143), ("kill -SEGV $$", 139)])
def test_exit_code_is_the_commands(user, text, code):
    run = user("run", "-c", text)
    assert (run.code, run.out, run.err) == (code, b"", b"")


def test_missing_and_unexecutable_commands(user, tmp_path):
    assert "no-such-program" in user.fails("run", "--", "no-such-program", code=127)
    assert "/no/such/program" in user.fails("run", "--", "/no/such/program", code=127)
    user.fails("run", "--", "/etc/passwd", code=126)
    user.fails("run", "--", "/usr", code=126)
    run = user("run", "-c", "no-such-program")
    assert run.code == 127 and not run.err.startswith(b"hfsandbox:")


def test_timeout_kills_the_whole_tree(user):
    begin = time.monotonic()
    run = user("run", "--timeout", "700ms", "-c", f"echo begun; sleep 300 {user.mark} 2>/dev/null; (setsid sleep 300 &) ; sleep 300; echo never")
    assert run.code == 124 and run.out == b"begun\n"
    assert b"timeout" in run.err and run.err.count(b"\n") == 1
    assert time.monotonic() - begin < 20
    user.nothing_left()


def test_no_timeout_when_it_ends_in_time(user):
    assert user.ok("run", "--timeout", "30", "--", "echo", "in time") == b"in time\n"


# ---------------------------------------------------------------- arguments, environment, directory


def test_arguments_arrive_as_they_are(user):
    words = ["", "a b", "$HOME", "`id`", "*", "'\"\\", "line\nbreak", "-n", "--", "--help", "\u00e9\u4e16", b"\xff\xfe"]
    out = user.ok("run", "--", "printf", "%s\\0", *words)
    assert out.split(b"\0")[:-1] == [w if isinstance(w, bytes) else w.encode() for w in words]


def test_options_end_where_the_command_begins(user):
    assert user.ok("run", "echo", "-c", "--timeout", "x") == b"-c --timeout x\n"


def test_shell_text_and_its_arguments(user):
    assert user.ok("run", "-c", "echo one; echo two | tr a-z A-Z") == b"one\nTWO\n"
    assert user.ok("run", "-c", 'printf "[%s]" "$@"', "--", "a b", "$c") == b"[a b][$c]"


def test_environment(user):
    env = {"COPIED": "from here", "SECRET": "stays here"}
    out = user.ok("run", "-e", "A=1", "--env=B=two words", "-eC=", "-e", "COPIED", "--", "env", env=env).decode().split("\n")
    assert {"A=1", "B=two words", "C=", "COPIED=from here"} <= set(out)
    assert not [line for line in out if "SECRET" in line or "SBX_" in line or user.mark in line]
    assert "NOT_SET" in user.fails("run", "-e", "NOT_SET", "--", "true")


def test_working_directory(user):
    assert user.ok("run", "-w", "/usr/bin", "--", "pwd") == b"/usr/bin\n"
    assert "/no/such/dir" in user.fails("run", "-w", "/no/such/dir", "--", "pwd")
    assert "/etc/passwd" in user.fails("run", "-w", "/etc/passwd", "--", "pwd")
    assert "no-such-program" in user.fails("run", "-w", "/tmp", "--", "no-such-program", code=127)


def test_commands_start_with_ordinary_signals_and_descriptors(user):
    out = user.ok("run", "-c", "grep -E '^Sig(Ign|Blk)' /proc/self/status; ls /proc/self/fd").decode().split()
    assert out[1] == out[3] == "0" * 16, out
    assert set(out[4:]) == {"0", "1", "2", "3"}  # 3: the directory that ls reads
    assert user("run", "-c", "yes | head -n 1").err == b""


# ---------------------------------------------------------------- input and output


def test_output_and_error_are_apart_and_exact(user):
    run = user("run", "-c", "printf '\\000\\377out'; printf '\\200err' >&2; exit 3")
    assert (run.code, run.out, run.err) == (3, b"\x00\xffout", b"\x80err")


def test_binary_pipeline(user):
    data = random.Random(1).randbytes(3 << 20)
    assert user.ok("run", "--", "cat", input=data) == data


def test_input_from_a_file_and_empty_input(user, tmp_path):
    (user.home / "in").write_bytes(b"x" * 100_000)
    with open(user.home / "in", "rb") as f:
        assert user.ok("run", "--", "wc", "-c", stdin=f).strip() == b"100000"
    assert user.ok("run", "--", "wc", "-c").strip() == b"0"
    assert user.ok("run", "--", "wc", "-c", input=b"").strip() == b"0"
    assert user.ok("run", "-n", "--", "wc", "-c", input=b"not passed on").strip() == b"0"


def test_input_streams_as_it_comes(user):
    with user.start("run", "-c", "while read line; do echo \"got $line\"; done; echo end", stdin=subprocess.PIPE) as process:
        for word in (b"one", b"two", b"three"):
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            assert read_until(process.stdout.fileno(), b"\n") == b"got " + word + b"\n"
        process.stdin.close()
        assert process.stdout.read() == b"end\n"
        assert process.wait(20) == 0


def test_output_streams_as_it_comes(user):
    with user.start("run", "-c", "echo first; read line; echo second", stdin=subprocess.PIPE) as process:
        assert read_until(process.stdout.fileno(), b"\n") == b"first\n"
        process.stdin.close()
        assert process.stdout.read() == b"second\n"


def test_input_that_nobody_reads(user):
    assert user.ok("run", "--", "echo", "done", input=b"x" * (8 << 20)) == b"done\n"
    assert user.ok("run", "-c", "exec <&-; sleep 0.5; echo done", input=b"x" * (8 << 20)) == b"done\n"
    assert user.ok("run", "--", "head", "-c", "5", input=b"hello" * 1_000_000) == b"hello"


def test_a_large_output_behind_a_slow_reader_is_whole(user):
    with user.start("run", "--", "head", "-c", str(24 << 20), "/dev/zero") as process:
        read_until(process.stdout.fileno(), b"\0")
        time.sleep(0.5)
        rest = len(process.stdout.read())
        assert process.wait(20) == 0 and process.stderr.read() == b""
        assert 0 < (24 << 20) - rest <= 1 << 20


def test_a_reader_that_goes_away_ends_it_quietly(user):
    process = user.start("run", "--", "yes", stdout=subprocess.PIPE)
    read_until(process.stdout.fileno(), b"y\n")
    process.stdout.close()
    assert process.wait(20) == 128 + 13 and process.stderr.read() == b""
    process.stderr.close()
    user.nothing_left()


def test_a_full_disk_for_the_output_is_said(user):
    with open("/dev/full", "wb") as full:
        run = user("run", "--", "echo", "lost", stdout=full)
    assert run.code == 125 and b"No space left" in run.err


def test_closed_standard_descriptors(user):
    """What is written to a closed descriptor must not land in a connection of the library's."""
    argv = ["sh", "-c", 'exec 0<&- 1>&- ; exec "$@"', "sh"] + user.argv(["run", "-c", "echo to nobody; echo heard >&2"])
    run = subprocess.run(argv, env=user.env, cwd=user.home, stderr=subprocess.PIPE, timeout=60)
    assert run.returncode == 125 and run.stderr.startswith(b"hfsandbox: cannot write")
    assert subprocess.run(["sh", "-c", 'exec 0<&- ; exec "$@"', "sh"] + user.argv(["run", "--", "wc", "-c"]), env=user.env, cwd=user.home,
                          capture_output=True, timeout=60).stdout.strip() == b"0"


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("name,number", [("INT", 2), ("TERM", 15), ("HUP", 1)])
def test_signals_end_it_with_all_that_it_started(user, name, number):
    process = user.start("run", "-c", "trap '' INT TERM HUP; sleep 300 & setsid sleep 300 & echo ready; wait")
    read_until(process.stdout.fileno(), b"ready\n")
    if os.getuid() == 0:  # an agent hides its environment from its own user
        assert len(user.processes()) >= 3, "the command, its keeper and its agent are seen while they run"
    process.send_signal(number)        # which the command ignores
    time.sleep(0.6)
    assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=8)
    assert (process.returncode, out, err) == (-number, b"", b"")
    user.nothing_left()


def test_a_command_that_ignores_a_signal_is_killed_after_a_while(user):
    process = user.start("run", "-c", "trap '' INT; echo ready; sleep 300")
    read_until(process.stdout.fileno(), b"ready\n")
    process.send_signal(2)
    began = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode == -2 and time.monotonic() - began > 9
    user.nothing_left()


@pytest.mark.parametrize("name,number", [("INT", 2), ("TERM", 15), ("HUP", 1)])
def test_signals_reach_the_command(user, name, number):
    """Its trap runs, what it says then is still passed on, and its exit code counts."""
    process = user.start("run", "-c", f"trap 'echo bye; exit 3' {name}; echo ready; while :; do sleep 0.05; done")
    read_until(process.stdout.fileno(), b"ready\n")
    process.send_signal(number)
    out, _ = process.communicate(timeout=8)        # the shell may say that its sleep was ended
    assert (process.returncode, out) == (3, b"bye\n")
    process = user.start("run", "-c", f"trap 'echo still here' {name}; echo ready; sleep 1; echo end")
    read_until(process.stdout.fileno(), b"ready\n")
    process.send_signal(number)
    out, err = process.communicate(timeout=8)
    assert (process.returncode, out) == (0, b"still here\nend\n")
    process = user.start("run", "--", "sleep", "300")
    wait_until(lambda: any(b"300" in open(f"/proc/{pid}/cmdline", "rb").read() for pid in user.processes()) or os.getuid(), what="it")
    process.send_signal(number)
    process.communicate(timeout=8)
    assert process.returncode == -number
    user.nothing_left()


def test_an_unreadable_input_is_no_end_of_input(user):
    directory = os.open("/usr", os.O_RDONLY)
    try:
        assert user.fails("run", "--", "cat", stdin=directory) == "standard input cannot be read: Is a directory"
        user.ok("run", "--no-stdin", "--", "cat", stdin=directory)
    finally:
        os.close(directory)


def test_ctrl_c_at_a_terminal(user):
    """The terminal sends SIGINT to its whole foreground group; a shell then sees 130."""
    master, slave = os.openpty()
    script = 'setsid -c sh -c \'trap : INT; "$@"; echo "code $?"\' sh "$@"'
    process = subprocess.Popen(["sh", "-c", script, "sh"] + user.argv(["run", "-c", "echo ready; cat"]), env=user.env, cwd=user.home,
                               stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    read_until(master, b"ready")
    os.write(master, b"echoed\n")
    read_until(master, b"echoed\r\nechoed\r\n")
    os.write(master, b"\x03")
    try:
        read_until(master, b"code 130")
    finally:
        process.kill()
        process.wait()
        os.close(master)
    user.nothing_left()


def test_a_signal_while_the_output_is_blocked(user):
    process = user.start("run", "--", "yes")
    fcntl.fcntl(process.stdout, 1031, 4096)  # F_SETPIPE_SZ
    read_until(process.stdout.fileno(), b"y\n")
    wait_until(lambda: "pipe_write" in open(f"/proc/{process.pid}/stack").read() if os.getuid() == 0 else time.sleep(1) or True, 10,
               "a blocked write")
    process.terminate()
    assert process.wait(20) == -15
    process.stdout.close()
    process.stderr.close()
    user.nothing_left()


@pytest.mark.parametrize("delay", [0, 0.003, 0.01, 0.03, 0.1])
def test_a_signal_at_any_moment_leaves_nothing(user, delay):
    for number in (2, 9):
        process = user.start("run", "--", "sleep", "300")
        time.sleep(delay)
        process.send_signal(number)
        process.communicate(timeout=20)
        assert process.returncode == -number
    user.nothing_left()


def test_ignored_signals_stay_ignored(user):
    """nohup, and the background jobs of a shell."""
    argv = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"] + user.argv(["run", "-c", "echo ready; read line; echo end"])
    with subprocess.Popen(argv, env=user.env, cwd=user.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        read_until(process.stdout.fileno(), b"ready\n")
        process.send_signal(1)
        process.stdin.close()
        assert process.stdout.read() == b"end\n"
        assert process.wait(20) == 0
    user.nothing_left()


# ---------------------------------------------------------------- what it is confined by


def test_binds(user):
    (user.home / "given").mkdir()
    (user.home / "given/file").write_text("from outside")
    os.chmod(user.home / "given", 0o777)
    assert user.ok("run", "--bind", "given:/data", "--", "cat", "/data/file") == b"from outside"
    assert user("run", "--bind", "given:/data", "--", "touch", "/data/new").code == 1
    assert not (user.home / "given/new").exists()
    user.ok("run", "--bind-rw", f"{user.home}/given:/data", "-c", "echo back >/data/new")
    assert (user.home / "given/new").read_text() == "back\n"
    assert "/no/such" in user.fails("run", "--bind", "/no/such:/x", "--", "true")
    assert "absolute" in user.fails("run", "--bind", "/usr:x", "--", "true")
    assert "--bind-rw" in user.fails("run", "--bind", "given:/data:ro", "--", "true")


def test_network_is_off_unless_asked_for(user):
    names = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort"
    assert user.ok("run", "-c", names).split() in ([b"lo"], [])
    here = subprocess.run(["sh", "-c", names], capture_output=True, check=True).stdout
    assert user.ok("run", "--network", "host", "-c", names) == here


def test_limits_are_taken(user):
    assert user.ok("run", "--open-files", "100", "-c", "ulimit -n").strip() == b"100"
    run = user("run", "--disk", "8M", "-c", "head -c 32M /dev/zero >/tmp/big")
    assert run.code != 0 and b"No space" in run.err
    run = user("run", "--memory", "64M", "-c", "head -c 512M /dev/zero | tail -n 1 | wc -c")
    assert b"536870912" not in run.out
    run = user("run", "--memory", "80M", "--timeout", "30", "-c", " & ".join(["(head -c 40M /dev/zero; sleep 20) | tail -n 1"] * 4) + " & wait")
    assert run.code == 137 and b"--memory" in run.err, run
    assert "isolation" in user.fails("run", "--isolation", "strong", "--", "true")
    assert "network" in user.fails("run", "--network", "some", "--", "true")
