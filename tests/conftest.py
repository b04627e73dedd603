import subprocess
import tempfile
from pathlib import Path

import pytest


class Directories:
    """What pytest's own tmp_path_factory offers, with directories that are removed at once, whatever tree a test leaves in them: pytest keeps
    the last ones and fails on deep ones. Names are short, as sockets stand in them."""

    def __init__(self):
        self.made = []

    def mktemp(self, name="d", numbered=True):
        self.made.append(Path(tempfile.mkdtemp(prefix="sbx-test-")) / name)
        self.made[-1].mkdir()
        return self.made[-1]

    def remove(self):
        for directory in self.made:
            subprocess.run(["rm", "-rf", "--", directory.parent], check=False)


@pytest.fixture(scope="session")
def tmp_path_factory():
    directories = Directories()
    yield directories
    directories.remove()


@pytest.fixture
def tmp_path():
    directories = Directories()
    yield directories.mktemp()
    directories.remove()
