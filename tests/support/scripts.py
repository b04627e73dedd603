"""Python programs that use the library of this build, in a Python of their own: a library with AddressSanitizer can be loaded only where
libasan was loaded first.

    script(text, *args)          runs it to its end; .stdout is its output; fails when it fails
    start_script(text, ...)      a subprocess.Popen with pipes
"""
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

BUILD = Path(os.environ.get("SBX_BUILD", Path(__file__).resolve().parents[2] / "build"))
LIBRARY = BUILD / "lib" / "libhfsandbox.so"
SUPPORT = Path(__file__).resolve().parent


@functools.cache
def _sanitizer():
    """The sanitizer's library that the build needs loaded first, or None."""
    listing = subprocess.run(["ldd", str(LIBRARY)], capture_output=True, text=True).stdout
    found = re.search(r"/\S*lib[at]san\S*", listing)
    return found.group() if found else None


def environment(**extra):
    """Of a program that loads the library by dlopen: extra values of None remove a variable."""
    env = dict(os.environ, SBX_BUILD=str(BUILD), PYTHONPATH=str(SUPPORT), PYTHONDONTWRITEBYTECODE="1")
    if _sanitizer():
        env["LD_PRELOAD"] = _sanitizer()
        # Python itself never frees everything.
        env["ASAN_OPTIONS"] = "detect_leaks=0:verify_asan_link_order=0:" + env.get("ASAN_OPTIONS", "")
    for name, value in extra.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    return env


def start_script(text, *args, env=None, **popen):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", text, *map(str, args)], env=environment(**(env or {})), **{**pipes, **popen})


def read_line(process):
    """Its next line, and not a byte more: what is left is for communicate, which does not look into Python's buffers."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


def script(text, *args, env=None, timeout=120, status=0):
    done = subprocess.run([sys.executable, "-c", text, *map(str, args)], env=environment(**(env or {})), timeout=timeout,
                          capture_output=True, text=True)
    assert done.returncode == status, f"the script ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Sanitizer" not in done.stderr and "runtime error:" not in done.stderr, done.stderr
    return done
