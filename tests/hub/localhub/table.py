"""The jobs of a Hub: creating them as the API asks for it, finding and filtering them."""
import re

from . import hardware
from .buckets import NAME, TYPES
from .errors import ApiError
from .jobs import Job, as_text

LABEL_MAX = 100
LABEL = re.compile(r"[A-Za-z0-9._-]*")


class Jobs:
    """hub.jobs: jobs by id, in the order of their creation; also len(), iteration and running()."""

    def __init__(self, hub):
        self.hub, self.by_id, self.next = hub, {}, []

    def __getitem__(self, job_id):
        return self.by_id[job_id]

    def __iter__(self):
        return iter(list(self.by_id.values()))

    def __len__(self):
        return len(self.by_id)

    def running(self):
        return [job for job in self if job.running]

    def last(self):
        return list(self.by_id.values())[-1]

    def create(self, namespace, initiator, request):
        check(request, self.hub.dials)
        dials = self.hub.dials.with_()
        if self.next:
            dials.set(**self.next.pop(0))
        job = Job(self.hub, namespace, initiator, request, dials)
        self.by_id[job.id] = job
        for volume in request.get("volumes") or []:
            self.hub.storage.path(volume["type"], volume["source"])
        if digest := job.environment.get("SBX_SERVER_SHA256"):
            self.hub.storage.publish(f"sbx-server-{digest}")
        self.hub.add_names(job)
        job.start()
        return job

    def find(self, namespace, stages, labels):
        """Stages are alternatives, labels must all be there (PROTOCOL 3, Other endpoints); the newest first."""
        wanted = [label.partition("=")[::2] for label in labels]
        found = [job for job in self if job.namespace == namespace and (not stages or job.stage in stages)
                 and all(job.labels.get(key) == value for key, value in wanted)]
        return found[::-1]


def check_labels(labels, dials):
    if not isinstance(labels, dict):
        raise ApiError(400, "labels must be an object")
    for key, value in labels.items():
        for text in (key, value):
            if not isinstance(text, str) or len(text) > LABEL_MAX or not LABEL.fullmatch(text):
                raise ApiError(400, f"Invalid label {key!r}: at most {LABEL_MAX} characters of letters, digits, '.', '_' and '-'")
        if not dials.label_dots and "." in value:
            raise ApiError(400, f"Invalid label value {value!r}")


def _check_environment(values, limit, what):
    if not isinstance(values, dict):
        raise ApiError(400, f"{what} must be an object")
    for key, value in values.items():
        if "=" in key or not key or "\0" in key + as_text(value):
            raise ApiError(400, f"Invalid name or value in {what}: {key!r}")
        if limit is not None and len(as_text(value).encode()) > limit:
            raise ApiError(400, f"{what}: the value of {key} is longer than {limit} bytes")


def _check_volumes(volumes):
    for volume in volumes:
        if volume.get("type") not in TYPES or not NAME.fullmatch(str(volume.get("source"))):
            raise ApiError(400, "Invalid volume: type and source")
        mount = str(volume.get("mountPath"))
        if not mount.startswith("/") or ".." in mount.split("/") or "\t" in mount or ".." in str(volume.get("path") or "").split("/"):
            raise ApiError(400, "Invalid volume: mountPath must be absolute")


def check(request, dials):
    """PROTOCOL 3, Create."""
    command = request.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) and "\0" not in part for part in command):
        raise ApiError(400, "command must be a list of strings")
    if bool(request.get("dockerImage")) == bool(request.get("spaceId")):
        raise ApiError(400, "exactly one of dockerImage and spaceId is expected")
    request.setdefault("flavor", "cpu-basic")
    if request["flavor"] not in hardware.FLAVORS:
        raise ApiError(400, f"Invalid flavor {request['flavor']!r}")
    timeout = request.get("timeoutSeconds")
    if timeout is not None and (not isinstance(timeout, int) or timeout <= 0):
        raise ApiError(400, "timeoutSeconds must be a positive integer")
    if timeout is not None and dials.max_timeout is not None and timeout > dials.max_timeout:
        raise ApiError(400, f"timeoutSeconds must be at most {dials.max_timeout}")
    check_labels(request.get("labels") or {}, dials)
    _check_environment(request.get("environment") or {}, dials.max_env, "environment")
    _check_environment(request.get("secrets") or {}, dials.max_secret, "secrets")
    _check_volumes(request.get("volumes") or [])
    check_ports(request.get("expose") or {})


def check_ports(expose):
    ports, public = expose.get("ports") or [], expose.get("portsPublic") or []
    if len(ports) > 16 or not all(isinstance(port, int) and 0 < port < 65536 for port in ports + public) or not set(public) <= set(ports):
        raise ApiError(400, "expose.ports must be port numbers, and portsPublic some of them")
