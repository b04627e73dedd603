"""A local agent, started as the library starts it: `hfsandbox-agent --local` with the descriptors of core/wire/names.h. This process is
its client.

    with LocalAgent(level="full", off="landlock") as a:
        a.run("id").stdout                          as agent.Agent: request, run, start_process, output, ...
        a.ready["isolation"]                        what it reported

user: the uid of an ordinary user to start it as (needs root). Leaving the block closes the control socket's end by SIGTERM to the keeper
and checks that nothing of the sandbox is left.
"""
import array
import fcntl
import json
import os
import secrets
import select
import signal
import socket
import tempfile
import time
from pathlib import Path

import raw_http
from agent import REPORTS, Agent, program, wait_until

USER = 12345  # of no account
LEAK_OPTIONS = "detect_leaks=0:exitcode=99:detect_stack_use_after_return=0"  # leaks: the search needs ptrace, which is shut off


class StartError(AssertionError):
    def __init__(self, answer):
        super().__init__(str(answer))
        self.answer = answer


class LocalConnection(raw_http.Connection):
    """One end of a socket pair whose other end was sent to the agent."""

    def __init__(self, ours, timeout):
        self.socket, self.held = ours, b""
        ours.settimeout(timeout)


def lift(fd):
    """The same above the places 3 to 6."""
    up = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64)
    os.close(fd)
    return up


