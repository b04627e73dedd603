"""The command hfsandbox of this build, run for a test, and what it could have left behind."""
import os
import subprocess
from pathlib import Path

from agent import BUILD

COMMAND = BUILD / "bin" / "hfsandbox"


def hfsandbox(*args, runtime_dir=None, env=None, agent=None, **more):
    """Runs the command and collects its output. agent: which hfsandbox-agent, the installed one otherwise."""
    variables = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8",
                 "HFSANDBOX_AGENT": str(agent or BUILD / "bin" / "hfsandbox-agent"), **(env or {})}
    if runtime_dir is not None:
        variables["XDG_RUNTIME_DIR"] = str(runtime_dir)
    more.setdefault("timeout", 60)
    return subprocess.run([str(COMMAND), *map(str, args)], env=variables, capture_output=True, **more)


def agents():
    """The pids of all running agents of this build."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.readlink(f"/proc/{entry}/exe").startswith(str(BUILD / "bin" / "hfsandbox-agent")):
                    found.append(int(entry))
            except OSError:
                pass
    return found


def mounts():
    return Path("/proc/self/mountinfo").read_text().count("\n")
