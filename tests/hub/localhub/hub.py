"""The local Hub.

    with Hub(scheduling_delay=0.5, rtt=0.1) as hub:         dials are keyword arguments; see dials.py
        subprocess.run([...], env=hub.env())                HF_ENDPOINT, HF_TOKEN, HF_HOME, and the CA when tls=True
        hub.jobs, hub.requests                              what has been asked for
        hub.fault("create", status=503, count=1)            see faults.py

Its API runs in a thread of this process, its proxy and each job in processes of their own. They end with it, also when this process is
killed: each of them watches a descriptor that only this process holds. Jobs need root, as a container engine does.
"""
import asyncio
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from aiohttp import web

from . import images as image_table
from .accounts import Accounts
from .admin import Admin
from .api import Api
from .buckets import Storage
from .container import UID_BASE
from .dials import Dials
from .faults import Fault, Faults, rate_limit_headers
from .names import HUB_NAME, JOBS_DOMAIN
from .proxy import Proxy
from .record import Requests
from .table import Jobs

BUILD = Path(os.environ.get("SBX_BUILD", Path(__file__).resolve().parents[3] / "build"))


class Hub:
    def __init__(self, *, tls=False, build=None, agent=None, images=None, spaces=None, port=0, record=True, seed=1, **dials):
        """agent: the program that the Hub publishes; this build's otherwise. images, spaces: more names of images, or others.
        port: of the API, without TLS. record: whether the proxy notes requests (the API always does)."""
        build = Path(build) if build else BUILD
        self.job_program, self._proxy_program = str(build / "bin/hub-job"), str(build / "bin/hub-proxy")
        self.agent = Path(agent) if agent else build / "bin/hfsandbox-agent"
        self.dials = Dials().set(**dials)
        self.accounts, self.faults, self.jobs, self.admin = Accounts(), Faults(seed), Jobs(self), Admin(self)
        self.images = {**image_table.IMAGES, **(images or {})}
        self.spaces = {**image_table.SPACES, **(spaces or {})}
        self.token = Accounts.ALICE
        self.tls = None
        self._wants_tls, self._wants_port, self._wants_record, self._seed = tls, port, record, seed
        self._tasks, self._runners, self._servers = set(), [], []
        self.directory = None

    # -- life

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def start(self):
        if os.geteuid() != 0:
            raise RuntimeError("the local Hub needs root: its jobs run in namespaces with a range of uids")
        self.directory = Path(tempfile.mkdtemp(prefix="sbx-hub-"))
        self.directory.chmod(0o755)  # jobs read their /etc and their volumes here
        for name in ("root", "home"):
            (self.directory / name).mkdir()
        try:
            self.proxy = Proxy(self._proxy_program, self.directory)
        except OSError:
            shutil.rmtree(self.directory)
            raise
        try:
            self._start()
        except BaseException:
            self.proxy.close()
            raise
        return self

    def _start(self):
        self.requests = Requests(self.directory / "proxy.log")
        self.storage = Storage(self.directory / "storage", self.agent, UID_BASE)
        if self._wants_tls:
            from .tls import Authority
            self.tls = Authority(self.directory)
        self._open_listeners()
        api_name = HUB_NAME if self.tls else "127.0.0.1"
        self.endpoint = self._url(api_name, self._api_address)
        self._hosts = self.directory / "hosts"
        lines = "127.0.0.1 localhost\n::1 localhost\n"
        if self.tls:
            lines += f"{self._api_address[0]} {api_name}\n{self._proxy_address[0]} {JOBS_DOMAIN}\n"
        self._hosts.write_text(lines)
        image_table.build_etc(self.directory / "etc", lines, self.tls.ca_file if self.tls else None)
        if self.tls:
            self.proxy.command("tls", self.tls.certificate, self.tls.key)
        self.proxy.command("seed", self._seed)
        self.proxy.command("record", "on" if self._wants_record else "off")
        self._tell_defaults()
        for token in self.accounts.tokens.values():
            self._tell_token(token)
        self.proxy.listen(self._proxy_socket, self.tls is not None)
        self._proxy_socket.close()
        self._start_thread()

    def _open_listeners(self):
        """Loopback; with TLS two addresses of our own, so that the port can be the one that URLs need not name."""
        self._api_socket = self._listen(self._wants_port)
        self._proxy_socket = self._listen(0)
        self._api_address, self._proxy_address = self._api_socket.getsockname(), self._proxy_socket.getsockname()

    def _listen(self, port):
        for _ in range(10 if self.tls else 0):
            address = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
            try:
                return socket.create_server((address, 443), backlog=512)
            except OSError:
                pass  # another program may have the port at all addresses; then URLs do name another one
        return socket.create_server(("127.0.0.1", port), backlog=512)

    def _url(self, name, address):
        if self.tls:
            return f"https://{name}" + ("" if address[1] == 443 else f":{address[1]}")
        return f"http://{name}:{address[1]}"

    def _start_thread(self):
        self.loop = asyncio.new_event_loop()
        started, failure = threading.Event(), []

        async def run():
            try:
                await self._serve(self._api_socket, None)
            except BaseException as error:  # noqa: BLE001: for the thread that waits
                failure.append(error)
            started.set()

        def thread():
            asyncio.set_event_loop(self.loop)
            task = self.loop.create_task(run())
            self.loop.run_forever()
            del task

        self._thread = threading.Thread(target=thread, name="local-hub", daemon=True)
        self._thread.start()
        started.wait(20)
        if failure:
            raise failure[0]

    async def _serve(self, listener, job):
        runner = web.AppRunner(Api(self).app(job), access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)

        def protocol():
            handler = runner.server()
            self.requests.connections += 1
            self.requests.numbers[id(handler)] = self.requests.connections
            return handler

        context = self.tls.server_context() if self.tls else None
        server = await self.loop.create_server(protocol, sock=listener, ssl=context)
        (self._servers if job is None else job.servers).append(server)
        if job is not None and job.container is None:
            server.close()  # it has ended meanwhile

    def serve_inside(self, job, listener):
        listener.setblocking(False)
        self.keep(self.loop.create_task(self._serve(listener, job)))

    def keep(self, task):
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self):
        """Ends every job, then everything else; the directory goes with the proxy."""
        if self.directory is None:
            return

        async def finish():
            for job in self.jobs:
                job.dials.cancel_grace = job.dials.cancel_delay = 0
                if job.running or job.container is not None:
                    await job.cancel()
            for job in self.jobs:
                await job.gone(20)
            for server in self._servers:
                server.close()
            for runner in self._runners:
                await runner.cleanup()
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            if rest:
                await asyncio.wait(rest, timeout=20)

        try:
            asyncio.run_coroutine_threadsafe(finish(), self.loop).result(60)
        finally:
            for job in self.jobs:
                if (container := job.container) is not None:  # only when something above has failed
                    container.process.kill()
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(20)
            self.loop.close()
            self.directory = None
            self.proxy.close()

    # -- where things are

    def addresses(self):
        """Where the Hub answers, also inside jobs: its API and its proxy."""
        return [self._api_address, self._proxy_address]

    def port_url(self, job, port):
        """exposeUrls: the name by itself, or as the path of one address (PROTOCOL 3, Emulator URL trick)."""
        name = f"{job.id}--{port}.{JOBS_DOMAIN}"
        form = job.dials.expose_form
        if form == "host" or (form == "auto" and self.tls):
            return self._url(name, self._proxy_address)
        return self._url(JOBS_DOMAIN if self.tls else "127.0.0.1", self._proxy_address) + f"/p/{name}"

    def add_names(self, job):
        """A line for each host name that has come up; for processes started by hub.command()."""
        with open(self._hosts, "a") as file:
            for port in job.ports:
                file.write(f"{self._proxy_address[0]} {job.id}--{port}.{JOBS_DOMAIN}\n")

    def image(self, request):
        """The Image for a create request; None when it cannot be pulled."""
        if request.get("spaceId"):
            return self.spaces.get(request["spaceId"])
        name = request["dockerImage"]
        for prefix in ("docker.io/", "index.docker.io/", "library/"):
            name = name.removeprefix(prefix)
        return self.images.get(name)

    def env(self, token=None, home=None, **more):
        """Variables for a client: only documented ones. home: HF_HOME, a directory of this Hub otherwise."""
        variables = {"HF_ENDPOINT": self.endpoint, "HF_TOKEN": token or self.token, "HF_HOME": str(home or self.directory / "home")}
        if self.tls:
            bundle = str(self.directory / "etc/ssl/certs/ca-certificates.crt")
            variables |= {"SSL_CERT_FILE": bundle, "CURL_CA_BUNDLE": bundle}
        return variables | more

    def environ(self, **more):
        """env() on top of what a program needs besides; without proxies, which know nothing of this Hub's names."""
        kept = {key: value for key, value in os.environ.items()
                if not key.startswith(("HF_", "SBX_TEST")) and not key.lower().endswith("_proxy")}
        return {**kept, **self.env(**more)}

    def command(self, argv):
        """The command, in a mount namespace of its own in which /etc/hosts has the names of this Hub and its jobs."""
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(self._hosts), *argv]

    def run(self, argv, **options):
        """subprocess.run of the command with this Hub's names and variables."""
        options.setdefault("env", self.environ())
        return subprocess.run(self.command(argv), **options)

    # -- dials, from any thread

    def _tell_defaults(self):
        self.proxy.command("default", *self.dials.proxy_words())

    def dial(self, **values):
        """For everything from now on; jobs that are there keep theirs (job.dial)."""
        self.dials.set(**values)
        self._tell_defaults()

    def next_jobs(self, count=1, **dials):
        """Other dials for the next jobs to be created, one after the other."""
        Dials().set(**dials)
        self.jobs.next += [dials] * count

    def fault(self, kind, **how):
        fault = Fault(kind, **how)
        if kind == "proxy":
            self.proxy.command("fault", fault.name, *fault.proxy_words())
            return fault
        return self.faults.add(fault)

    def rate_limit(self, kind, seconds=1, form="both", **how):
        """429, said by ratelimit, by Retry-After, or by both (PROTOCOL 2, http_backoff)."""
        return self.fault(kind, status=429, headers=rate_limit_headers(0, seconds, form), **how)

    def clear_faults(self, name=None):
        self.faults.remove(name)
        self.proxy.command("nofault", *([name] if name else []))

    def _tell_token(self, token):
        self.proxy.command("token", token.text, *(self.accounts.readable(token) or ["-"]))

    def add_token(self, token):
        self.accounts.tokens[token.text] = token
        self._tell_token(token)

    def revoke(self, text):
        self.accounts.tokens.pop(text, None)
        self.proxy.command("token", text)
