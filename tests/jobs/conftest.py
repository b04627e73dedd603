import os
import subprocess
import sys

import pytest
import sbx
from localhub import Hub


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="jobs run in namespaces with a range of uids: needs root"))


class Program:
    """Python scripts with the library of this build, as a user of the local Hub runs them: scripts begin with what PRELUDE gives."""

    PRELUDE = "import json, os, sys, time\nimport sbx\n"

    def __init__(self, hub):
        self.hub = hub

    def environment(self, off=None, **more):
        env = self.hub.env(**{"HFSANDBOX_PROVIDER": "jobs", **({"SBX_TEST_OFF": off} if off else {}), **more})
        return sbx.environment(**env)

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


@pytest.fixture
def hub():
    with Hub() as hub:
        hub.program = Program(hub)
        yield hub


@pytest.fixture(params=[False, True], ids=["http", "tls"])
def either_hub(request):
    with Hub(tls=request.param) as hub:
        hub.program = Program(hub)
        yield hub
