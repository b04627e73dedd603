"""Hundreds of local sandboxes, half of them with a client that is killed at a random moment: no process, mount or directory is left."""
# ctest: long serial timeout=1800
import os
import random
import signal
import subprocess

from agent import BUILD, wait_until
from local import COMMAND, agents, hfsandbox, mounts

COUNT = int(os.environ.get("SBX_SOAK_SANDBOXES", "500"))


def test_nothing_is_left(tmp_path):
    chance, before = random.Random(1), (agents(), mounts())
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    for n in range(COUNT):
        if n % 2 == 0:
            done = hfsandbox("run", "--", "sh", "-c", f"echo {n}", runtime_dir=runtime)
            assert done.stdout == f"{n}\n".encode() and done.returncode == 0, done
            continue
        client = subprocess.Popen([COMMAND, "run", "--", "sleep", "300"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, env={**os.environ, "XDG_RUNTIME_DIR": str(runtime),
                                                                  "HFSANDBOX_AGENT": str(BUILD / "bin/hfsandbox-agent")})
        try:
            client.wait(chance.random() * 0.1)
        except subprocess.TimeoutExpired:
            pass
        client.send_signal(signal.SIGKILL)
        client.wait()
    wait_until(lambda: agents() == before[0], what="the end of all agents")
    assert mounts() == before[1]
    assert not [path for path in runtime.rglob("*") if not path.is_dir()]
