"""The shape of the tree: which folder may include which, and the one door to each dependency."""
import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core"
MAY_INCLUDE = {"util": {"util"}, "wire": {"util", "wire"}, "client": {"util", "wire", "client", "hfsandbox"},
               "agent": {"util", "wire", "agent"}, "cli": {"cli", "hfsandbox"}, "include": {"hfsandbox"}}
DOORS = {"llhttp.h": "agent/http.c", "jsmn.h": "agent/json_in.c", "curl/curl.h": "client/transport.c",
         "cJSON.h": "client/json.c", "cjson/cJSON.h": "client/json.c"}


def tracked(*patterns):
    """Files of the repository, those not yet committed included."""
    names = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
                           cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def includes(path):
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', path.read_text(), re.M)


def sources():
    return [path for path in tracked("core") if path.suffix in (".c", ".h")]


def test_arrows_point_one_way():
    wrong = []
    for path in sources():
        folder = path.relative_to(CORE).parts[0]
        for bracket, name in includes(path):
            target = name.split("/")[0]
            if (bracket == '"' and "/" in name or target in MAY_INCLUDE or target == "hfsandbox") and target not in MAY_INCLUDE[folder]:
                wrong.append(f"{path.relative_to(ROOT)} includes {name}")
            if bracket == '"' and "/" not in name and not (path.parent / name).exists():
                wrong.append(f"{path.relative_to(ROOT)} includes {name}, which does not stand beside it")
    assert not wrong, "\n".join(wrong)


def test_one_door_to_each_dependency():
    wrong = []
    for path in sources():
        for _, name in includes(path):
            if name in DOORS and str(path.relative_to(CORE)) != DOORS[name]:
                wrong.append(f"{path.relative_to(ROOT)} includes {name}; its only door is core/{DOORS[name]}")
    assert not wrong, "\n".join(wrong)


def test_file_names_are_unique():
    counts = Counter(path.name for path in sources() if path.suffix == ".c")
    assert not [name for name, count in counts.items() if count > 1 and name != "main.c"]


def test_the_map_of_the_client_names_every_file():
    names = set(re.findall(r"\*\*(\w+)\*\*", (CORE / "client/README.md").read_text()))
    files = {path.stem for path in sources() if path.parent == CORE / "client"}
    assert files == names, f"not on the map: {sorted(files - names)}; not there: {sorted(names - files)}"


def test_comments_cite_what_is_there():
    """Only documents of this repository."""
    wrong = [f"{path.relative_to(ROOT)}: {line.strip()}" for path in sources() for line in path.read_text().splitlines()
             if re.search(r"(?<![A-Z_])(PROTOCOL|DESIGN|STYLE)(\.md| \d)", line)]
    assert not wrong, "\n".join(wrong)


def test_files_have_a_bearable_length():
    """At most 450 lines; files below 150 are fine where their job is small. The public header and data tables have no ceiling."""
    long = {str(path.relative_to(ROOT)): lines for path in sources() if (lines := path.read_text().count("\n")) > 450}
    long.pop("core/include/hfsandbox/hfsandbox.h", None)
    assert not long, f"longer than 450 lines: {long}"


def test_nothing_is_left_unfinished():
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK|not implemented yet)\b")
    wrong = [f"{path.relative_to(ROOT)}:{number}" for path in sources()
             for number, line in enumerate(path.read_text().split("\n"), 1) if words.search(line)]
    assert not wrong, wrong


def test_no_path_of_a_machine():
    """Nothing in the repository may depend on where one computer keeps it, or on one registry."""
    inside = "|".join(("work/main", "work/shared", "tmp/wt", "tmp/hub", r"home/[a-z]+/[a-z]", r"Users/[a-z]"))
    pattern = re.compile(rf"(?<![\w.])/({inside})|https?://[\w.-]*(artifactory|nexus|mirror)[\w.-]*", re.I)
    wrong = []
    for path in tracked("."):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if path == Path(__file__):
            continue
        wrong += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)
                  if not (match.group().startswith("/home/") and "tests" in path.parts)]
    assert not wrong, "\n".join(wrong)
