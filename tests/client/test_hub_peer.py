"""A peer without our features, like the Hub's own server: NDJSON, no keys."""
import json

import sbx
from fake_agent import FakeAgent, reply, stream_head

HEALTH = reply({"status": "ok", "version": "0.5.0", "uptime_ms": 5, "sandboxes": 0})


def lines(*events):
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def hub(request):
    if request.target == "/health":
        return HEALTH
    if request.method == "GET":
        return reply([{"id": "p-0", "pid": 77, "cmd": ["sleep", "1"], "tag": None, "started_at_ms": 1, "running": True, "exit_code": None}])
    if request.method == "DELETE":
        return reply({"id": "p-0", "ok": True})
    if request.target == "/v1/processes":
        return reply({"id": "p-0", "pid": 77, "cmd": "x", "tag": None})
    events = [{"event": "start", "pid": 77}]
    command = request.json["cmd"]
    if command == "hang":
        return [stream_head("application/x-ndjson") + lines(*events), 30]
    if command == "lost":
        return [stream_head("application/x-ndjson") + lines(*events, {"event": "stdout", "data": "a"})]
    if command == "echo":
        events += [{"event": "stdout", "data": "h\u00e9llo\n"}, {"event": "ping"}, {"event": "stderr", "data": "\u0000\"\\\U0001f600"},
                   {"event": "stdout", "data": request.json.get("stdin", "")}, {"event": "something new", "data": 5}]
    return [stream_head("application/x-ndjson") + lines(*events, {"event": "exit", "exit_code": 3, "signal": None, "timed_out": False,
                                                                  "duration_ms": 12})]


SCRIPT = """
import sys, time, sbx
def failing(call):
    try:
        call()
    except sbx.Error as error:
        return error.name
    return "OK"
client = sbx.Client()
box = client.connect_endpoint(sys.argv[1], "token")
"""


def test_what_it_has_works_and_what_it_lacks_is_said():
    with FakeAgent(hub) as peer:
        sbx.script(SCRIPT + """
result = box.run("echo", input="w\\u00f6rld".encode())
assert (result.code, result.out, result.err, result.duration_ms) == (3, "h\\u00e9llo\\nw\\u00f6rld".encode(), '\\0"\\\\\\U0001f600'.encode(), 12), vars(result)
process = box.start("echo")
assert process.pid == 77
assert [(e.type, e.offset, d) for e, d in process][:3] == [(1, 0, "h\\u00e9llo\\n".encode()), (2, 0, '\\0"\\\\\\U0001f600'.encode()),
                                                          (4, 0, b"")]
assert box.processes()[0]["id"] == b"p-0" and box.processes()[0]["command"] == b'["sleep","1"]'
background = box.start("x", background=1)
assert background.id == "p-0"
assert background.kill() in (0, 1)
for call in (lambda: background.next(), lambda: background.signal(15), lambda: background.wait(), lambda: background.output(),
             lambda: background.input(b"x"), lambda: box.attach("p-0"), box.info, box.kill, lambda: box.start("x", input_open=1),
             lambda: box.run("x", input=b"\\xff"), lambda: box.run("x", wait_descendants=1)):
    assert failing(call) == "ERROR_UNSUPPORTED", call
assert failing(lambda: box.run("lost")) == "ERROR_CONNECTION"
""", peer.url)
        assert sum(request.method == "POST" for request in peer.requests) >= 4
        assert not any("x-sandbox-key" in request.headers for request in peer.requests)


def test_a_deadline_kills_the_group_by_a_command():
    with FakeAgent(hub) as peer:
        sbx.script(SCRIPT + """
assert failing(lambda: box.run("hang", call_timeout_ms=200)) == "ERROR_TIMEOUT"
sbx.wait_until(lambda: box.processes() and True)
box.close()
client.close()
time.sleep(0.3)
""", peer.url)
        kills = [r for r in peer.requests if r.method == "POST" and "kill -KILL -77" in r.body.decode()]
        assert len(kills) == 1
