"""The boundary of the library: what it exports, and who can compile its header."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SBX_BUILD", ROOT / "build"))
HEADER = ROOT / "core/include/hfsandbox/hfsandbox.h"


def declared():
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    return set(re.findall(r"SBX_API\b[^;(]*?\b(sbx_\w+)\s*\(", text))


def test_exports_are_the_header_and_nothing_else():
    lines = subprocess.run(["nm", "-D", "--defined-only", str(BUILD / "lib/libhfsandbox.so")], check=True, capture_output=True,
                           text=True).stdout.split("\n")
    exported = {line.split()[-1].split("@")[0] for line in lines if line}
    exported = {name for name in exported if not re.match(r"_?_?(asan|ubsan|lsan|tsan|sanitizer|odr_asan|sancov)|_init$|_fini$", name)}
    names = declared()
    assert len(names) > 60
    assert exported - names == set(), "exported and not in the header"
    assert names - exported == set(), "in the header and not exported"


@pytest.mark.parametrize("compiler,standard", [("cc", "c99"), ("cc", "c11"), ("c++", "c++11"), ("c++", "c++17"),
                                               ("clang", "c99"), ("clang++", "c++11"), ("musl-gcc", "c11")])
def test_header_compiles(compiler, standard, tmp_path):
    """C99 and C++11 without extensions, as the first and only include. The example on its first page is compiled too, in C."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    source = tmp_path / ("use.cpp" if "+" in standard else "use.c")
    text = "#include <hfsandbox/hfsandbox.h>\n#include <hfsandbox/hfsandbox.h>\n"
    if "+" in standard:
        names = re.findall(r"#define (SBX_\w+_INIT) SBX_INIT\((\w+), (\w+)\)", HEADER.read_text())
        assert len(names) == 11
        text += "".join(f"static {struct} of_file_{struct} = {{{macro}}};\n" for macro, struct, _ in names)
        text += "int main() { sbx_error err; bool good = true;\n"
        text += "".join(f"{{ {struct} x = {{{macro}}}; good = good && x.{member} == sizeof x && of_file_{struct}.{member} == sizeof x; }}\n"
                        for macro, struct, member in names)
        text += "return good && sbx_client_new(nullptr, nullptr, &err) == SBX_OK; }\n"
    else:
        example = re.search(r"^ \*     (sbx_client \*client;.*?)\n \*\n", HEADER.read_text(), re.S | re.M).group(1)
        example = re.sub(r"^ \*", "", example, flags=re.M)
        text += ("#include <stdio.h>\n#include <stdlib.h>\n__attribute__((noreturn)) static void die(const char *m) { fputs(m, stderr); exit(1); }\n"
                 "void use(void);\nvoid use(void) {\n" + example + "\n}\n")
    source.write_text(text)
    command = [compiler, f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/core/include", "-c", str(source),
               "-o", str(tmp_path / "use.o")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_each_function_says_from_which_threads():
    """[any], [one] or [last] in the comment before it or on its line; but for getters, whose rule stands at the top, and what is static."""
    getters = re.compile(r"sbx_(version|status_\w+|(result|bytes)_(?!free)\w+|\w+_list_(count|get))$")
    lines, comment, missing, seen = HEADER.read_text().split("\n"), "", [], 0
    for at, line in enumerate(lines):
        if line.startswith("/*"):
            comment = ""
            for more in lines[at:]:
                comment += more + "\n"
                if "*/" in more:
                    break
        found = re.match(r"SBX_API\b[^;(]*?\b(sbx_\w+)\s*\(", line)
        if found and not getters.match(found.group(1)):
            seen += 1
            tags = set(re.findall(r"\[(any|one|last)\]", line)) or set(re.findall(r"\[(any|one|last)\]", comment))
            if len(tags) != 1 or ("last" in tags) != found.group(1).endswith("_free"):
                missing.append((found.group(1), tags))
    assert seen > 40 and not missing, missing


def test_status_table_is_sound():
    rows = re.findall(r"X\((\w+), (-?\d+), \"([^\"]+)\"\)", HEADER.read_text())
    assert len(rows) > 20
    for column in range(3):
        values = [row[column] for row in rows]
        assert len(values) == len(set(values))
    assert all((int(value) < 0) == name.startswith("ERROR_") for name, value, _ in rows)


@pytest.mark.parametrize("name", ["hfsandbox-agent", "hfsandbox-agent-job", "hfsandbox-agent-host"])
def test_agent_is_static(name):
    agent = BUILD / "bin" / name
    assert subprocess.run(["readelf", "-d", agent], check=True, capture_output=True, text=True).stdout.find("NEEDED") < 0
    assert subprocess.run(["readelf", "-l", agent], check=True, capture_output=True, text=True).stdout.find("INTERP") < 0


def test_agent_carries_no_test_switch():
    for name in ("hfsandbox-agent", "hfsandbox-agent-job", "hfsandbox-agent-host"):
        assert b"SBX_TEST_OFF" not in (BUILD / "bin" / name).read_bytes()
    assert b"SBX_TEST_OFF" in (BUILD / "bin/hfsandbox-agent-test").read_bytes()


def test_agent_carries_no_sha256():
    """Only the client needs it, and the agent's size counts."""
    first_constant = bytes.fromhex("982f8a42")
    assert first_constant in (BUILD / "lib/libhfsandbox.so").read_bytes()
    assert first_constant not in (BUILD / "bin/hfsandbox-agent").read_bytes()
