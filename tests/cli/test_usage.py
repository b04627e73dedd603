"""Help, versions and wrong usage: clear, on the right stream, with the right code."""
import re
import socket

import pytest
from command import User

COMMANDS = ["run", "create", "connect", "list", "exec", "spawn", "ps", "logs", "wait", "kill", "cp", "ls", "info", "reap", "hardware", "doctor",
            "pool create", "pool list", "pool info", "pool delete"]


@pytest.fixture(scope="module")
def user():
    with User() as u:
        yield u


def test_help_teaches_every_command(user):
    overview = user.ok("--help").decode()
    assert overview == user.ok("help").decode() == user.ok("-h").decode()
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w", overview, re.M)
        words = command.split()
        text = user.ok(*words, "--help").decode()
        assert text == user.ok("help", *words).decode() == user.ok(*words, "-h").decode()
        assert text.startswith(f"Usage: hfsandbox {command}") and re.search(rf"^  (\w+=\$\()?hfsandbox {command}", text, re.M) and "--help" in text
        assert max(map(len, text.split("\n"))) <= 130
        assert "[OPTIONS]" in text.split("\n")[0] and "125" in text and ("124" in text) == (command in ("run", "exec", "wait"))
        assert ("$HFSANDBOX_PROVIDER, else local" in text) == (command != "hardware")
    family = user.ok("pool", "--help").decode()
    assert family == user.ok("help", "pool").decode() == user.ok("pool", "-h").decode() and max(map(len, family.split("\n"))) <= 130
    assert re.findall(r"^  (pool \w+)  +\w", family, re.M) == [command for command in COMMANDS if command.startswith("pool ")]
    assert "124" in overview and "125" in overview
    assert re.search(r"--provider NAME +jobs, and no other one", user.ok("hardware", "--help").decode())
    for variable in ("HFSANDBOX_PROVIDER", "HFSANDBOX_AGENT", "XDG_RUNTIME_DIR", "TMPDIR"):
        assert f"\n  {variable} " in overview


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
    (["run", "--memory", "1", "--", "x"], ["--memory is 1", "from 8388608"]),
    (["create", "--processes", "3"], ["--processes is 3", "from 4"]),
    (["create", "--open-files", "1"], ["--open-files is 1"]),
    (["create", "--disk", "5"], ["--disk is 5"]),
    (["create", "-w", "tmp"], ["--workdir is 'tmp'", "absolute"]),
    (["run", "-e", "=x", "--", "x"], ["--env", "before the '='", "NAME=VALUE"]),
    (["run", "-e", "", "--", "x"], ["--env: the name is missing;", "NAME=VALUE"]),
    (["run", "-e", "NOT_HERE", "--", "x"], ["--env NOT_HERE: there is no such variable here", "NOT_HERE=VALUE"]),
    (["run", "--provider", "moon", "--", "true"], ["moon", "local"]),
    *((["create", "--provider", "local", *words], [words[0], "provider jobs", "here is local"]) for words in (
        ["--image", "x"], ["--flavor", "x"], ["--secret", "A=1"], ["--volume", "hf://a/b:/c"], ["--label", "a=b"], ["--namespace", "x"],
        ["--forward-hf-token"], ["--lifetime", "1h"], ["--max-cost", "1"], ["--expose", "80"], ["--client-key", "x"])),
    (["list", "--label", "a=b"], ["--label", "provider jobs", "here is local"]),
    (["reap", "--namespace", "x", "--all"], ["--namespace", "provider jobs"]),
    (["doctor", "--flavor", "x"], ["--flavor", "provider jobs"]),
    *((["doctor", "--provider", "jobs", *words], [words[0], "--create"]) for words in (
        ["--image", "x"], ["--flavor", "x"], ["--namespace", "x"], ["--start-timeout", "9"])),
    *((["create", "--provider", "jobs", *words], [words[0], "provider local", "here is jobs"]) for words in (
        ["--isolation", "full"], ["--network", "host"], ["--bind", "/usr:/x"], ["--bind-rw", "/tmp"], ["--memory", "1G"], ["--processes", "9"],
        ["--disk", "1G"], ["--open-files", "9"])),
    (["create", "--secret", "=x"], ["--secret", "before the '='"]),
    (["create", "--secret", "NOT_HERE"], ["--secret NOT_HERE: there is no such variable here"]),
    *((["create", "--provider", "jobs", "--max-cost", value], ["--max-cost", f"'{value}'", "$2"]) for value in ("free", "-1", "0", "1e3", "0.0000001", "$")),
    *((["create", "--provider", "jobs", "--expose", value], ["--expose", f"'{value}'", "65535"]) for value in ("0", "65536", "http", "-1")),
    (["create", "--provider", "jobs", "--lifetime", "long"], ["--lifetime", "'long'"]),
    (["create", "--provider", "jobs", "--lifetime", "none"], ["--lifetime", "'none'", "every job has an end", "366d"]),
    (["reap", "--older-than", "0"], ["--older-than '0'", "above 0", "--all"]),
    (["reap", "--older-than", "none"], ["'none'", "--all"]),
    (["create", "--start-timeout", "0"], ["--start-timeout", "'0'"]),
    (["hardware", "--provider", "local"], ["provider local has no hardware", "provider jobs"]),
    (["doctor", "--provider", "moon"], ["moon", "local"]),
    (["connect"], ["id of a sandbox is missing"]),
    (["connect", "local-0123456789ab"], ["local-0123456789ab", "hfsandbox list"]),
    (["list", "extra"], ["'extra'", "too many"]),
    (["pool"], ["with a pool", "hfsandbox pool --help"]),
    (["pool", "--json"], ["with a pool", "hfsandbox pool --help"]),
    (["pool", "crate"], ["'pool crate'", "did you mean pool create"]),
    (["pool", "ls"], ["'pool ls'", "did you mean pool list"]),
    (["pool", "zzzzzz"], ["'pool zzzzzz'", "--help"]),
    (["help", "pool", "list", "create"], ["one command"]),
    (["pool", "info"], ["name of a pool is missing", "pool info --help"]),
    (["pool", "delete"], ["name of a pool is missing", "pool delete --help"]),
    (["pool", "list", "extra"], ["'extra'", "too many"]),
    (["pool", "create", "--per-hots", "3"], ["--per-hots", "did you mean --per-host"]),
    *((["pool", "create", option, value], [f"{option} '{value}'", "a number from 1"]) for option in ("--per-host", "--max-hosts")
      for value in ("0", "-1", "many", "1000001", "99999999999999999999")),
    (["pool", "create", "--name", "a b"], ["the name is 'a b'", "letters, digits"]),
    (["pool", "create", "--name", ".hidden"], ["the name is '.hidden'"]),
    *((["pool", "create", *words], [words[0], "provider jobs", "here is local"]) for words in (
        ["--image", "x"], ["--flavor", "x"], ["--warm", "2"], ["--idle-timeout", "1h"], ["--namespace", "x"])),
    (["create", "--pool", "none"], ["no pool 'none' on this computer", "hfsandbox pool list", "hfsandbox pool create --name"]),
    (["run", "--pool", "none", "--", "true"], ["no pool 'none'"]),
    (["create", "--pool", "a b"], ["the name is 'a b'"]),
    (["create", "--pool", "p", "--image", "x"], ["--image", "provider jobs"]),
    (["create", "--pool", "p", "--spread"], ["--spread", "provider jobs"]),
    (["pool", "info", "none"], ["no pool 'none'"]),
    (["pool", "delete", "none", "-y"], ["no pool 'none'"]),
    (["exec"], ["id of a sandbox is missing", "exec --help"]),
    (["wait", "some-id"], ["id of a command is missing", "wait --help"]),
    (["cp"], ["the source is missing"]),
    (["cp", "a"], ["the destination is missing"]),
    (["ls"], ["ID:path is missing"]),
    (["ls", "local-0123456789ab"], ["a colon is needed", "local-0123456789ab:/tmp"]),
    (["exec", "some-id"], ["no command"]),
    (["exec", "no-such-id", "--", "true"], ["no-such-id"]),
    (["exec", "../../etc", "--", "true"], ["../../etc"]),
    (["ps", "no-such-id"], ["no-such-id"]),
    *((words, ["local-0123456789ab", "hfsandbox list", "hfsandbox reap"]) for words in (
        ["ps", "local-0123456789ab"], ["kill", "local-0123456789ab"], ["info", "local-0123456789ab"], ["ls", "local-0123456789ab:"],
        ["cp", "local-0123456789ab:x", "x"], ["exec", "local-0123456789ab", "--", "true"])),
    (["logs", "some-id"], ["missing"]),
    (["kill"], ["--all"]),
    (["kill", "--all"], ["-y", "--yes", "terminal"]),
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


def test_a_wrong_agent_is_named_with_who_named_it(user):
    for agent in ("/no/such/agent", "/etc/passwd", "/usr", "/bin/true"):
        line = user.fails("run", "--", "true", env={"HFSANDBOX_AGENT": agent})
        assert agent in line and "HFSANDBOX_AGENT" in line


def test_a_runtime_directory_that_cannot_be_used_is_told(user):
    assert user("list", "-v").err == b""
    for directory, why in (("/no/such/directory", "no such directory"), ("relative", "absolute")):
        run = user("list", "--verbose", env={"XDG_RUNTIME_DIR": directory})
        assert run.code == 0 and b"runtime_dir.ignored (variable: XDG_RUNTIME_DIR" in run.err and why.encode() in run.err, run
        user.ok("list", env={"XDG_RUNTIME_DIR": directory})
    assert b"info: sandbox.created (id: local-" in user("run", "-v", "--", "true").err


def test_no_value_of_a_variable_is_printed(user):
    assert "Secret" not in user.fails("run", "-e", "=Secret", "--", "true")
    assert "Secret" not in user.fails("create", "--secret", "=Secret")
