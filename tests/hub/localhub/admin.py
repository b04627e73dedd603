"""The same controls over HTTP, for tests in other languages: /_hub/... on the API's address, without credentials, not inside jobs.

    GET    /_hub/dials                     PUT with {"rtt": 0.1}: for all jobs to come; the proxy's for requests without a job too
    POST   /_hub/next-jobs                 {"count": 1, "dials": {"fail_at": "scheduling"}}
    PUT    /_hub/jobs/{id}/dials           {"unready": 404}
    GET    /_hub/jobs                      what the API says, with "processes" (their number now) and "logs"
    POST   /_hub/faults                    {"kind": "create", "status": 503, "count": 1}: {"name": ...}
    GET    /_hub/faults                    {name: hits}
    DELETE /_hub/faults[/{name}]
    GET    /_hub/requests[?kind=]          everything recorded; DELETE forgets it
    POST   /_hub/tokens                    {"token": "hf_x", "user": "alice", "role": "read"}; DELETE /_hub/tokens/{token} revokes
"""
import base64
import json

from aiohttp import web

from .accounts import Token
from .faults import Fault


def _value(value):
    return float("inf") if value == "inf" else value


class Admin:
    def __init__(self, hub):
        self.hub = hub

    def add_routes(self, app):
        app.router.add_routes([web.get("/_hub/dials", self.dials), web.put("/_hub/dials", self.set_dials),
                               web.post("/_hub/next-jobs", self.next_jobs), web.put("/_hub/jobs/{id}/dials", self.job_dials),
                               web.get("/_hub/jobs", self.jobs), web.post("/_hub/faults", self.add_fault), web.get("/_hub/faults", self.faults),
                               web.delete("/_hub/faults", self.remove_faults), web.delete("/_hub/faults/{name}", self.remove_faults),
                               web.get("/_hub/requests", self.requests), web.delete("/_hub/requests", self.clear),
                               web.post("/_hub/tokens", self.add_token), web.delete("/_hub/tokens/{token}", self.remove_token)])

    async def _call(self, request, action):
        try:
            body = json.loads(await request.read() or b"{}")
            return web.json_response(action(body) or {})
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)

    async def dials(self, request):
        return web.json_response(self.hub.dials.as_json())

    async def set_dials(self, request):
        return await self._call(request, lambda body: self.hub.dial(**{k: _value(v) for k, v in body.items()}))

    async def next_jobs(self, request):
        return await self._call(request, lambda body: self.hub.next_jobs(body.get("count", 1),
                                                                         **{k: _value(v) for k, v in body["dials"].items()}))

    async def job_dials(self, request):
        return await self._call(request, lambda body: self.hub.jobs[request.match_info["id"]].dial(**{k: _value(v) for k, v in body.items()}))

    async def jobs(self, request):
        return web.json_response([{**job.as_json(), "processes": len(job.processes()), "logs": job.logs} for job in self.hub.jobs])

    async def add_fault(self, request):
        def add(body):
            return {"name": self.hub.fault(body.pop("kind"), **body).name}
        return await self._call(request, add)

    async def faults(self, request):
        return web.json_response({**{f.name: f.hits for f in self.hub.faults.list},
                                  **{k: v for k, v in self.hub.proxy.stats().items() if k.startswith("fault-")}})

    async def remove_faults(self, request):
        return await self._call(request, lambda _: self.hub.clear_faults(request.match_info.get("name")))

    async def requests(self, request):
        kind = request.query.get("kind")
        shown = [{"kind": r.kind, "at": r.at, "method": r.method, "path": r.path, "headers": r.headers, "status": r.status, "job": r.job,
                  "port": r.port, "action": r.action, "fault": r.fault, "connection": r.connection,
                  "body": base64.b64encode(r.body).decode()} for r in self.hub.requests if kind in (None, r.kind)]
        return web.json_response(shown)

    async def clear(self, request):
        return await self._call(request, lambda _: self.hub.requests.clear())

    async def add_token(self, request):
        return await self._call(request, lambda body: self.hub.add_token(Token(body["token"], body["user"], body.get("role", "write"))))

    async def remove_token(self, request):
        return await self._call(request, lambda _: self.hub.revoke(request.match_info["token"]))
