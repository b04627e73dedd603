"""The agent that travels with job requests: what it takes, and that it serves."""
import hashlib
import os
import re
import subprocess

import payload
import pytest
from agent import BUILD, Agent

BUDGET = 100_000  # encoded, where the build has found zopfli; gzip takes 4 % more
ENV_MOST = 131072 - 1 - len("HFSANDBOX_AGENT_PAYLOAD=")  # what execve accepts as one string


@pytest.fixture
def program(tmp_path):
    """Decoded by the tools that an image has."""
    path = tmp_path / "agent"
    with open(path, "wb") as f:
        subprocess.run(["sh", "-c", "base64 -d | gzip -d"], input=payload.text().encode(), stdout=f, check=True)
    path.chmod(0o700)
    return path


def test_is_the_program(program):
    data = program.read_bytes()
    assert len(data) == payload.size() and hashlib.sha256(data).hexdigest() == payload.sha256()
    assert data == payload.PROGRAM.read_bytes()


def test_fits():
    length = len(payload.text())
    print(f"encoded {length}, decoded {payload.size()}")
    zopfli = re.search(r"^SBX_ZOPFLI:\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.M).group(1)
    assert length <= (ENV_MOST if zopfli.endswith("NOTFOUND") else BUDGET)


def test_starts_without_an_environment(program):
    version = subprocess.run(["env", "-i", program, "--version"], capture_output=True, text=True)
    assert version.returncode == 0 and version.stdout.startswith("hfsandbox-agent ") and version.stderr == ""


def test_serves(program):
    with Agent(static=program, wrap=["env", "-u", "PATH", "-u", "HOME", "-u", "LANG"]) as a:
        health = a.get("/health").json()
        assert health["status"] == "ok" and health["protocol"] >= 3 and {"keys", "frames", "process", "files"} <= set(health["features"])
        assert a.resident_kib() <= 512
        assert a.run("echo $((6 * 7))").stdout == b"42\n"
        assert a.request("PUT", f"/v1/files/write?path={a.dir}/x", body=b"\0bytes").status == 200
        assert a.get(f"/v1/files/read?path={a.dir}/x").body == b"\0bytes"
        steps = a.get("/v1/info").json()["isolation"]["steps"]
        assert [step["name"] for step in steps] == ["agent-memory"] and not steps[0]["required"]


def test_has_nothing_local(program):
    got = subprocess.run([program, "--local"], capture_output=True, text=True, env=dict(os.environ, SBX_TOKEN="t"))
    assert got.returncode == 2 and "'--local'" in got.stderr
    assert b"pivot" not in program.read_bytes().lower() and b"allowlist" not in program.read_bytes()
