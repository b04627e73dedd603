"""The Hub's HTTP API: routes, credentials, errors, faults, and the record of all of it (PROTOCOL 2, 3, 6, 8)."""
import asyncio
import email.utils
import json
import mimetypes
import time
import uuid

from aiohttp import web

from . import faults, hardware, sse
from .errors import ApiError, forbidden, invalid_credentials, no_credentials, no_job
from .record import Request
from .table import check_labels, check_ports

BODY_MAX = 32 << 20
RECORDED_BODY_MAX = 4 << 20
JOB = web.AppKey("job", object)  # inside which the application answers; None outside


class Cut(Exception):
    """The connection breaks here."""


class Api:
    def __init__(self, hub):
        self.hub = hub

    def app(self, job=None):
        """The application; job: for the listener inside that job."""
        app = web.Application(middlewares=[self._middleware], client_max_size=BODY_MAX)
        app[JOB] = job
        routes = [("GET", "/api/agent-harnesses", self.harnesses, "harnesses"), ("GET", "/api/whoami-v2", self.whoami, "whoami"),
                  ("GET", "/api/jobs/hardware", self.hardware, "hardware"), ("POST", "/api/jobs/{ns}", self.create, "create"),
                  ("GET", "/api/jobs/{ns}", self.list, "list"), ("GET", "/api/jobs/{ns}/{id}", self.inspect, "inspect"),
                  ("POST", "/api/jobs/{ns}/{id}/cancel", self.cancel, "cancel"), ("PUT", "/api/jobs/{ns}/{id}/labels", self.labels, "labels"),
                  ("PUT", "/api/jobs/{ns}/{id}/expose", self.expose, "expose"),
                  ("POST", "/api/jobs/{ns}/{id}/duplicate", self.duplicate, "duplicate"),
                  ("GET", "/api/jobs/{ns}/{id}/logs", self.logs, "logs"), ("GET", "/api/jobs/{ns}/{id}/metrics", self.metrics, "metrics"),
                  ("HEAD", "/api/telemetry/{path:.*}", self.telemetry, "telemetry"),
                  ("*", "/buckets/{ns}/{name}/resolve/{path:.*}", self.resolve, "resolve")]
        for method, path, handler, name in routes:
            options = {"allow_head": False} if method == "GET" else {}
            add = app.router.add_get if method == "GET" else lambda *a, m=method, **k: app.router.add_route(m, *a, **k)
            add(path, handler, name=name, **options)
        if job is None:
            self.hub.admin.add_routes(app)
        return app

    # -- every request passes here

    @web.middleware
    async def _middleware(self, request, handler):
        if request.path.startswith("/_hub/"):
            return await handler(request)
        resource = request.match_info.route.resource
        kind = resource.name if resource is not None and request.match_info.http_exception is None else "unknown"
        inside = request.app[JOB]
        record = self.hub.requests.add(Request(kind, time.time(), request.method, request.path_qs,
                                               [(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.raw_headers],
                                               job=inside.id if inside else None, connection=self.hub.requests.numbers.get(id(request.protocol), 0)))
        fault = self.hub.faults.meet(kind, request)
        record.fault = fault.name if fault else None
        try:
            response = await self._answer(request, handler, record, fault)
        except Cut:
            self._cut(request, fault)
            return web.Response()  # which finds nobody
        if not response.prepared:
            self._add_headers(request, response)
        record.status = response.status
        return response

    async def _answer(self, request, handler, record, fault):
        sse.cutting.set(fault is not None and fault.cut == "after")
        if fault is not None:
            if fault.cut == "before":
                if fault.late:
                    record.body = (await request.read())[:RECORDED_BODY_MAX]
                    self.hub.keep(asyncio.get_running_loop().create_task(self._act_later(handler, request, fault.late)))
                raise Cut
            if fault.hang and not fault.acts:
                await asyncio.Event().wait()
            if fault.status and not fault.cut and not fault.acts:
                await asyncio.sleep(fault.delay)
                return self._fault_response(fault)
        try:
            self._refuse_size(request)
            record.body = (await request.read())[:RECORDED_BODY_MAX]
            response = await handler(request)
        except ApiError as error:
            response = error.response()
        except web.HTTPRequestEntityTooLarge:
            response = ApiError(413, "request entity too large").response()
        except web.HTTPException as error:
            text = "Sorry, we can't find the page you are looking for." if error.status == 404 else error.reason
            response = ApiError(error.status, text).response()
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.cut == "after":
                raise Cut
            if fault.hang:
                await asyncio.Event().wait()
            if fault.status:
                return self._fault_response(fault)
        return response

    @staticmethod
    async def _act_later(handler, request, seconds):
        await asyncio.sleep(seconds)
        try:
            await handler(request)
        except ApiError:
            pass  # nobody is there to be told

    def _refuse_size(self, request):
        limit = self.hub.dials.max_request
        if limit is not None and request.method == "POST" and (request.content_length or 0) > limit:
            raise ApiError(413, "request entity too large")

    @staticmethod
    def _fault_response(fault):
        body = fault.body if fault.body is not None else {"error": "Internal Error - We're working hard to fix this as soon as possible!"
                                                          if fault.status >= 500 else f"Fault {fault.status}"}
        text = body if isinstance(body, str) else json.dumps(body)
        headers = {"X-Error-Message": body["error"], **fault.headers} if isinstance(body, dict) and "error" in body else dict(fault.headers)
        headers.setdefault("Content-Type", "application/json")
        return web.Response(status=fault.status, text=text, headers=headers)

    @staticmethod
    def _cut(request, fault):
        if request.transport is not None:
            request.transport.close() if fault.orderly else request.transport.abort()

    def _add_headers(self, request, response):
        """PROTOCOL 2: the request id comes back; the state of the rate limit goes along."""
        response.headers.setdefault("Date", email.utils.formatdate(time.time() + self.hub.dials.clock_ahead, usegmt=True))
        response.headers["X-Request-Id"] = (request.headers.get("x-request-id") or request.headers.get("x-amzn-trace-id") or str(uuid.uuid4()))
        if self.hub.dials.ratelimit_headers and "ratelimit" not in response.headers and response.status < 500:
            for name, value in faults.rate_limit_headers(499, 300, "ratelimit").items():
                response.headers[name] = value

    def _token(self, request):
        header = request.headers.get("Authorization")
        if header is None:
            raise no_credentials()
        token = self.hub.accounts.by_header(header)
        if token is None:
            raise invalid_credentials()
        return token

    def _enter(self, request, action):
        """The caller's token, when it may do that in the namespace of the path."""
        token, namespace = self._token(request), request.match_info["ns"]
        if not self.hub.accounts.may(token, namespace, action):
            raise forbidden(namespace)
        return token

    def _job(self, request, action="read"):
        self._enter(request, action)
        job = self.hub.jobs.by_id.get(request.match_info["id"])
        if job is None or job.namespace != request.match_info["ns"]:
            raise no_job()
        return job

    @staticmethod
    async def _json(request):
        try:
            value = json.loads(await request.read() or b"null")
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ApiError(400, "Invalid JSON body")
        return value

    # -- routes

    async def harnesses(self, request):
        return web.json_response({"standardEnvVars": [], "harnesses": {}})

    async def whoami(self, request):
        return web.json_response(self.hub.accounts.whoami(self._token(request)))

    async def hardware(self, request):
        return web.json_response(hardware.HARDWARE)

    async def create(self, request):
        token = self._enter(request, "write")
        job = self.hub.jobs.create(request.match_info["ns"], token.user, await self._json(request))
        return web.json_response(job.as_json())

    async def duplicate(self, request):
        job = self._job(request, "write")
        again = self.hub.jobs.create(job.namespace, self._token(request).user, json.loads(json.dumps(job.request)))
        return web.json_response(again.as_json())

    async def list(self, request):
        self._enter(request, "read")
        query = request.query
        found = self.hub.jobs.find(request.match_info["ns"], query.getall("stage", []), query.getall("label", []))
        if (cursor := query.get("cursor")) is not None:  # the id of the last one of the page before; new jobs come in front
            found = found[next((n for n, job in enumerate(found) if job.id == cursor), len(found)) + 1:] if any(
                job.id == cursor for job in found) else [job for job in found if job.created < self._created(cursor)]
        size = self.hub.dials.page_size
        page, headers = found[:size], {}
        if len(found) > size:
            following = request.url.with_query([(k, v) for k, v in query.items() if k != "cursor"] + [("cursor", page[-1].id)])
            headers["Link"] = f'<{self.hub.endpoint}{following.raw_path_qs}>; rel="next"'
        return web.json_response([job.as_json(listed=True) for job in page], headers=headers)

    def _created(self, job_id):
        job = self.hub.jobs.by_id.get(job_id)
        return job.created if job is not None else 0

    async def inspect(self, request):
        return web.json_response(self._job(request).as_json())

    async def cancel(self, request):
        job = self._job(request, "write")
        if job.running:
            task = asyncio.create_task(job.cancel())
            self.hub.keep(task)
            if job.dials.cancel_delay <= 0:
                await asyncio.sleep(0)  # the stage has changed when the reply comes
        return web.json_response(job.as_json())

    async def labels(self, request):
        job = self._job(request, "write")
        labels = (await self._json(request)).get("labels")
        check_labels(labels, self.hub.dials)
        job.labels = dict(labels)
        return web.json_response(job.as_json())

    async def expose(self, request):
        job = self._job(request, "write")
        wanted = await self._json(request)
        check_ports(wanted)
        job.ports, job.public_ports = list(wanted.get("ports") or []), list(wanted.get("portsPublic") or [])
        job.tell_proxy()
        self.hub.add_names(job)
        return web.json_response(job.as_json())

    async def logs(self, request):
        return await sse.logs(request, self._job(request))

    async def metrics(self, request):
        return await sse.metrics(request, self._job(request))

    async def telemetry(self, request):
        return web.Response(status=204)

    async def resolve(self, request):
        """Public: the agent is fetched without a credential (PROTOCOL 4, Bootstrap)."""
        bucket = f"{request.match_info['ns']}/{request.match_info['name']}"
        path = self.hub.storage.file(bucket, request.match_info["path"])
        if request.method not in ("GET", "HEAD"):
            raise ApiError(405, "Method Not Allowed")
        if path is None:
            raise ApiError(404, "Entry not found", code="EntryNotFound")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return web.FileResponse(path, headers={"Content-Type": kind, "X-Linked-Size": str(path.stat().st_size)})
