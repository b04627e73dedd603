"""One run of hub-job: a job's command in namespaces of its own, seen from outside (job.h says how it speaks)."""
import fcntl
import os
import socket
import struct
import subprocess

F_SETPIPE_SZ = 1031
SPEC_MAX = 1 << 20  # what a pipe takes at once
UID_BASE = 1 << 30  # the first of the 65,536 uids and gids that jobs have outside


class Container:
    """Lives on the loop's thread. on_ready(descriptors), on_started(), on_output(bytes), on_end(kind, text): kind is exit, signal, failed or
    lost; it comes last, when no process of the job is left and its output has been read to its end."""

    def __init__(self, loop, program, fields, on_ready, on_started, on_output, on_end):
        self.loop, self.on_ready, self.on_started, self.on_output, self.on_end = loop, on_ready, on_started, on_output, on_end
        spec = b"".join("\t".join(field).encode("utf-8", "surrogateescape") + b"\0" for field in fields) + b"\0"
        if len(spec) + 4 > SPEC_MAX:
            raise ValueError("argument list too long")
        self.outcome = ("lost", "the launcher has ended")
        self.status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.PIPE, close_fds=True,
                                            start_new_session=True, bufsize=0)
        self.commands, self.output = self.process.stdin, self.process.stderr
        fcntl.fcntl(self.commands, F_SETPIPE_SZ, SPEC_MAX)
        self.commands.write(struct.pack("=I", len(spec)) + spec)
        self.open = 2
        for source, reader in ((self.status, self._read_status), (self.output, self._read_output)):
            os.set_blocking(source.fileno(), False)
            loop.add_reader(source.fileno(), reader)

    def _read_status(self):
        try:
            message, descriptors, _, _ = socket.recv_fds(self.status, 1024, 8)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._ended(self.status)
            return
        kind, _, text = message.decode("utf-8", "replace").partition(" ")
        if kind == "ready":
            self.on_ready(descriptors)
        elif kind == "started":
            self.on_started()
        else:
            self.outcome = (kind, text)

    def _read_output(self):
        try:
            data = os.read(self.output.fileno(), 1 << 16)
        except BlockingIOError:
            return
        if data:
            self.on_output(data)
        else:
            self._ended(self.output)

    def _ended(self, source):
        self.loop.remove_reader(source.fileno())
        source.close()
        self.open -= 1
        if self.open == 0:
            self.commands.close()
            self.process.wait()  # it has closed everything it had: this is the moment of its exit
            self.on_end(*self.outcome)

    def _command(self, letter):
        try:
            self.commands.write(letter)
        except (OSError, ValueError):
            pass  # it has ended

    def terminate(self):
        self._command(b"T")

    def kill(self):
        self._command(b"K")

    @property
    def pid(self):
        """Of the job's first process, as this machine sees it; None when it has gone."""
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
                children = file.read().split()
            return int(children[0]) if children else None
        except (OSError, ValueError):
            return None


    def describe(self):
        """For an error's text: what is still there of it."""
        states = []
        for pid in [self.process.pid, *(processes_in(self.pid) if self.pid else [])]:
            try:
                with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/wchan") as wchan:
                    states.append(f"{stat.read()[:60]} in {wchan.read()}")
            except OSError as error:
                states.append(f"{pid}: {error}")
        return f"{self.open} streams open, outcome {self.outcome}, {states}"


def processes_in(pid):
    """The pids of all processes of the job whose first one is pid: those in its pid namespace or in one below it."""
    try:
        wanted = os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.stat(f"/proc/{entry}/ns/pid").st_ino == wanted:
                    found.append(int(entry))
            except OSError:
                pass
    return found
