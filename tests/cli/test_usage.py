"""Help, versions and wrong usage: clear, on the right stream, with the right code."""
import re
import socket

import pytest
from command import User

COMMANDS = ["run", "create", "list", "exec", "spawn", "ps", "logs", "wait", "kill", "cp", "ls", "info", "reap"]


@pytest.fixture(scope="module")
def user():
    with User() as u:
        yield u


def test_help_teaches_every_command(user):
    overview = user.ok("--help").decode()
    assert overview == user.ok("help").decode() == user.ok("-h").decode()
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w", overview, re.M)
        text = user.ok(command, "--help").decode()
        assert text == user.ok("help", command).decode() == user.ok(command, "-h").decode()
        assert text.startswith(f"Usage: hfsandbox {command}") and re.search(rf"^  (\w+=\$\()?hfsandbox {command}", text, re.M) and "--help" in text
        assert max(map(len, text.split("\n"))) <= 130
    assert "124" in overview and "125" in overview


def test_version(user):
    assert re.fullmatch(rb"hfsandbox \d+\.\d+\.\d+\n", user.ok("--version"))


@pytest.mark.parametrize("arguments,words", [
    ([], ["--help"]),
    (["rnu", "x"], ["'rnu'", "did you mean run"]),
    (["zzzzzz"], ["'zzzzzz'", "--help"]),
    (["--json", "list"], ["--json", "follow the command"]),
    (["run"], ["no command", "--"]),
    (["run", "--"], ["no command"]),
    (["run", "--timout", "5", "--", "x"], ["--timout", "did you mean --timeout"]),
    (["run", "-Z", "--", "x"], ["-Z", "--help"]),
    (["run", "--timeout", "soon", "--", "x"], ["--timeout", "'soon'", "10m"]),
    (["run", "--timeout", "-5", "--", "x"], ["--timeout", "'-5'"]),
    (["run", "--timeout"], ["--timeout", "DURATION"]),
    (["run", "--memory", "lots", "--", "x"], ["--memory", "'lots'", "512M"]),
    (["run", "--memory=1e9", "--", "x"], ["'1e9'"]),
    (["run", "--processes", "many", "--", "x"], ["--processes", "'many'"]),
    (["run", "--no-stdin=yes", "--", "x"], ["--no-stdin", "'yes'"]),
    (["run", "-e", "=x", "--", "x"], ["--env", "NAME=VALUE"]),
    (["run", "--provider", "moon", "--", "true"], ["moon", "local"]),
    (["list", "extra"], ["'extra'", "too many"]),
    (["exec"], ["missing", "exec --help"]),
    (["exec", "some-id"], ["no command"]),
    (["exec", "no-such-id", "--", "true"], ["no-such-id"]),
    (["exec", "../../etc", "--", "true"], ["../../etc"]),
    (["ps", "no-such-id"], ["no-such-id"]),
    (["logs", "some-id"], ["missing"]),
    (["kill"], ["--all"]),
    (["kill", "x", "p-1", "--signal", "LOUD"], ["--signal", "'LOUD'", "TERM"]),
    (["kill", "x", "--signal", "TERM"], ["--signal", "process"]),
    (["kill", "x", "p-1", "--all"], ["not both"]),
    (["cp", "a", "b"], ["a", "b", "ID:path"]),
    (["cp", "x:a", "y:b"], ["x:a", "y:b", "two steps"]),
    (["ls", "/tmp"], ["/tmp", "ID:path"]),
    (["reap", "--all", "--older-than", "1h"], ["not both"]),
    (["reap", "--older-than", "old"], ["'old'", "2h"]),
    (["list", "evil\x1b]0;title\x07\u202e"], [r"evil\x1b]0;title\x07\xe2\x80\xae"]),
])
def test_wrong_usage_is_named_with_its_remedy(user, arguments, words):
    line = user.fails(*arguments)
    assert all(word in line for word in words), line


def test_an_error_is_one_write(user):
    """Each write to this socket is a message of its own."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        assert user("list", "\x1b[31m" * 200 + "\u00e9 end", stderr=there).code == 125
        there.close()
        messages = list(iter(lambda: here.recv(1 << 16), b""))
    assert len(messages) == 1 and messages[0].startswith(b"hfsandbox: '\\x1b[31m") and b"end" in messages[0] and messages[0].endswith(b"\n")


def test_a_missing_agent_is_named(user):
    line = user.fails("run", "--", "true", env={"HFSANDBOX_AGENT": "/no/such/agent"})
    assert "/no/such/agent" in line


def test_no_value_of_a_variable_is_printed(user):
    assert "Secret" not in user.fails("run", "-e", "=Secret", "--", "true")
