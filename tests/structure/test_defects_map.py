"""tests/agent/DEFECTS.md and the tests it names belong together."""
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TABLE = (TESTS / "agent/DEFECTS.md").read_text()


def test_every_number_has_a_test():
    texts = "\n".join(path.read_text() for folder in ("agent", "host") for path in (TESTS / folder).glob("test_*.py"))
    tested = {int(n) for n in re.findall(r"^def test_5c_(\d+)_", texts, re.M)}
    listed = {int(n) for n in re.findall(r"^\| (\d+) \|", TABLE, re.M)}
    assert listed == tested == set(range(1, 27))


def test_named_files_exist():
    for name in re.findall(r"`((?:agent|conformance|fuzz|host|security|local|client|unit)/[\w./]+)`", TABLE):
        assert (TESTS / name).exists(), name


def test_every_switch_has_its_control():
    """A protection that can be switched off (util/testing.h) is switched off by some test, and tests switch off only what exists."""
    core = TESTS.parent / "core"
    switches = {name for path in core.rglob("*.c") for name in re.findall(r'testing_off\("([\w-]+)"\)', path.read_text())}
    texts = "\n".join(path.read_text() for kind in ("*.py", "*.c") for path in TESTS.rglob(kind) if "structure" not in path.parts)
    unused = {name for name in switches if not re.search(rf"""["',]{name}["',]""", texts)}
    assert not unused, f"no test switches these off: {sorted(unused)}"
    named = {name for group in re.findall(r"""\boff=["']([\w,-]+)["']""", texts) for name in group.split(",")}
    steps = {name for path in core.rglob("*.c") for name in re.findall(r'"([\w-]+)"', path.read_text())}
    assert named <= steps, f"these switch nothing off: {sorted(named - steps)}"
