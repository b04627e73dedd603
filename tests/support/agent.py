"""An agent of this build, started for a test and checked at its end.

    with Agent(off="drain-at-exit,token", env={"SBX_IDLE_TIMEOUT": "5"}) as a:
        a.request("POST", "/v1/exec", json={"cmd": "echo hi"})     one request on a connection of its own
        a.run("echo hi").stdout                                    a command, its output in frames
        with a.connect() as c: c.send(b"GET /health HTTP/1.1...")  a raw connection (raw_http.Connection)

The default is hfsandbox-agent-test (sanitizers, SBX_TEST_OFF); static=True takes the program that is installed, and a path that one.
Leaving the block ends the agent by SIGTERM and fails when it does not exit 0 in time or a sanitizer has reported anything.
"""
import json as json_module
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import raw_http
import streams
from machine import wait_until  # noqa: F401

BUILD = Path(os.environ.get("SBX_BUILD", Path(__file__).resolve().parents[2] / "build"))
TOKEN = "test-token-0123456789abcdef"
REPORTS = re.compile(r"Sanitizer|runtime error:|heap-use|stack-use|Assertion", re.I)


def program(static=False):
    if static not in (True, False):
        return Path(static)
    return BUILD / "bin" / ("hfsandbox-agent" if static else "hfsandbox-agent-test")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Agent:
    def __init__(self, off="", env=None, args=(), token=TOKEN, static=False, pid1=False, wrap=(), cwd=None, clean_exit=True):
        """off: protections switched off (util/testing.h). env: added to a small environment; None values remove a variable.
        token None: SBX_TOKEN is not set. pid1: as pid 1 of a new pid namespace (needs root). wrap: a command in front.
        cwd: the agent's directory; a fresh temporary one otherwise (self.dir)."""
        self.token, self.static, self.clean_exit = token, static, clean_exit
        self.args, self.wrap, self.pid1 = list(args), list(wrap), pid1
        self.dir = Path(cwd) if cwd else Path(tempfile.mkdtemp(prefix="sbx-agent-"))
        self._own_dir = cwd is None
        self.env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.dir), "LANG": "C.UTF-8",
                    "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:allocator_may_return_null=1:detect_stack_use_after_return=0",
                    "UBSAN_OPTIONS": "print_stacktrace=1"}
        if token is not None:
            self.env["SBX_TOKEN"] = token
        if off:
            self.env["SBX_TEST_OFF"] = off
        self.env.update(env or {})
        self.env = {key: str(value) for key, value in self.env.items() if value is not None}
        self.process = None
        self.exit_status = None
        self.stderr = ""

    # -- life

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            self.stop(check=kind is None)
        finally:
            if self._own_dir:
                shutil.rmtree(self.dir, ignore_errors=True)

    def spawn(self, port):
        """Starts the program without waiting for it; for tests of the start itself."""
        self.port = port
        self.stderr_file = tempfile.TemporaryFile()
        command = self.wrap + [str(program(self.static))] + self.args
        if self.pid1:
            command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] + command
        self.process = subprocess.Popen(command, env={**self.env, "SBX_PORT": str(port)}, cwd=self.dir, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.stderr_file, start_new_session=True)

    def start(self, timeout=20):
        for attempt in range(5):
            self.spawn(free_port())
            if self._wait_ready(time.monotonic() + timeout):
                return self
            self._collect()
            if "in use" not in self.stderr:  # somebody else took the port between its choice and the start
                break
        raise AssertionError(f"the agent did not start: status {self.exit_status}\n{self.stderr}")

    def _wait_ready(self, deadline):
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                with self.connect(timeout=5) as c:
                    status = c.request("GET", "/health", [("Connection", "close")]).status
                    return c.at_end() and status == 200  # the agent has forgotten this connection, too
            except ConnectionRefusedError:
                time.sleep(0.002)
        self.process.kill()
        return False

    @property
    def pid(self):
        """Of the agent itself, also behind unshare."""
        if not self.pid1:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def _collect(self):
        self.exit_status = self.process.wait()
        self.stderr_file.seek(0)
        self.stderr = self.stderr_file.read().decode("utf-8", "replace")
        self.stderr_file.close()

    def stop(self, check=True, timeout=20):
        """Ends the agent; with check, its exit must be 0 and its stderr free of sanitizer reports."""
        if self.process is None or self.exit_status is not None:
            return
        hung = False
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                hung = True
                self.process.kill()
        self._collect()
        if not REPORTS.search(self.stderr) and not check:
            return
        assert not REPORTS.search(self.stderr), self.stderr
        assert not hung, f"the agent did not end within {timeout} s of SIGTERM\n{self.stderr}"
        assert not self.clean_exit or self.exit_status == 0, f"exit status {self.exit_status}\n{self.stderr}"

    def wait_exit(self, timeout=30):
        """Waits for an end that the agent comes to by itself; returns its exit status."""
        self.process.wait(timeout)
        self._collect()
        assert not REPORTS.search(self.stderr), self.stderr
        return self.exit_status

    # -- requests

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def connect(self, timeout=raw_http.TIMEOUT, receive_buffer=None):
        return raw_http.Connection(self.address, timeout, receive_buffer)

    def headers(self, headers=(), token=True):
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if token is True:
            token = self.token
        return ([("X-Sandbox-Token", token)] if token else []) + pairs

    def request(self, method, target, json=None, body=None, headers=(), token=True, timeout=raw_http.TIMEOUT):
        """One request on a connection of its own. token: True = the agent's, None = none, text = that."""
        if json is not None:
            body = json_module.dumps(json).encode()
        with self.connect(timeout) as c:
            return c.request(method, target, self.headers(headers, token), body)

    def get(self, target, **more):
        return self.request("GET", target, **more)

    def post(self, target, json=None, **more):
        return self.request("POST", target, json=json, **({} if json is not None or "body" in more else {"body": b""}), **more)

    # -- commands

    def events(self, method, target, json=None, frames=True, headers=(), timeout=raw_http.TIMEOUT):
        """The events of a streamed response, one by one; closing the generator drops the connection."""
        accept = streams.FRAME_TYPE if frames else "application/x-ndjson"
        body = None if json is None else json_module.dumps(json).encode()
        with self.connect(timeout) as c:
            c.send_request(method, target, self.headers(list(dict(headers).items()) + [("Accept", accept)]), body)
            response = c.read_head()
            pieces = c.body_pieces(response)
            if response.status != 200:
                response.body = b"".join(pieces)
                raise AssertionError(f"{method} {target}: {response}")
            yield from (streams.frame_events if frames else streams.ndjson_events)(pieces)

    def run(self, cmd, frames=True, headers=(), wait=raw_http.TIMEOUT, **body):
        """POST exec, read to its end. wait: the most seconds of silence; everything else goes into the body, timeout for example."""
        return streams.Output(self.events("POST", "/v1/exec", {"cmd": cmd, **body}, frames, headers, wait))

    def start_process(self, cmd, headers=(), **body):
        """POST processes: {"id","pid",...}."""
        response = self.post("/v1/processes", json={"cmd": cmd, **body}, headers=headers)
        assert response.status == 200, response
        return response.json()

    def output(self, process, query="follow=1", frames=True, timeout=raw_http.TIMEOUT):
        """GET processes/{id}/output, read to its end."""
        return streams.Output(self.events("GET", f"/v1/processes/{process}/output?{query}", None, frames, (), timeout))

    # -- what the kernel says about it

    def resident_kib(self):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self):
        return [int(pid) for task in os.listdir(f"/proc/{self.pid}/task")
                for pid in Path(f"/proc/{self.pid}/task/{task}/children").read_text().split()]
