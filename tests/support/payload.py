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
