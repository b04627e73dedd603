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
SECTION = README[README.index("## Hugging Face Jobs"):README.index("## What the isolation")]
[SCRIPT] = re.findall(r"<!-- test: jobs -->\n```sh\n(.*?)```", README, re.S)


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
