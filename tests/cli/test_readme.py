"""The README's programs and commands do what it says, and its tables name what there is."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from agent import BUILD
from command import User

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(kind):
    """The code blocks marked <!-- test: kind -->."""
    found = re.findall(rf"<!-- test: {kind} -->\n```\w*\n(.*?)```", README, re.S)
    assert found, f"README.md has no block marked {kind}"
    return found


@pytest.fixture(scope="module")
def user():
    with User() as u:
        yield u


def shell(user, script, path=(), **env):
    path = ":".join([*map(str, path), str(BUILD / "bin"), user.env["PATH"]])
    return subprocess.run(["sh", "-eu", "-c", script], cwd=user.home, env={**user.env, "PATH": path, **env}, capture_output=True, text=True,
                          timeout=120, stdin=subprocess.DEVNULL)


def test_command_line(user):
    run = shell(user, blocks("sh")[0])
    assert run.returncode == 0 and run.stderr == "", run
    lines = run.stdout.split("\n")
    assert lines[0] == "42" and lines[1].strip() == "2"
    assert "HELLO" in lines and "working" in lines
    assert re.search(r"^p-\d+ +\d+ +running", run.stdout, re.M) and re.search(r"script\.py$", run.stdout, re.M)
    assert user.json("list") == []
    user.nothing_left()


def test_pools(user):
    run = shell(user, blocks("pools")[0])
    assert run.returncode == 0 and run.stderr == "", run
    lines = run.stdout.split("\n")
    assert lines[:4] == ["rollouts", "seed 2", "6 in.txt", "42"]
    assert re.search(r"^local +RUNNING +2 of 20 +namespaces", run.stdout, re.M)
    assert len([line for line in lines if re.match(r"local-[0-9a-f]{12} .* rollouts$", line)]) == 2
    assert user.json("list") == [] and user.ok("pool", "list").count(b"\n") == 1
    user.nothing_left()


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    """Where cc is; a library built with a sanitizer can only be used by a program that is too."""
    needed = subprocess.run(["readelf", "-d", BUILD / "lib/libhfsandbox.so"], check=True, capture_output=True, text=True).stdout
    directory = tmp_path_factory.mktemp("cc")
    if "libasan" in needed:
        cc = directory / "cc"
        cc.write_text(f'#!/bin/sh\nexec {shutil.which("cc")} "$@" -fsanitize=address,undefined\n')
        cc.chmod(0o755)
    return directory


@pytest.mark.parametrize("how", ["installed", "build tree"])
def test_c_program(user, compiler, tmp_path, how):
    [build] = [line for line in blocks("build")[0].strip().split("\n") if how in line.split("#")[1]]
    env = {}
    if how == "installed":
        subprocess.run(["cmake", "--install", BUILD, "--prefix", tmp_path / "prefix"], check=True, capture_output=True)
        [pc] = (tmp_path / "prefix").rglob("hfsandbox.pc")
        env = {"PKG_CONFIG_PATH": str(pc.parent), "LD_LIBRARY_PATH": str(pc.parent.parent)}
        assert list((tmp_path / "prefix").rglob("hfsandbox-agent")) and list((tmp_path / "prefix").rglob("hfsandbox.1"))
        shown = subprocess.run([tmp_path / "prefix/bin/hfsandbox", "run", "--", "echo", "installed"], env=user.env, capture_output=True, text=True, timeout=60)
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, "installed\n", "")
    else:
        (tmp_path / "core").symlink_to(ROOT / "core")
        (tmp_path / "build").symlink_to(BUILD)
    (tmp_path / "hello.c").write_text(blocks("c")[0])
    run = shell(user, f"cd {tmp_path}; {build}\n./hello", [compiler], **env)
    assert (run.returncode, run.stdout, run.stderr) == (0, "line 1\nline 2\nline 3\nexit code 7\n", "")
    run = shell(user, f"cd {tmp_path}; ./hello", [compiler], HFSANDBOX_AGENT="/no/such/agent", **env)
    assert run.returncode == 1 and run.stdout == "" and "/no/such/agent" in run.stderr
    user.nothing_left()


@pytest.mark.parametrize("command,timeout,said", [("echo oops >&2; sleep 300", 300, "killed: it ran too long\n"), ("echo oops >&2; kill -9 $$", 10000, "ended by signal 9\n")])
def test_c_program_tells_every_end(user, compiler, tmp_path, command, timeout, said):
    [build] = [line for line in blocks("build")[0].strip().split("\n") if "build tree" in line.split("#")[1]]
    program = re.sub(r'\.shell = "[^"]*", \.timeout_ms = \d+', f'.shell = "{command}", .timeout_ms = {timeout}', blocks("c")[0])
    (tmp_path / "core").symlink_to(ROOT / "core")
    (tmp_path / "build").symlink_to(BUILD)
    (tmp_path / "hello.c").write_text(program)
    run = shell(user, f"cd {tmp_path}; {build}\n./hello", [compiler])
    assert (run.returncode, run.stdout, run.stderr) == (0, said, "oops\n")
    user.nothing_left()


def test_isolation_table_names_the_steps(user):
    table = re.search(r"^\| step \|.*?\n\n", README, re.S | re.M).group()
    named = set(re.findall(r"^\| ([a-z-]+) \|", table, re.M)) - {"step"}
    id = user.ok("create").decode().strip()
    here = {step["name"]: step for step in user.json("info", id)["isolation"]["steps"]}
    user.ok("kill", id)
    columns = {row[1]: row for row in (line.split(" | ") for line in table.split("\n")) for row in [[None, row[0].strip("| "), *row[1:]]]}
    assert set(here) <= named
    for name, step in here.items():
        full = columns[name][3].strip()
        assert (full == "yes") == step["required"], f"{name}: README says '{full}', the agent requires it: {step['required']}"


def test_defaults_table_is_true(user):
    id = user.ok("create").decode().strip()
    limits = user.json("info", id)["limits"]
    user.ok("kill", id)
    memory = min(4 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)
    assert limits["processes"] == 512 and limits["disk"] == 1 << 30 and limits["open_files"] == 4096
    assert abs(limits["memory"] - memory) < 1 << 24
    for number in ("512", "4 GiB", "1 GiB", "4096", "10 minutes"):
        assert f"| {number}" in README


def test_the_tree_is_as_described():
    tree = README[README.index("## The tree"):README.index("## What could not")]
    for parent in ("core", "tests"):
        rows = [row for row in re.findall(r"^\| (.*?) \|", tree, re.M) if row.startswith(f"`{parent}/")]
        named = {name.split("/")[-1] for row in rows for name in re.findall(r"`([\w/]+?)/?`", row)} | {"include"}
        for folder in (ROOT / parent).iterdir():
            if folder.is_dir() and not folder.name.startswith((".", "_")):
                assert folder.name in named, f"{parent}/{folder.name} is not in README's tree"


def test_man_page_names_every_command_and_option(user):
    page = (ROOT / "packaging/hfsandbox.1").read_text().replace("\\-", "-")
    overview = user.ok("--help").decode().split("For example")[0]
    for command in re.findall(r"^  (\w+(?: \w+)?) {2,}[a-z]", overview, re.M):
        assert re.search(rf"^\.B \"?{command}\b", page, re.M), command
        for option in re.findall(r"--[a-z-]+", user.ok(*command.split(), "--help").decode().split("Options:")[1].split("Exit codes")[0]):
            assert option in page, f"{command} {option}"


def test_the_variables_are_the_same_everywhere(user):
    page = (ROOT / "packaging/hfsandbox.1").read_text()
    shown = re.findall(r"^  ([A-Z_]{6,}) ", user.ok("--help").decode(), re.M)
    sources = "".join(path.read_text() for folder in ("cli", "client") for path in sorted((ROOT / "core" / folder).glob("*.c")))
    read = set(re.findall(r'"((?:HF_|HUGGINGFACE_|HUGGING_FACE_|HFSANDBOX_|TRANSFORMERS_)[A-Z_]+[A-Z])"', sources))
    assert {"HF_OIDC_RESOURCE", "HFSANDBOX_AGENT"} <= read <= {*shown, "HUGGING_FACE_HUB_TOKEN"}   # which HF_TOKEN's line names
    assert shown == re.findall(r"^\.B ([A-Z_]{6,})$", page, re.M) == re.findall(r"^\| `([A-Z_]{6,})` \|", README, re.M)

