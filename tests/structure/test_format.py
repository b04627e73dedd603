"""Layout: clang-format has nothing to change in any C file, and no line ends in a space."""
import re
import shutil
import subprocess

import pytest
from test_arrows import ROOT, tracked


def version():
    """Of clang-format; its majors lay the same code out differently, so the rule is that of one of them."""
    if shutil.which("clang-format") is None:
        return None
    found = re.search(r"version (\d+)", subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout)
    return int(found.group(1))


@pytest.mark.skipif(version() != 14, reason="not clang-format 14")
def test_clang_format():
    files = [str(path) for path in tracked("core", "tests") if path.suffix == ".c"]
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], capture_output=True, text=True)
    assert run.returncode == 0, "\n".join(line for line in run.stderr.split("\n") if "error:" in line)


def test_no_trailing_space():
    wrong = []
    for path in tracked("."):
        if path.suffix not in (".c", ".h", ".py", ".sh", ".md", ".cmake", ".txt"):
            continue
        wrong += [f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(path.read_text().split("\n"), 1)
                  if line != line.rstrip()]
    assert not wrong, wrong
