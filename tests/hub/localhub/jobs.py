"""Jobs: what the API says about them, and their way from SCHEDULING to the end (PROTOCOL 3)."""
import asyncio
import datetime
import json
import os
import secrets
import socket
import time

from . import hardware, images
from .container import UID_BASE, Container, processes_in

TERMINAL = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
LINES_MAX = 100_000
LINE_MAX = 1 << 16


def timestamp(seconds):
    if seconds is None:
        return None
    text = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def as_text(value):
    """Environment values may be other than strings (PROTOCOL 3, Create)."""
    return value if isinstance(value, str) else json.dumps(value)


class Job:
    def __init__(self, hub, namespace, initiator, request, dials):
        self.hub, self.namespace, self.initiator, self.request, self.dials = hub, namespace, initiator, request, dials
        self.id = secrets.token_hex(12)
        self.created, self.started, self.finished = time.time(), None, None
        self.stage, self.message = "SCHEDULING", None
        self.labels = dict(request.get("labels") or {})
        self.environment = {key: as_text(value) for key, value in (request.get("environment") or {}).items()}
        self.secrets = {key: as_text(value) for key, value in (request.get("secrets") or {}).items()}
        expose = request.get("expose") or {}
        self.ports, self.public_ports = list(expose.get("ports") or []), list(expose.get("portsPublic") or [])
        self.timeout = request.get("timeoutSeconds") or dials.default_timeout
        self.lines, self.dropped, self._partial = [], 0, b""
        self.container = self.exit_code = None
        self.servers, self._cancel_asked = [], asyncio.Event()
        self._ended, self.changed = asyncio.Event(), asyncio.Event()

    # -- what tests ask

    @property
    def running(self):
        return self.stage not in TERMINAL

    @property
    def logs(self):
        return [text for _, text in self.lines]

    def processes(self):
        """The pids of its processes, as this machine numbers them."""
        pid = self.container.pid if self.container is not None else None
        return [] if pid is None else processes_in(pid)

    def dial(self, **values):
        """Turns this job's dials; those of the proxy take effect with the next request."""
        self.dials.set(**values)
        if set(values) & set(self.dials.PROXY):
            self.tell_proxy()

    def tell_proxy(self, descriptor=None):
        words = ["job", self.id, self.namespace, *self.dials.proxy_words(), "ports=" + ",".join(map(str, self.ports)),
                 "public=" + ",".join(map(str, self.public_ports))]
        self.hub.proxy.command(*words, descriptor=descriptor)

    # -- what the API says

    def expose_urls(self):
        return [self.hub.port_url(self, port) for port in self.ports] if self.dials.expose_urls and self.ports else None

    def durations(self):
        now = self.finished or time.time()
        scheduling = None if self.started is None else int(self.started - self.created)
        running = None if self.started is None else int(now - self.started)
        return {"schedulingSecs": scheduling, "runningSecs": running, "totalSecs": int(now - self.created)}

    def as_json(self, listed=False):
        request = self.request
        status = {"stage": self.stage, "message": self.message}
        if (urls := self.expose_urls()) is not None:
            status["exposeUrls"] = urls
        if (request.get("ssh") or {}).get("enabled"):
            status["sshUrl"] = f"ssh://{self.id}@ssh.hf.jobs"
        created, started, finished = (None if at is None else timestamp(at + self.hub.dials.clock_ahead)
                                      for at in (self.created, self.started, self.finished))
        shown = {"id": self.id, "createdAt": created, "startedAt": started, "finishedAt": finished, "dockerImage": request.get("dockerImage"), "spaceId": request.get("spaceId"),
                 "command": request.get("command"),
                 "arguments": request.get("arguments") or [], "environment": self.environment, "secrets": dict.fromkeys(self.secrets, ""),
                 "flavor": request["flavor"], "labels": self.labels, "volumes": request.get("volumes") or [], "status": status,
                 "durations": self.durations(), "owner": self.hub.accounts.accounts[self.namespace].brief(),
                 "initiator": self.hub.accounts.accounts[self.initiator].brief()}
        if self.ports:
            shown["expose"] = {"ports": self.ports, "portsPublic": self.public_ports}
        if listed and not self.dials.list_environment:
            del shown["environment"]
        return shown

    # -- its way

    def start(self):
        self.tell_proxy()
        self.task = asyncio.get_running_loop().create_task(self._live())

    async def _sleep(self, seconds):
        """False when it was canceled meanwhile."""
        try:
            await asyncio.wait_for(self._cancel_asked.wait(), None if seconds == float("inf") else seconds)
        except asyncio.TimeoutError:
            pass
        return not self._cancel_asked.is_set()

    async def _live(self):
        dials = self.dials
        if not await self._sleep(dials.scheduling_delay):
            return
        if dials.fail_at == "scheduling":
            self.end(dials.fail_stage, dials.fail_message)
            return
        image = self.hub.image(self.request)
        if image is None:
            self.end("ERROR", f"Failed to pull image {self.request.get('dockerImage') or self.request.get('spaceId')!r}")
            return
        if dials.boot_delay > 0 or dials.fail_at == "boot":
            self._runs()
            if not await self._sleep(dials.boot_delay):
                return
        if dials.fail_at == "boot":
            self.end(dials.fail_stage, dials.fail_message)
            return
        try:
            self.container = Container(asyncio.get_running_loop(), self.hub.job_program, self._fields(image), self._ready, self._started,
                                       self._output, self._container_ends)
        except (OSError, ValueError) as error:
            self.end("ERROR", f"Failed to start: {error}")
            return
        await self._watch()

    async def _watch(self):
        """Timeout and planned death; a cancel does its own work."""
        waits = {asyncio.ensure_future(self._ended.wait()), asyncio.ensure_future(self._cancel_asked.wait())}
        deadline = self.timeout
        dies = self.dials.fail_at == "running"
        if dies:
            deadline = min(deadline, self.dials.die_after)
        done, pending = await asyncio.wait(waits, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if done:
            return
        if dies and self.dials.die_after <= self.timeout:
            self.container.kill()
            self.end(self.dials.fail_stage, self.dials.fail_message)
        else:
            self.end(self.dials.timeout_stage, self.dials.timeout_message)
            await self._stop()

    def _fields(self, image):
        hub, request = self.hub, self.request
        environment = {"PATH": images.PATH, "HOME": "/root", "HOSTNAME": self.id[:12], **image.env, **self.environment, **self.secrets,
                       "JOB_ID": self.id, **hardware.environment(request["flavor"])}
        fields = [("root", str(hub.directory / "root")), ("map", str(UID_BASE)), ("hostname", self.id[:12]), ("workdir", "/")]
        fields += [("listen", f"{address}:{port}") for address, port in hub.addresses()]
        fields += images.root_steps(image, hub.directory / "etc")
        for volume in request.get("volumes") or []:
            path = hub.storage.path(volume["type"], volume["source"])
            path = path / volume["path"].strip("/") if volume.get("path") else path
            read_only = volume.get("readOnly", volume["type"] != "bucket") or volume["type"] != "bucket"
            fields.append(("bind", str(path), volume["mountPath"], "ro" if read_only else "rw"))
        fields += [("arg", argument) for argument in request["command"] + (request.get("arguments") or [])]
        return fields + [("env", f"{key}={value}") for key, value in environment.items()]

    def _ready(self, descriptors):
        """Its network is there: the proxy can reach into it, and the Hub answers inside."""
        if not self.running:  # it was canceled meanwhile
            for descriptor in descriptors:
                os.close(descriptor)
            return
        namespace, *listeners = descriptors
        self.tell_proxy(descriptor=namespace)
        os.close(namespace)
        api, proxy = (socket.socket(fileno=fd) for fd in listeners)
        self.hub.serve_inside(self, api)
        self.hub.proxy.listen(proxy, self.hub.tls is not None)
        proxy.close()

    def _runs(self):
        if self.started is None and self.running:
            self.started = time.time()
            self.stage = "RUNNING"
            self._add_line(f"===== Job started at {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S} =====")
            self.notify()

    def _started(self):
        self._runs()

    def notify(self):
        self.changed.set()
        self.changed = asyncio.Event()

    def _add_line(self, text):
        self.lines.append((timestamp(time.time() + self.hub.dials.clock_ahead), text))
        if len(self.lines) > LINES_MAX:
            del self.lines[0]
            self.dropped += 1

    def _output(self, data):
        self._runs()  # the word of its start may still be on its way
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > LINE_MAX:
            lines, self._partial = lines + [self._partial], b""
        for line in lines:
            self._add_line(line.rstrip(b"\r").decode("utf-8", "replace"))
        if lines:
            self.notify()

    def _container_ends(self, kind, text):
        if self._partial:
            self._output(b"\n")
        for server in self.servers:
            server.close()
        code = int(text) if kind == "exit" else 128 + int(text) if kind == "signal" else 127
        self.exit_code = code
        if kind == "exit" and code == 0:
            self.end("COMPLETED", None)
        elif kind in ("exit", "signal"):
            self.end("ERROR", f"Job failed with exit code: {code}. Reason: Error")
        else:
            self.end("ERROR", f"Failed to start: {text}")
        self.container = None
        self.notify()

    def end(self, stage, message):
        """The stage is final from here on; its processes may take a moment longer."""
        if not self.running:
            return
        self.stage, self.message, self.finished = stage, message, time.time()
        self.hub.proxy.command("end", self.id)
        self._ended.set()
        self.notify()

    async def cancel(self):
        self._cancel_asked.set()
        if self.running and self.dials.cancel_delay > 0:
            await asyncio.sleep(self.dials.cancel_delay)
        self.end("CANCELED", None)
        await self._stop()

    async def gone(self, seconds):
        """Waits until none of its processes is left; they have been asked to end."""
        deadline = time.monotonic() + seconds
        while self.container is not None:
            changed = self.changed
            try:
                await asyncio.wait_for(changed.wait(), deadline - time.monotonic())
            except asyncio.TimeoutError:
                raise RuntimeError(f"job {self.id} ({self.stage}) does not end: {self.container.describe()}") from None

    async def _stop(self):
        """SIGTERM, a while, SIGKILL."""
        container = self.container
        if container is None:
            return
        container.terminate()
        deadline = time.monotonic() + self.dials.cancel_grace
        while self.container is container and (left := deadline - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self.changed.wait(), left)
            except asyncio.TimeoutError:
                pass
        if self.container is container:
            container.kill()
