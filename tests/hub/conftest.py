import os

import pytest


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="jobs run in namespaces with a range of uids: needs root"))


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
