import json
import os
import subprocess
import sys

import pytest
import sbx
from agent import wait_until
from jobs import Driver
from localhub import Hub
from localhub.ask import ask


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="jobs run in namespaces with a range of uids: needs root"))


class Program:
    """Python scripts with the library of this build, as a user of the local Hub runs them."""

    PRELUDE = "import json, os, sys, threading, time\nimport pools, sbx\n"

    def __init__(self, hub):
        self.hub = hub

    def environment(self, off=None, **more):
        return sbx.environment(**self.hub.env(**{"HFSANDBOX_PROVIDER": "jobs", **({"SBX_TEST_OFF": off} if off else {}), **more}))

    def start(self, text, *args, off=None, **env):
        command = self.hub.command([sys.executable, "-c", self.PRELUDE + text, *map(str, args)])
        return subprocess.Popen(command, env=self.environment(off, **env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def run(self, text, *args, off=None, status=0, timeout=120, **env):
        process = self.start(text, *args, off=off, **env)
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == status, f"the script ended with {process.returncode}:\n{out}\n{err}"
        assert "Sanitizer" not in err and "runtime error:" not in err, err
        return out


class PoolDriver(Driver):
    """tests/support/jobs.py's, for tasks that use pools; what they leave open is given back in the right order."""

    def ask(self, text, *args, client=None):
        return super().ask("import pools\n" + text, *args, client=client)


def prepared(hub):
    hub.program = Program(hub)
    hub.hosts = lambda: [job for job in hub.jobs if job.labels.get("hf-sandbox-mode") == "pool"]
    hub.living = lambda: [job for job in hub.hosts() if job.stage in ("SCHEDULING", "RUNNING")]
    return hub


@pytest.fixture
def hub():
    with Hub() as hub:
        yield prepared(hub)


@pytest.fixture(scope="module")
def served():
    with Hub() as hub:
        yield prepared(hub)


@pytest.fixture
def shared_hub(served):
    """One Hub for a table of cases: nothing is left of one when the next begins."""
    yield served
    served.clear_faults()
    served.dial(scheduling_delay=0.02, rtt=0.0)
    for job in served.jobs.running():
        ask(served, "POST", f"/api/jobs/alice/{job.id}/cancel")
    wait_until(lambda: not served.jobs.running(), 20, "the end of all jobs")




