"""The command hfsandbox of this build, run as a user would, with a runtime directory of its own.

    with User() as user:                      root when the tests run as root, or the caller
        user.ok("run", "--", "echo", "hi")    a run that must give exit code 0 and a silent standard error; its standard output
        user("exec", id, "--", "false")       any run: .code .out .err
        user.start("run", "--", "cat")        a Popen
    with User(uid=65534) as user: ...         as an ordinary user (needs root)
    with User(hub=hub) as user: ...           with the local Hub's variables and names, and provider jobs
Leaving the block fails when one of the user's sandboxes left a process or a file behind.
"""
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from agent import BUILD, REPORTS, wait_until

COMMAND = BUILD / "bin/hfsandbox"
ORDINARY = 65534


class Run:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def text(self):
        return self.out.decode()

    def __repr__(self):
        return f"exit code {self.code}\nstdout: {self.out[:2000]!r}\nstderr: {self.err[:4000].decode('utf-8', 'replace')}"


class User:
    def __init__(self, uid=None, hub=None):
        self.hub = hub
        self.uid = uid if uid is not None and uid != os.getuid() else None
        self.mark = f"sbx-test-{uuid.uuid4().hex}"

    def __enter__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="sbx-user-"))
        self.runtime = self.dir / "runtime"
        self.home = self.dir / "home"
        for path in (self.dir, self.runtime, self.home):
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)
            if self.uid is not None:
                os.chown(path, self.uid, self.uid)
        # The mark is in the environment of every program of this user's on this computer, by which they are found.
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8",
                    "XDG_RUNTIME_DIR": str(self.runtime), "SBX_TEST_MARK": self.mark, "TMPDIR": str(self.home),
                    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99"}
        if self.hub is not None:
            self.env |= self.hub.env(HFSANDBOX_PROVIDER="jobs")
        return self

    def __exit__(self, kind, *_):
        try:
            self("kill", "--all", "-y")
            if kind is None:
                self.nothing_left()
        finally:
            for pid in self.processes():
                os.kill(pid, 9)
            shutil.rmtree(self.dir, ignore_errors=True)

    def argv(self, arguments):
        front = []
        if self.uid is not None:
            front = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        if self.hub is not None:
            front = self.hub.command([])
        return front + [str(COMMAND)] + [str(a) if not isinstance(a, bytes) else a for a in arguments]

    def start(self, *arguments, env=None, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.home, **more}
        return subprocess.Popen(self.argv(arguments), env={**self.env, **(env or {})}, **more)

    def __call__(self, *arguments, input=None, timeout=60, **more):
        if input is not None:
            more["stdin"] = subprocess.PIPE
        process = self.start(*arguments, **more)
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"hfsandbox {arguments} did not end within {timeout} s\n{Run(None, out, err)}") from None
        assert not REPORTS.search((err or b"").decode("utf-8", "replace")), err.decode("utf-8", "replace")
        return Run(process.returncode, out, err)

    def ok(self, *arguments, **more):
        run = self(*arguments, **more)
        assert run.code == 0 and run.err == b"", f"hfsandbox {arguments}: {run}"
        return run.out

    def json(self, *arguments, **more):
        return json.loads(self.ok(arguments[0], "--json", *arguments[1:], **more))

    def fails(self, *arguments, code=125, **more):
        """A failure as it should look: the code, nothing on standard output, one line on standard error; the line."""
        run = self(*arguments, **more)
        assert run.code == code and run.out == b"", f"hfsandbox {arguments}: {run}"
        assert re.fullmatch(rb"hfsandbox: [^\n]+\n", run.err), run
        return run.err.decode()[len("hfsandbox: "):-1]

    def asks(self, *arguments, answer, meanwhile=None):
        """A run at a terminal that asks for a yes or no: its exit code, its standard output, and what the terminal shows. The answer is
        what is typed; meanwhile is called with the process when the question is there."""
        here, there = os.openpty()
        process = self.start(*arguments, stdin=there, stderr=there, start_new_session=True)
        os.close(there)
        shown = b""

        def show():
            nonlocal shown
            if not select.select([here], [], [], 30)[0]:
                raise AssertionError(f"neither a question nor an end: {shown!r}")
            try:
                piece = os.read(here, 4096)
            except OSError:  # the other side is closed
                return False
            shown += piece
            return bool(piece)
        try:
            while b"(y/N) " not in shown and show():
                pass
            if b"(y/N) " in shown:
                if meanwhile is not None:
                    meanwhile(process)
                os.write(here, answer)
                while show():
                    pass
            return process.wait(20), process.communicate()[0], shown.decode().replace("\r\n", "\n")
        finally:
            process.kill()
            process.wait()
            os.close(here)

    def own(self, path):
        """Gives a tree that the test made to this user."""
        if self.uid is not None:
            for entry in [path, *path.rglob("*")]:
                os.chown(entry, self.uid, self.uid, follow_symlinks=False)

    # -- what is left

    def processes(self):
        """The processes on this computer that this user's runs started, inside sandboxes or not."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                for name in ("environ", "cmdline"):
                    if self.mark.encode() in Path(f"/proc/{entry}/{name}").read_bytes():
                        found.append(int(entry))
                        break
            except OSError:
                pass
        return found

    def files(self):
        return sorted(str(path.relative_to(self.runtime)) for path in self.runtime.rglob("*") if not path.is_dir())

    def directories(self):
        """Of sandboxes: what stands below the directory of all of them."""
        return sorted(str(path.relative_to(self.runtime)) for path in self.runtime.glob("*/*") if path.is_dir())

    def nothing_left(self, timeout=10):
        wait_until(lambda: not self.processes(), timeout, f"the end of processes of {self.mark}")
        wait_until(lambda: not self.directories(), timeout, f"an empty directory: {self.directories()} {self.files()}")
