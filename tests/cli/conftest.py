import os

import pytest
from command import ORDINARY, User

USERS = ["root", "ordinary"] if os.getuid() == 0 else ["ordinary"]


@pytest.fixture(params=USERS)
def user(request):
    """Every test of the command runs as root and as an ordinary user where it can."""
    with User(ORDINARY if request.param == "ordinary" and os.getuid() == 0 else None) as u:
        yield u


@pytest.fixture
def sandbox(user):
    return user.ok("create").decode().strip()
