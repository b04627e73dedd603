#!/usr/bin/env python3
"""A server program of the Hub's own kind, for Hub(agent=...): the routes of PROTOCOL 5 for a dedicated sandbox, without anything that ours adds
(no keys, no frames, no features, no entity tags, no code in errors), in three generations (PROTOCOL 0 and 5b; GENERATION in its environment):

    1  /health has no `protocol`; processes are killed by pid or id, always with {"ok": true}
    2  /health tells strangers the protocol only; background exec names an id; DELETE says whether it killed
    3  as 2, and says so
"""
import json
import os
import select
import signal
import subprocess
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GENERATION = int(os.environ.get("GENERATION", "1"))
TOKEN = os.environ.pop("SBX_TOKEN", "")
IDLE = float(os.environ.get("SBX_IDLE_TIMEOUT") or "inf")
BEGUN = time.monotonic()
lock = threading.Lock()
processes, last = {}, [BEGUN]
TYPES = {0o040000: "dir", 0o120000: "symlink"}


class Problem(Exception):
    def __init__(self, status, text):
        self.status, self.text = status, text


class Process:
    def __init__(self, body, background):
        cmd = body.get("cmd")
        argv = ["/bin/sh", "-c", cmd] if isinstance(cmd, str) else cmd
        if not isinstance(argv, list) or not argv or not all(isinstance(a, str) for a in argv):
            raise Problem(400, "missing cmd")
        env = {**os.environ, **{k: v if isinstance(v, str) else "" for k, v in (body.get("env") or {}).items()}}
        pipe = subprocess.DEVNULL if background else subprocess.PIPE
        self.input = body.get("stdin")
        self.cmd, self.tag, self.started = cmd, body.get("tag"), int(time.time() * 1000)
        try:
            self.child = subprocess.Popen(argv, env=env, cwd=body.get("cwd"), stdout=pipe, stderr=pipe, start_new_session=True,
                                          stdin=subprocess.PIPE if self.input is not None else subprocess.DEVNULL)
        except OSError as error:
            raise Problem(400, f"failed to spawn '{argv[0]}': {error}") from None
        self.begun, self.timed_out = time.monotonic(), False
        if self.input is not None:
            threading.Thread(target=self._feed, daemon=True).start()
        if body.get("timeout"):
            threading.Thread(target=self._limit, args=(body["timeout"],), daemon=True).start()

    def _feed(self):
        try:
            self.child.stdin.write(self.input.encode())
            self.child.stdin.close()
        except OSError:
            pass

    def _limit(self, seconds):
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.timed_out = True
            self.kill()

    def kill(self):
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except OSError:
            return False
        return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value, status=200):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(value, bytes) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        path, _, query = self.path.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        known = self.headers.get("X-Sandbox-Token") == TOKEN
        try:
            if path == "/health":
                self.answer(self.health(known))
            elif not known:
                raise Problem(403, "invalid or missing X-Sandbox-Token")
            else:
                last[0] = time.monotonic()
                self.route(path)
        except Problem as problem:
            self.answer({"error": problem.text}, problem.status)
        except BrokenPipeError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = serve

    def health(self, known):
        full = {"status": "ok", "version": f"0.{4 + GENERATION}.0", "uptime_ms": int((time.monotonic() - BEGUN) * 1000), "sandboxes": 0}
        if GENERATION == 1:
            return full
        return {**(full if known else {"status": "ok"}), "protocol": GENERATION, **({"mode": "dedicated", "auth": "required"} if known else {})}

    def route(self, path):
        method, parts = self.command, path.strip("/").split("/")
        name = {("POST", "v1/exec"): "exec", ("POST", "v1/processes"): "start", ("GET", "v1/processes"): "processes",
                ("GET", "v1/files/read"): "read", ("PUT", "v1/files/write"): "write", ("GET", "v1/files/list"): "list",
                ("GET", "v1/files/stat"): "stat", ("DELETE", "v1/files/delete"): "delete", ("POST", "v1/files/mkdir"): "mkdir"}.get(
                    (method, "/".join(parts)))
        if name is None and method == "DELETE" and parts[:2] == ["v1", "processes"] and len(parts) == 3:
            self.forget(parts[2])
        elif name is None:
            raise Problem(404, f"no route: {method} {path}")
        else:
            getattr(self, "do_" + name)()

    # -- commands

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise Problem(400, "invalid JSON") from None

    def do_exec(self):
        body = self.json()
        if body.get("background"):
            self.start(body)
            return
        process = Process(body, False)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-Accel-Buffering", "no")
        self.end_headers()
        self.event(event="start", pid=process.child.pid)
        pipes = {process.child.stdout: "stdout", process.child.stderr: "stderr"}
        while pipes:
            ready, _, _ = select.select(list(pipes), [], [], 15)
            if not ready:
                self.event(event="ping")
            for pipe in ready:
                if data := os.read(pipe.fileno(), 32768):
                    self.event(event=pipes[pipe], data=data.decode("utf-8", "replace"))
                else:
                    del pipes[pipe]
        code = process.child.wait()
        last[0] = time.monotonic()
        self.event(event="exit", exit_code=code if code >= 0 else None, signal=-code if code < 0 else None, timed_out=process.timed_out,
                   duration_ms=int((time.monotonic() - process.begun) * 1000))
        self.wfile.write(b"0\r\n\r\n")

    def event(self, **values):
        line = json.dumps(values).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def do_start(self):
        self.start(self.json(), True)

    def start(self, body, full=False):
        process = Process(body, True)
        with lock:
            process.id = f"p-{len(processes)}"
            processes[process.id] = process
        answer = {"pid": process.child.pid, "tag": process.tag}
        if full or GENERATION > 1:
            answer["id"] = process.id
        self.answer({**answer, "cmd": process.cmd} if full else answer)

    def do_processes(self):
        rows = []
        for p in list(processes.values()):
            code = p.child.poll()
            rows.append({"id": p.id, "pid": p.child.pid, "cmd": p.cmd, "tag": p.tag, "started_at_ms": p.started, "running": code is None,
                         "exit_code": code if code is not None and code >= 0 else None})
        self.answer(rows)

    def forget(self, name):
        with lock:
            process = processes.pop(name, None)
        killed = process is not None and process.child.poll() is None and process.kill()
        self.answer({"id": name, "ok": True} if GENERATION == 1 else {"id": name, "killed": killed})

    # -- files

    def path_of(self):
        if not self.query.get("path"):
            raise Problem(400, "missing path")
        return self.query["path"]

    def entry(self, path):
        try:
            st = os.lstat(path)
        except OSError:
            raise Problem(404, "no such file") from None
        return {"name": os.path.basename(path.rstrip("/")), "path": path, "type": TYPES.get(st.st_mode & 0o170000, "file"), "size": st.st_size,
                "mtime_ms": int(st.st_mtime * 1000), "mode": f"{st.st_mode & 0o7777:o}"}

    def do_read(self):
        path = self.path_of()
        if os.path.isdir(path):
            raise Problem(409, "is a directory")
        try:
            with open(path, "rb") as file:
                file.seek(int(self.query.get("offset", 0)))
                self.answer(file.read(int(self.query["length"])) if "length" in self.query else file.read())
        except OSError:
            raise Problem(404, "no such file") from None

    def do_write(self):
        path, ranged = self.path_of(), "offset" in self.query
        try:
            if self.query.get("mkdir", "true") in ("true", "1"):
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | (0 if ranged else os.O_TRUNC), 0o666)
            with open(fd, "wb") as file:
                file.seek(int(self.query.get("offset", 0)))
                file.write(self.body)
            if "mode" in self.query:
                os.chmod(path, int(self.query["mode"], 8))
        except OSError as error:
            raise Problem(400, error.strerror) from None
        self.answer({"path": path, "size": len(self.body)})

    def do_list(self):
        path = self.path_of()
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            raise Problem(404 if isinstance(error, FileNotFoundError) else 400, error.strerror) from None
        self.answer({"entries": [self.entry(os.path.join(path, name)) for name in names]})

    def do_stat(self):
        self.answer(self.entry(self.path_of()))

    def do_delete(self):
        path = self.path_of()
        self.entry(path)
        try:
            if not os.path.isdir(path) or os.path.islink(path):
                os.unlink(path)
            elif self.query.get("recursive") in ("true", "1"):
                subprocess.run(["rm", "-rf", "--", path], check=True)
            else:
                os.rmdir(path)
        except OSError as error:
            raise Problem(400, error.strerror) from None
        self.answer({"deleted": path})

    def do_mkdir(self):
        path = self.path_of()
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise Problem(400, error.strerror) from None
        self.answer({"created": path})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def watch_idleness():
    while time.monotonic() - last[0] < IDLE or any(p.child.poll() is None for p in list(processes.values())):
        time.sleep(0.2)
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=watch_idleness, daemon=True).start()
    Server(("", int(os.environ.get("SBX_PORT", "8000"))), Handler).serve_forever()
