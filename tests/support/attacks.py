"""The hostile program of tests/security/attacks, built once per run, and what of this host it is set on."""
import ctypes
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

from local_agent import USER

SOURCES = Path(__file__).resolve().parents[1] / "security" / "attacks"
KEY_NAME = "sbx-test-key"
IPC_KEY = 0x5B0C0001


def directory():
    """A directory that every user may look into."""
    path = Path(tempfile.mkdtemp(prefix="sbx-host-"))
    path.chmod(0o755)
    return path


def build(into):
    compiler = shutil.which("musl-gcc") or "cc"
    program = into / "attack"
    subprocess.run([compiler, "-static", "-O1", "-o", str(program), *map(str, sorted(SOURCES.glob("*.c")))], check=True)
    program.chmod(0o755)
    return program


class Host:
    """Things of the host that a sandbox must not reach, open to every user as far as files and sockets can be."""

    def __init__(self, owner=None):
        self.root = directory()
        self.tools = self.root / "tools"
        self.secrets = self.root / "secrets"
        self.drop = self.root / "drop"
        for path, mode in ((self.tools, 0o755), (self.secrets, 0o755), (self.drop, 0o777)):
            path.mkdir()
            path.chmod(mode)
        self.program = build(self.tools)
        (self.secrets / "file").write_text("secret\n")
        if owner is not None:
            os.chown(self.drop, owner, owner)
        self._sockets()
        self._processes(owner)
        self._segment()
        self._key()
        if os.geteuid() == 0:
            self._as_root()

    def _sockets(self):
        self.path_socket = socket.socket(socket.AF_UNIX)
        self.path_socket.bind(str(self.secrets / "socket"))
        (self.secrets / "socket").chmod(0o777)
        self.abstract = f"sbx-test-{os.getpid()}"
        self.abstract_socket = socket.socket(socket.AF_UNIX)
        self.abstract_socket.bind("\0" + self.abstract)
        self.tcp = socket.socket()
        self.tcp.bind(("127.0.0.1", 0))
        for s in (self.path_socket, self.abstract_socket, self.tcp):
            s.listen(100)
        self.port = self.tcp.getsockname()[1]

    def _processes(self, owner):
        """One that ignores the signal it will get, so that its death is no part of the test."""
        switch = ["setpriv", "--reuid", str(owner), "--regid", str(owner), "--clear-groups"] if owner is not None else []
        self.victim = subprocess.Popen([*switch, "sh", "-c", "trap '' USR1; echo; exec sleep 3600"], stdout=subprocess.PIPE,
                                       env={"PATH": os.environ["PATH"], "VICTIM_SECRET": "1"})
        self.victim.stdout.readline()

    def _segment(self):
        libc = ctypes.CDLL(None, use_errno=True)
        self.libc = libc
        self.ipc_key = IPC_KEY + os.getpid()
        self.segment = libc.shmget(self.ipc_key, 4096, 0o1000 | 0o666)  # IPC_CREAT
        assert self.segment >= 0, ctypes.get_errno()

    def _key(self):
        """In the session key ring, which children inherit; a new one, so that the user's own stays as it is."""
        syscall = self.libc.syscall
        syscall(250, 1, 0)  # keyctl JOIN_SESSION_KEYRING
        self.key = syscall(248, b"user", KEY_NAME.encode(), b"secret", 6, -3)  # add_key

    def _as_root(self):
        os.mknod(self.tools / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.chmod(self.tools / "device", 0o666)
        shutil.copy(self.program, self.tools / "suid")
        os.chmod(self.tools / "suid", 0o4755)

    def close(self):
        self.victim.kill()
        self.victim.wait()
        self.victim.stdout.close()
        for s in (self.path_socket, self.abstract_socket, self.tcp):
            s.close()
        self.libc.shmctl(self.segment, 0, None)
        shutil.rmtree(self.root)

    def binds(self):
        return [(self.tools, self.tools)]

    def fill_in(self, words):
        values = {"secret": self.secrets / "file", "secrets": self.secrets, "tools": self.tools, "drop": self.drop,
                  "victim": self.victim.pid, "key": KEY_NAME, "ipc": self.ipc_key, "port": self.port, "abstract": self.abstract}
        return [word.format(**values) for word in words.split()]


def attack(agent, host, words, timeout=60):
    """(succeeded, what it printed). A command that a signal ended has not succeeded."""
    program = str(host.program)
    if words.startswith("/"):
        program, words = words.split(" ", 1)
        program = program.format(tools=host.tools).replace("/tools/", f"{host.tools}/")
    out = agent.run([program, *host.fill_in(words)], cwd="/", timeout=timeout)
    assert out.exit_code in (0, 1, None), out.stdout + out.stderr
    return out.exit_code == 0, out.stdout.decode("utf-8", "replace") + out.stderr.decode("utf-8", "replace")
