"""tests/agent/DEFECTS.md and the tests it names belong together."""
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TABLE = (TESTS / "agent/DEFECTS.md").read_text()
HOST_MODE = {20, 21, 22, 25, 26}


def test_every_number_has_a_test():
    tested = {int(n) for n in re.findall(r"^def test_5c_(\d+)_", (TESTS / "agent/test_defects.py").read_text(), re.M)}
    listed = {int(n) for n in re.findall(r"^\| (\d+) \|", TABLE, re.M)}
    assert listed == tested
    assert listed | HOST_MODE == set(range(1, 27))


def test_named_files_exist():
    for name in re.findall(r"`((?:agent|conformance|fuzz|security|local|client|unit)/[\w./]+)`", TABLE):
        assert (TESTS / name).exists(), name
