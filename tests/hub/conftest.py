import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
collect_ignore = [] if os.geteuid() == 0 else ["test_client.py", "test_jobs.py", "test_proxy.py", "test_dials.py", "test_end.py"]


def pytest_configure(config):
    """Jobs need root; without it nothing here can be tried."""
    if os.geteuid() != 0:
        config.addinivalue_line("markers", "hub: needs root")


@pytest.fixture(scope="module")
def hub():
    from localhub import Hub
    with Hub() as h:
        yield h


@pytest.fixture(autouse=True)
def no_fault_is_left(request):
    yield
    if "hub" in request.fixturenames:
        request.getfixturevalue("hub").clear_faults()
