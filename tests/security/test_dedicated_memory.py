"""The dedicated agent against its own commands: they run as the same user, and may still not read its memory where that can be had; the
isolation report says whether it can."""
import os
import shutil

import pytest
from agent import Agent
from attacks import build, directory
from local_agent import USER

SETPRIV = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
ATTACKS = ["trace {pid}", "read /proc/{pid}/environ", "read-memory {pid}", "steal-descriptor {pid}"]


@pytest.fixture(scope="module")
def program():
    place = directory()
    yield build(place)
    shutil.rmtree(place)


def report(agent):
    steps = agent.get("/v1/info").json()["isolation"]["steps"]
    return next(step for step in steps if step["name"] == "agent-memory")


def succeeds(agent, program, words):
    out = agent.run([str(program), *words.format(pid=agent.pid).split()])
    assert out.exit_code in (0, 1), out.stderr
    return out.exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("words", ATTACKS)
def test_as_an_ordinary_user(program, words):
    options = {"wrap": SETPRIV, "env": {"ASAN_OPTIONS": "detect_leaks=0"}, "clean_exit": False, "cwd": "/"}
    with Agent(**options) as agent:
        assert report(agent)["holds"]
        assert not succeeds(agent, program, words)
    with Agent(**options, off="agent-memory") as agent:
        assert not report(agent)["holds"]
        assert succeeds(agent, program, words)


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
def test_as_root_the_report_is_true(program):
    with Agent(env={"ASAN_OPTIONS": "detect_leaks=0"}) as agent:
        assert succeeds(agent, program, "trace {pid}") == (not report(agent)["holds"])
        assert report(agent)["detail"]
