"""packaging/quickstart.sh on a copy of the tree, where its packages are installed already: builds, runs the main job, leaves nothing."""
# ctest: timeout=900
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command import ORDINARY, User

ROOT = Path(__file__).resolve().parents[2]


def quickstart(user, tree, path=None):
    front = user.argv([])[:-1]
    return subprocess.run([*front, "sh", str(tree / "packaging/quickstart.sh")], cwd="/", capture_output=True, text=True, timeout=800,
                          stdin=subprocess.DEVNULL, env={**user.env, "PATH": path or user.env["PATH"]})


@pytest.fixture(scope="module")
def user():
    with User(ORDINARY if os.getuid() == 0 else None) as u:
        yield u


@pytest.fixture(scope="module")
def tree(user):
    copy = user.home / "a tree"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=lambda _, names: [n for n in names if n == ".git" or n.startswith("build")])
    user.own(copy)
    return copy


def test_it_builds_and_shows_the_main_job(user, tree):
    run = quickstart(user, tree)
    assert run.returncode == 0 and run.stderr == "", f"{run.stdout}\n{run.stderr}"
    steps = [float(h) * 3600 + float(m) * 60 + float(s) for h, m, s in
             re.findall(r"^(\d\d):(\d\d):(\d\d\.\d)  step \d of 3$", run.stdout, re.M)]
    assert len(steps) == 3 and (steps[2] - steps[0]) % 86400 > 0.5, "the output did not come while it ran"
    assert re.search(r"^ *4 the\n *2 \w+\n *2 \w+$", run.stdout, re.M)
    ids = re.findall(r"^(local-\w+) +local +running", run.stdout, re.M)
    assert len(ids) == 1 and run.stdout.rstrip().split("\n")[-3].startswith("ID  PROVIDER"), run.stdout
    assert user.json("list") == []
    assert sorted(os.listdir(user.home)) == ["a tree"]
    user.nothing_left()


def stub(user, script):
    """A directory for PATH with a cmake that does this."""
    tools = user.dir / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "cmake").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "cmake").chmod(0o755)
    user.own(tools)
    return f"{tools}:{user.env['PATH']}"


def test_a_job_that_fails_is_said(user, tree):
    """Its output goes through a pipe, whose end is not the job's."""
    command = tree / "build/bin/hfsandbox"
    command.rename(command.with_suffix(".real"))
    try:
        command.write_text('#!/bin/sh\n[ "$1" = exec ] || exec "$0.real" "$@"\nexec "$0.real" exec "$2" -c "echo step 1 of 3; exit 5"\n')
        command.chmod(0o755)
        run = quickstart(user, tree, stub(user, "exit 0"))
        assert run.returncode == 1 and "step 1 of 3" in run.stdout and "the job failed with exit code 5" in run.stderr, run
        assert "A file comes back" not in run.stdout
    finally:
        command.with_suffix(".real").rename(command)
    assert user.json("list") == []
    user.nothing_left()


def test_a_build_that_fails_is_said(user, tree):
    run = quickstart(user, tree, stub(user, "echo 'no compiler'; exit 1"))
    assert run.returncode == 1 and "no compiler" in run.stderr and "the build failed" in run.stderr
