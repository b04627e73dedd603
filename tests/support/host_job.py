"""An agent in host mode in a container like a job's (tests/hub/job.h): pid 1, root of a range of users, without CAP_SYS_ADMIN and namespaces.

    with JobAgent() as host:            as host_agent.HostAgent
        host.outside(a.home)            the same place as this machine's root sees it
"""
import ctypes
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

import host_agent
import raw_http
from agent import BUILD, wait_until
from localhub import images
from localhub.container import UID_BASE

CLONE_NEWNET = 0x40000000
SUPPORT = Path(__file__).resolve().parent
LIBC = ctypes.CDLL(None, use_errno=True)
THINGS = "/tmp/things.json"


class JobAgent(host_agent.HostAgent):
    own_users = True

    def __init__(self, off="", env=None, **more):
        super().__init__(off=off, env={"SBX_HOST_DIRECTORY": None, "SBX_HOST_FIRST_UID": None, "HOME": "/root",
                                       "PATH": images.PATH, **(env or {})}, **more)
        # A tracer cannot be had there, and so no search for leaks.
        self.env["ASAN_OPTIONS"] = self.env["ASAN_OPTIONS"].replace("detect_leaks=1", "detect_leaks=0")
        self.network = None
        self.dir.chmod(0o755)

    def _fields(self, port):
        etc = self.dir / "etc"
        shutil.rmtree(etc, ignore_errors=True)
        images.build_etc(etc, "127.0.0.1 localhost\n")
        (self.dir / "root").mkdir(exist_ok=True)
        fields = [("root", str(self.dir / "root")), ("map", str(UID_BASE)), ("hostname", "job"), ("workdir", "/")]
        fields += images.root_steps(images.IMAGES["python:3.12"], etc)
        fields += [("bind", str(BUILD / "bin"), "/agent", "ro"), ("bind", str(SUPPORT), "/support", "ro")]
        script = f"python3 -B /support/machine_things.py {THINGS} & exec /agent/hfsandbox-agent-test \"$@\""
        fields += [("arg", word) for word in ("/bin/sh", "-c", script, "sh", *self.args)]
        return fields + [("env", f"{key}={value}") for key, value in {**self.env, "SBX_PORT": str(port)}.items()]

    def spawn(self, port):
        self.port = port
        self.stderr_file = tempfile.TemporaryFile()
        spec = b"".join("\t".join(field).encode() + b"\0" for field in self._fields(port)) + b"\0"
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen([str(BUILD / "bin/hub-job")], stdin=subprocess.PIPE, stdout=theirs, stderr=self.stderr_file,
                                            start_new_session=True, bufsize=0)
        self.process.stdin.write(struct.pack("=I", len(spec)) + spec)
        status.settimeout(20)
        message, descriptors, _, _ = socket.recv_fds(status, 1024, 8)
        assert message == b"ready", message
        self.network = descriptors[0]
        message = status.recv(1024)
        assert message == b"started", message
        self.status = status

    @property
    def pid(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def _collect(self):
        super()._collect()
        self.process.stdin.close()
        said = self.status.recv(1024).decode()
        self.status.close()
        os.close(self.network)
        if said.startswith("exit "):
            self.exit_status = int(said.split()[1])

    def connect(self, timeout=raw_http.TIMEOUT, receive_buffer=None):
        """The socket is one of the container's network, this thread stays in its own."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        assert LIBC.setns(self.network, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            return super().connect(timeout, receive_buffer)
        finally:
            assert LIBC.setns(own, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            os.close(own)

    def outside(self, path):
        return Path(f"/proc/{self.pid}/root{path}")

    def put_as_root(self, path, data, mode):
        script = f"cat > {path} && chmod {mode:o} {path}"
        subprocess.run(["nsenter", "-t", str(self.pid), "-U", "-m", "sh", "-c", script], input=data, check=True)

    def things(self):
        path = self.outside(THINGS)
        wait_until(path.exists, what="the machine's things")
        return {**json.loads(path.read_text()), "agent": 1}
