"""The one command that starts the local Hub for somebody's own program. run.sh adds to this that its parts are built and installed."""
import os
import subprocess
import sys

import pytest
from localhub import Accounts
from localhub.hub import BUILD


def start(*words, **options):
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return subprocess.run([sys.executable, "-m", "localhub", "--build", str(BUILD), *words], env=env, capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize("tls", [False, True])
def test_a_command(tls):
    done = start(*(["--tls"] if tls else []), "--", "env")
    assert done.returncode == 0, done.stderr
    env = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert env["HF_ENDPOINT"].startswith("https://" if tls else "http://127.0.0.1:") and env["HF_TOKEN"] == Accounts.ALICE and env["HF_HOME"]
    assert env.get("SSL_CERT_FILE", "").startswith(os.path.dirname(env["HF_HOME"])) == tls
    assert not os.path.exists(env["HF_HOME"]), "the Hub's directory stays"


def test_the_command_uses_it():
    script = """
import json, os, urllib.request
def ask(path):
    request = urllib.request.Request(os.environ["HF_ENDPOINT"] + path, headers={"Authorization": "Bearer " + os.environ["HF_TOKEN"]})
    return json.load(urllib.request.urlopen(request))
print(ask("/api/whoami-v2")["name"], ask("/_hub/dials")["scheduling_delay"])
raise SystemExit(7)
"""
    done = start("scheduling_delay=0.25", "--", sys.executable, "-c", script)
    assert done.returncode == 7 and done.stdout.split() == ["alice", "0.25"], done


@pytest.mark.parametrize("words,said", [(["no_such=1"], "there is no dial 'no_such'"), (["fail_at=never"], "may be one of")])
def test_what_cannot_be(words, said):
    done = start(*words, "--", "true")
    assert done.returncode == 2 and said in done.stderr, done
