"""The README's quick start for Jobs runs as it is written, apart from HF_ENDPOINT and the token; what it says of them is true."""
# ctest: timeout=120
import re
import subprocess
from pathlib import Path

import pytest
from agent import BUILD, wait_until
from command import User
from localhub import Hub

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SECTION = README[README.index("## Hugging Face Jobs"):README.index("## Pools")]
POOLS = README[README.index("## Pools"):README.index("## What the isolation")]
[SCRIPT], [POOL_SCRIPT], [MORE_OF_POOLS] = (re.findall(rf"<!-- test: {kind} -->\n```sh\n(.*?)```", README, re.S) for kind in ("jobs", "pools", "pools-jobs"))


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
def test_quick_start(tls):
    with Hub(tls=tls) as hub, User(hub=hub) as user:
        env = {**user.env, "PATH": f"{BUILD / 'bin'}:{user.env['PATH']}"}
        del env["HFSANDBOX_PROVIDER"]
        assert not {name for name in env if name.startswith("HF")} - {"HF_ENDPOINT", "HF_TOKEN", "HF_HOME"}
        run = subprocess.run(hub.command(["sh", "-eu", "-c", SCRIPT]), cwd=user.home, env=env, capture_output=True, text=True, timeout=90,
                             stdin=subprocess.DEVNULL)
        assert run.returncode == 0 and run.stderr == "", run
        lines = run.stdout.split("\n")
        assert "42" in lines and "t4" in lines and "2 /tmp/in.txt" in lines and "working" in lines
        assert re.search(r"^ok +token +from HF_TOKEN, of user alice$", run.stdout, re.M)
        assert re.search(r"^t4-small .* 0\.006667 ", run.stdout, re.M)
        id = hub.jobs.last().id
        assert f"id: {id}" in lines and re.search(rf"^{id}  RUNNING  debian:12 .*\$\d", run.stdout, re.M)
        assert lines[-2] == "0 ended or cleaned up" and not hub.jobs.running()
        assert [job.request["flavor"] for job in hub.jobs] == ["cpu-basic", "t4-small", "cpu-basic"]
        assert hub.jobs.last().labels["project"] == "demo" and hub.token not in run.stdout


def test_what_is_said_of_defaults():
    with Hub() as hub, User(hub=hub) as user:
        user.ok("create")
        request = hub.jobs.last().request
        assert request["environment"]["SBX_IDLE_TIMEOUT"] == "600" and "(10\nminutes" in SECTION
        assert request["timeoutSeconds"] == 24 * 3600 and "(24 hours" in SECTION
        assert "HF_TOKEN" not in request["secrets"]
        assert "`--secret READ_TOKEN`" in SECTION
        assert user.ok("run", "--secret", "READ_TOKEN", "-c", 'echo "$READ_TOKEN $HF_TOKEN"', env={"READ_TOKEN": "made-for-it"}) == b"made-for-it \n"


def test_every_way_to_turn_telemetry_off_is_said_and_works():
    names = [name for name in ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK") if f"`{name}=1`" in SECTION]
    assert len(names) == 3
    with Hub() as hub, User(hub=hub) as user:
        for name in names:
            user.ok("run", "--", "true", env={name: "1"})
        assert len(hub.jobs) == 3 and not hub.requests.of("telemetry")
        user.ok("run", "--", "true")
        wait_until(lambda: hub.requests.of("telemetry"), what="telemetry where nothing turns it off")


def test_the_local_hub_is_started_as_said():
    assert "tests/hub/run.sh -- COMMAND" in SECTION
    text = subprocess.run(["sh", "-n", ROOT / "tests/hub/run.sh"], capture_output=True, text=True)
    assert text.returncode == 0 and "[-- COMMAND ...]" in (ROOT / "tests/hub/run.sh").read_text()


def run_script(hub, user, script, **env):
    env = {**user.env, "PATH": f"{BUILD / 'bin'}:{user.env['PATH']}", **env}
    run = subprocess.run(hub.command(["sh", "-eu", "-c", script]), cwd=user.home, env=env, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL)
    assert run.returncode == 0 and run.stderr == "", run
    return run.stdout.split("\n")


def test_pools():
    with Hub() as hub, User(hub=hub) as user:
        lines = run_script(hub, user, POOL_SCRIPT)
        [host] = hub.jobs
        assert lines[:4] == ["rollouts", "seed 2", "6 in.txt", "42"] and not hub.jobs.running()
        assert re.search(rf"^{host.id} +RUNNING +2 of 20 +user and Landlock", "\n".join(lines), re.M)
        assert len([line for line in lines if re.match(rf"{host.id}\.\S+ .* rollouts$", line)]) == 2
        lines = run_script(hub, user, MORE_OF_POOLS, HFSANDBOX_PROVIDER="")
        assert lines[0] == "rollouts" and int(lines[1]) >= 20000 and not hub.jobs.running() and len(hub.jobs) == 3
        environment = hub.jobs.last().request["environment"]
        assert environment["SBX_MAX_HOSTS"] == "4" and environment["SBX_IDLE_TIMEOUT"] == "1800" and hub.jobs.last().request["flavor"] == "cpu-upgrade"


def test_what_is_said_of_pools():
    with Hub() as hub, User(hub=hub) as user:
        user.ok("pool", "create", "--name", "p")
        request = hub.jobs.last().request
        assert request["environment"]["SBX_IDLE_TIMEOUT"] == "600" and "\n(10 minutes)" in POOLS
        assert request["timeoutSeconds"] == 24 * 3600 and "(24 hours)" in POOLS
        ours, theirs = (user.ok("create", "--pool", "p", "-e", "SECRET=of-it").decode().strip() for _ in range(2))
        limits = user.json("info", ours)["limits"]
        assert "256 processes, 2 GiB of memory and 8 GiB on disk" in POOLS
        assert (limits["processes"], limits["memory"], limits["disk"]) == (256, 2 << 30, 8 << 30)
        pid = user.json("spawn", theirs, "--", "sleep", "54321")["pid"]
        assert "Command lines can be seen" in POOLS
        assert user.ok("exec", ours, "--", "cat", f"/proc/{pid}/cmdline") == b"sleep\x0054321\x00"
        home = user.ok("exec", theirs, "-c", "echo kept >file; pwd").decode().strip()
        for what in (f"/proc/{pid}/environ", f"/proc/{pid}/mem", f"{home}/file"):
            assert user("exec", ours, "--", "cat", what).code == 1, what
        listens = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()"
        assert "None opens a TCP port" in POOLS and user("exec", ours, "--", "python3", "-c", listens).code == 1
        assert user.ok("exec", ours, "-e", "HF_TOKEN=made-for-it", "-c", "echo $HF_TOKEN") == b"made-for-it\n"
        assert user.ok("run", "--pool", "p", "--", "true") == b"" and len(hub.jobs) == 1
        user.ok("kill", "--all", "-y")
        assert not hub.jobs.running() and "`kill --all` ends pools too" in POOLS
