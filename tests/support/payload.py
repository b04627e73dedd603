"""The agent that travels with job requests, as the library carries it."""
import subprocess

from agent import BUILD

PROGRAM = BUILD / "bin/hfsandbox-agent-job"


def part(option):
    return subprocess.run([BUILD / "bin/payload_test", option], check=True, capture_output=True, text=True).stdout


def text():
    return part("--text")


def sha256():
    return part("--sha256")


def size():
    return int(part("--size"))


def arch():
    return part("--arch")


def script():
    return part("--script")


def environment():
    """What the start script needs."""
    return {"HFSANDBOX_AGENT_PAYLOAD": text(), "HFSANDBOX_AGENT_SHA256": sha256(), "HFSANDBOX_AGENT_SIZE": str(size()),
            "HFSANDBOX_AGENT_ARCH": arch()}