def processes():
    """All processes: {pid: (parent, start time, uid, command line)}."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()
            line = Path(f"/proc/{name}/cmdline").read_bytes()
            uid = int(Path(f"/proc/{name}/status").read_text().split("\nUid:")[1].split()[0])
            found[int(name)] = (int(stat[1]), int(stat[19]), uid, line)
        except (OSError, IndexError):
            pass
    return found


def descendants(root):
    all_of_them = processes()
    found, generation = set(), {root}
    while generation:
        generation = {pid for pid, entry in all_of_them.items() if entry[0] in generation} - found
        found |= generation
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class LocalAgent(Agent):
    def __init__(self, off="", level="full", network="none", binds=(), limits=None, user=None, directory=None, detached=False,
                 env=None, cwd=None, hostname=None, idle_ms=None, static=False, commands_env=None, wrap=(), name="hfsandbox-agent"):
        """name: its argv[0], by which it is found among all processes."""
        token = secrets.token_hex(16)
        super().__init__(off=off, env={"ASAN_OPTIONS": LEAK_OPTIONS, **(env or {})}, token=token, static=static, cwd="/")
        if user is not None:
            wrap = (*wrap, "/usr/bin/setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups")
        self.wrap = list(wrap)
        self.detached, self.name, self.control = detached, name, None
        self._made = None
        if directory is None and (level != "full" or detached):
            self._made = tempfile.mkdtemp(prefix="sbx-local-")  # its parent: the keeper makes and removes the directory itself
            os.chmod(self._made, 0o711)
            if user is not None:
                os.chown(self._made, user, user)
            directory = os.path.join(self._made, "sandbox")
        self.directory = directory
        self.config = {"id": "sbx-" + secrets.token_hex(4), "token": token, "level": level, "network": network, "hostname": hostname,
                       "detached": detached, "idle_ms": idle_ms, "dir": directory, "env": commands_env or {}, "cwd": cwd,
                       "limits": {"processes": 512, "memory": 4 << 30, "disk": 1 << 30 if level == "full" else 0, "open_files": 4096,
                                  **(limits or {})},
                       "binds": [{"source": str(b[0]), "target": str(b[1]), "writable": len(b) > 2 and b[2]} for b in binds]}
        self.ready = None

    # -- life

    def spawn(self, port=None):
        config = lift(os.memfd_create("config"))
        os.write(config, json.dumps(self.config).encode())
        os.lseek(config, 0, os.SEEK_SET)
        status_read, status_write = os.pipe()
        self.status = os.fdopen(lift(status_read), "rb")
        status_write = lift(status_write)
        client = lift(os.pidfd_open(os.getpid()))
        self.stderr_file = tempfile.TemporaryFile()
        moves = [(config, 3), (status_write, 5), (client, 6), (lift(os.open("/dev/null", os.O_RDWR)), 0),
                 (lift(os.dup(self.stderr_file.fileno())), 2)]
        theirs = None
        if not self.detached:
            self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            moves.append((lift(theirs.detach()), 4))
        command = self.wrap + [str(program(self.static)) if self.wrap else self.name, "--local"]
        self.pid = os.posix_spawn(self.wrap[0] if self.wrap else program(self.static), command, self.env, setsid=True,
                                  file_actions=[(os.POSIX_SPAWN_DUP2, *move) for move in moves])
        for fd, _ in moves:
            os.close(fd)
        self.pidfd = os.pidfd_open(self.pid)

    def start(self, timeout=30):
        self.spawn()
        assert select.select([self.status], [], [], timeout)[0], "the agent said nothing"
        line = self.status.readline()
        self.status.close()
        self.ready = json.loads(line) if line else {"ready": False, "error": "it ended without a word"}
        if not self.ready["ready"]:
            self.finish()
            if self._made is not None:
                os.rmdir(self._made)  # fails when the agent has left its directory
            raise StartError({**self.ready, "stderr": self.stderr})
        if self.detached:
            self.commit()
        return self

    def commit(self):
        """Detached: from here on it outlives its client."""
        record = Path(self.directory, "record.json")
        record.with_suffix(".new").write_text("{}")
        record.with_suffix(".new").rename(record)

    def gone(self, timeout=20):
        """Waits for the keeper's end; its exit status as waitid says."""
        if self.exit_status is None:
            assert select.select([self.pidfd], [], [], timeout)[0], "the keeper did not end"
            self.finish()
        return self.exit_status

    def finish(self):
        _, status = os.waitpid(self.pid, 0)
        self.exit_status = os.waitstatus_to_exitcode(status)
        os.close(self.pidfd)
        if self.control is not None:
            self.control.close()
        self.stderr_file.seek(0)
        self.stderr = self.stderr_file.read().decode("utf-8", "replace")
        self.stderr_file.close()

    def kill(self, number=signal.SIGTERM):
        signal.pidfd_send_signal(self.pidfd, number)

    def stop(self, check=True, timeout=20):
        if self.exit_status is None:
            inside = descendants(self.pid)
            self.kill()
            self.gone(timeout)
            if check:
                wait_until(lambda: not any(map(alive, inside)), what=f"the end of {inside}")
        if self._made is not None:
            left = os.listdir(self._made)
            if not left:
                os.rmdir(self._made)
            assert not check or not left, left
        assert not REPORTS.search(self.stderr), self.stderr

    pid = None  # of the keeper

    @property
    def serving(self):
        """The pid of the serving process, as the host sees it."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    # -- requests

    def connect(self, timeout=raw_http.TIMEOUT, receive_buffer=None):
        if self.detached:
            directory = os.open(self.directory, os.O_PATH)
            try:
                return raw_http.Connection(f"/proc/self/fd/{directory}/sock", timeout, receive_buffer)
            finally:
                os.close(directory)
        ours, theirs = socket.socketpair()
        self.control.sendmsg([b"c"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
        theirs.close()
        return LocalConnection(ours, timeout)

    def write_file(self, path, data, mode="755"):
        response = self.request("PUT", f"/v1/files/write?path={path}&mode={mode}", body=data)
        assert response.status == 200, response

    def steps(self):
        return {step["name"]: step["holds"] for step in self.ready["isolation"]["steps"]}

    def first_byte(self, cmd="echo"):
        """Seconds from a command's request to its first byte of output."""
        begun = time.monotonic()
        self.run(cmd)
        return time.monotonic() - begun
