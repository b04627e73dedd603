"""Event streams: a job's log and its metrics (PROTOCOL 3, Other endpoints)."""
import asyncio
import contextvars
import json
import time

from aiohttp import web

from . import hardware
from .errors import ApiError


cutting = contextvars.ContextVar("cutting", default=False)  # this request's reply is to be lost


async def _open(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def _close(response):
    """The orderly end, unless the connection is to be cut instead: the last chunk is what tells one from the other."""
    if not cutting.get():
        await response.write_eof()
    return response


async def _wait(event, seconds):
    try:
        await asyncio.wait_for(event.wait(), seconds)
        return True
    except asyncio.TimeoutError:
        return False


async def logs(request, job):
    """From the start, or the last N lines with tail=N; then what comes, with a comment every 30 s. A finished job's stream ends after
    its backlog, unless a dial says otherwise."""
    tail = request.query.get("tail")
    if tail is not None and not tail.isdigit():
        raise ApiError(400, "tail must be a number")
    response = await _open(request)
    place = max(0, job.dropped + len(job.lines) - int(tail)) if tail is not None else 0
    while True:
        changed = job.changed
        lines = job.lines[max(0, place - job.dropped):]
        place = job.dropped + len(job.lines)
        if lines:
            await response.write(b"".join(b"data: " + json.dumps({"timestamp": at, "data": text}, separators=(",", ":")).encode() + b"\n\n"
                                          for at, text in lines))
        elif not job.running and job.container is None and job.dials.logs_end == "close":
            break
        elif not await _wait(changed, job.dials.keep_alive):
            await response.write(b": keep-alive\n\n")
    return await _close(response)


def _usage(job):
    """Processor seconds and resident bytes of the job's processes."""
    seconds = resident = 0
    for pid in job.processes():
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / 100
            resident += int(fields[21]) * 4096
        except (OSError, IndexError):
            pass
    return seconds, resident


async def metrics(request, job):
    if not job.running:
        if job.dials.metrics_after_end == 200:
            response = await _open(request)
            return await _close(response)
        raise ApiError(job.dials.metrics_after_end, "Job is not running")
    response = await _open(request)
    flavor = hardware.FLAVORS[job.request["flavor"]]
    cores = int(flavor["cpu"].split()[0])
    before, at = _usage(job)[0], time.monotonic()
    while job.running:
        changed = job.changed
        left = at + job.dials.metrics_period - time.monotonic()
        if left > 0:
            await _wait(changed, left)
            continue
        seconds, resident = _usage(job)
        now = time.monotonic()
        used, before, at = max(0.0, seconds - before) / (now - at), seconds, now
        gpus = {"gpu0": {"utilization": 0, "memory_used_bytes": 0, "memory_total_bytes": 16 << 30}} if flavor["accelerator"] else {}
        sample = {"cpu_usage_pct": round(100 * used / cores), "cpu_millicores": cores * 1000, "memory_used_bytes": resident,
                  "memory_total_bytes": hardware.memory_bytes(job.request["flavor"]), "rx_bps": 0, "tx_bps": 0, "gpus": gpus,
                  "replica": job.id[:5]}
        await response.write(b"event: metric\ndata: " + json.dumps(sample, separators=(",", ":")).encode() + b"\n\n")
    return await _close(response)
