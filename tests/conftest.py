import subprocess
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path():
    """A directory that is removed at once, whatever tree a test leaves in it: pytest's own keeps the last ones, and fails on deep ones."""
    directory = Path(tempfile.mkdtemp(prefix="sbx-test-"))
    yield directory
    subprocess.run(["rm", "-rf", "--", directory], check=False)
