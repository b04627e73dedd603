"""Output over connections that break, peers that fall silent, readers that are slow."""
import hashlib
import json
import random
import sys
import time

import pytest

import sbx
from agent import Agent
from fake_agent import Cutter, FakeAgent, frame, health, reply, stream_head

# Both streams, in pieces of many sizes; each byte tells its place.
PRODUCER = """
import os, sys
total, at = int(sys.argv[1]), [0, 0]
for step in range(10**9):
    which = step % 3 == 2
    size = (step * 7919) % 40000 + 1
    piece = b"".join(b"%07d\\n" % n for n in range(at[which], at[which] + size // 8 + 1))
    at[which] += size // 8 + 1
    os.write(1 + which, piece)
    if sum(at) * 8 > total: break
"""
READER = """
import hashlib, sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1], sys.argv[2]) as box:
    at, digest, gaps = {1: 0, 2: 0}, {1: hashlib.sha256(), 2: hashlib.sha256()}, 0
    process = box.start([sys.argv[3], "-c", sys.argv[4], sys.argv[5]])
    for event, data in process:
        if event.type == sbx.EXIT:
            print("exit", event.exit_code)
        elif event.type == sbx.GAP:
            assert event.offset == at[event.stream]
            at[event.stream] += event.dropped
            gaps += 1
        else:
            assert event.offset == at[event.type], (event.type, event.offset, at)
            at[event.type] += len(data)
            digest[event.type].update(data)
    print("gaps", gaps)
    for stream in 1, 2:
        print(at[stream], digest[stream].hexdigest())
"""


def expected(total):
    """What PRODUCER(total) writes: (length, digest) of both streams."""
    at, digests = [0, 0], [hashlib.sha256(), hashlib.sha256()]
    for step in range(10 ** 9):
        which = step % 3 == 2
        size = (step * 7919) % 40000 + 1
        digests[which].update(b"".join(b"%07d\n" % n for n in range(at[which], at[which] + size // 8 + 1)))
        at[which] += size // 8 + 1
        if sum(at) * 8 > total:
            return [(at[i] * 8, digests[i].hexdigest()) for i in (0, 1)]


@pytest.mark.parametrize("seed", range(4))
def test_output_survives_broken_connections_byte_for_byte(seed):
    rng = random.Random(seed)
    cuts = [rng.choice([rng.randrange(1, 400), rng.randrange(1, 300000)]) for _ in range(25)]
    total = 1_400_000  # less than the agent holds of each stream, so that even what was on its way is still there
    with Agent() as agent, Cutter(agent.port, cuts) as proxy:
        out = sbx.script(READER, proxy.url, agent.token, sys.executable, PRODUCER, total).stdout.split("\n")
        assert len(proxy.connections) > 3
        assert len(agent.get("/v1/processes").json()) == 1, "the command ran once"
    assert out[0] == "exit 0" and out[1] == "gaps 0"
    assert [tuple(line.split()) for line in out[2:4]] == [(str(n), d) for n, d in expected(total)]


def test_what_was_dropped_while_nobody_could_read_is_counted():
    """More than the agent holds: what is lost between two connections comes as a gap, and the offsets add up."""
    total = 12_000_000
    with Agent() as agent, Cutter(agent.port, [3_000_000, 400_000, 2_000_000, 1_000_000]) as proxy:
        out = sbx.script(READER, proxy.url, agent.token, sys.executable, PRODUCER, total).stdout.split("\n")
        assert len(proxy.connections) > 3
    assert out[0] == "exit 0"
    assert [int(line.split()[0]) for line in out[2:4]] == [n for n, _ in expected(total)]


def test_run_survives_broken_connections():
    with Agent() as agent, Cutter(agent.port, [900, 90, 400, 5000, 77, 100000]) as proxy:
        out = sbx.script("""
import hashlib, sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1], sys.argv[2]) as box:
    result = box.run([sys.argv[3], "-c", sys.argv[4], sys.argv[5]])
    assert (result.code, result.out_cut, result.err_cut) == (0, 0, 0)
    for data in result.out, result.err:
        print(len(data), hashlib.sha256(data).hexdigest())
""", proxy.url, agent.token, sys.executable, PRODUCER, 500_000).stdout.split("\n")
        assert len(proxy.connections) > 4
        assert len(agent.get("/v1/processes").json()) == 1
    assert [tuple(line.split()) for line in out[:2]] == [(str(n), d) for n, d in expected(500_000)]


def test_a_slow_reader_slows_the_command_and_loses_nothing():
    """The handle's buffer is bounded: 20 MB of output do not pile up in the client while nobody reads."""
    with Agent(static=True) as agent:
        sbx.script("""
import sys, time, resource, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1], sys.argv[2]) as box:
    process = box.start("head -c 40000000 /dev/zero")
    process.next()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(50):
        box.processes()
        time.sleep(0.01)
    assert box.processes()[0]["running"] == 1, "it is held back"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8000, "KiB"
    total = sum(len(data) for event, data in process)
    print(total)
""", agent.url, agent.token)


def test_output_limit_of_run_counts_the_rest():
    with Agent() as agent:
        sbx.script("""
import sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1], sys.argv[2]) as box:
    result = box.run("head -c 3000000 /dev/zero; head -c 10 /dev/zero >&2", output_limit=1000)
    assert (len(result.out), result.out_cut, len(result.err), result.err_cut) == (1000, 2999000, 10, 0)
""", agent.url, agent.token)


def silent_after(*parts):
    def handler(request):
        if request.target == "/health":
            return health()
        if request.method == "GET" and "/output" not in request.target:
            return reply([])
        return [*parts, 60]
    return handler


@pytest.mark.parametrize("call,parts,status", [
    ('box.run("x")', [], "ERROR_UNKNOWN_OUTCOME"),
    ('box.run("x")', [stream_head() + frame(1, {"id": "p-1", "pid": 5}) + frame(2, b"half")], "ERROR_CONNECTION"),
    ('[e for e in box.start("x")]', [stream_head() + frame(1, {"id": "p-1", "pid": 5})], "ERROR_CONNECTION"),
    ('box.info()', None, "ERROR_CONNECTION"),
])
def test_a_silent_peer_is_noticed(call, parts, status):
    """Without any deadline. 45 seconds of silence, scaled down by 90."""
    def handler(request):
        if request.target == "/health":
            return health()
        return [60] if parts is None else [*parts, 60]
    with FakeAgent(handler) as peer:
        start = time.monotonic()
        out = sbx.script("""
import sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1]) as box:
    try:
        %s
    except sbx.Error as error:
        print(error.name)
""" % call, peer.url, env={"SBX_TEST_SCALE": "90"}).stdout.split()
        assert out == [status]
        assert time.monotonic() - start < 20


def test_pings_keep_a_quiet_command_alive():
    def handler(request):
        if request.target == "/health":
            return health()
        pings = [part for _ in range(12) for part in (frame(5), 0.2)]
        return [stream_head() + frame(1, {"id": "p-1", "pid": 5}), *pings, frame(6, {"exit_code": 7, "signal": None})]
    with FakeAgent(handler) as peer:
        sbx.script("""
import sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1]) as box:
    assert box.run("x").code == 7
""", peer.url, env={"SBX_TEST_SCALE": "50"})


@pytest.mark.parametrize("body", [
    b"\x09" + bytes(15), frame(2, b"abc", 0)[:4] + b"\xff\xff\xff\x7f" + bytes(8), b"HTTP/1.1 nonsense",
    frame(1, b"not json"), frame(4, b"123"), frame(6, b"[]"), frame(2, b"x" * 8, 2 ** 64 - 4),
])
def test_a_stream_that_makes_no_sense_is_an_error(body):
    def handler(request):
        return health() if request.target == "/health" else [stream_head() + body]
    with FakeAgent(handler) as peer:
        out = sbx.script("""
import sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1]) as box:
    try:
        box.run("x")
    except sbx.Error as error:
        print(error.name)
""", peer.url).stdout.split()
    assert out == ["ERROR_PROTOCOL"]


ENDS = """
import sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1]) as box:
    background = box.start("x", background=1)
    for name, call in dict(run=lambda: box.run("x").code, next=lambda: [e.exit_code for e, _ in box.start("x")][-1],
                           wait=lambda: background.wait().exit_code, list=lambda: box.processes()[0]["exit_code"]).items():
        try:
            print(name, call())
        except sbx.Error as error:
            print(name, error.name, error.message)
"""


def said_of(end, off="", frames=True):
    """What each way to learn of a command's end makes of it."""
    entry = {"id": "p-1", "pid": 5, "cmd": "x", "running": False, "foreground": False, **end}
    event = frame(6, end) if frames else json.dumps({"event": "exit", **end}).encode() + b"\n"
    start = frame(1, {"id": "p-1", "pid": 5}) if frames else b'{"event":"start","id":"p-1","pid":5}\n'
    head = stream_head() if frames else stream_head("application/x-ndjson")

    def handler(request):
        if request.target == "/health":
            return health()
        if request.target == "/v1/exec":
            return [head + start + event]
        return reply([entry] if request.method == "GET" and request.target == "/v1/processes" else entry)
    with FakeAgent(handler) as peer:
        return dict(line.split(" ", 1) for line in sbx.script(ENDS, peer.url, env={"SBX_TEST_OFF": off} if off else {}).stdout.splitlines())


@pytest.mark.parametrize("frames", [True, False])
@pytest.mark.parametrize("end", [{"exit_code": 2 ** 31}, {"exit_code": -2 ** 31 - 1}, {"exit_code": 2 ** 32 + 7}, {"exit_code": 1e300},
                                 {"exit_code": 0.5}, {"exit_code": "0"}, {"exit_code": None, "signal": 2 ** 32 + 9}, {"exit_code": 0, "signal": -1}])
def test_an_exit_code_that_can_be_none(end, frames):
    said = said_of(end, frames=frames)
    assert list(said) == ["run", "next", "wait", "list"]
    for name, text in said.items():
        assert text.startswith("ERROR_PROTOCOL sbx_") and "exit code or a signal that can be none" in text, (name, text)


@pytest.mark.parametrize("code", [0, 255, -1, 2 ** 31 - 1, -2 ** 31])
def test_exit_codes_that_can_be(code):
    assert set(said_of({"exit_code": code, "signal": None}).values()) == {str(code)}


def test_control_of_exit_codes():
    assert set(said_of({"exit_code": 2 ** 32 + 7}, off="number-range").values()) == {"7"}


def test_a_redirect_is_not_followed_and_the_token_not_sent_along():
    with FakeAgent(lambda request: health()) as other:
        def handler(request):
            return health() if request.target == "/health" else reply(status=307, headers=[f"Location: {other.url}/v1/x"])
        with FakeAgent(handler) as peer:
            out = sbx.script("""
import sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1], "secret") as box:
    for call in box.info, box.processes, lambda: box.run("x"):
        try:
            call()
        except sbx.Error as error:
            print(error.name, error.http_status)
""", peer.url).stdout.split("\n")
        assert out[:3] == ["ERROR_PROTOCOL 307"] * 3
        assert other.requests == []


def test_a_command_that_alternates_between_its_streams_is_held_back():
    """Each change of stream costs the client more memory than the byte that comes with it: it is memory that counts."""
    sent = []

    def peer(request):
        if request.target == "/health":
            return health()
        if request.method == "DELETE":
            return reply({"killed": True})
        if request.json["cmd"] != "alternate":
            return [stream_head() + frame(1, {"pid": 8, "id": "p-8"}), 30]
        return Sending()

    class Sending(list):
        def __iter__(self):
            yield stream_head() + frame(1, {"pid": 7, "id": "p-7"})
            for at in range(0, 250_000, 100):
                sent.append(at)
                yield b"".join(frame(2, b"a", at + i) + frame(3, b"b", at + i) for i in range(100))

    with FakeAgent(peer) as fake:
        sbx.script("""
import sys, sbx
client = sbx.Client()
box = client.connect_endpoint(sys.argv[1])
process = box.start("alternate")
try:
    box.run("drives meanwhile", call_timeout_ms=4000)
except sbx.Error as error:
    assert error.name == "ERROR_TIMEOUT"
for at in range(3000):
    event, data = process.next()
    assert (event.type, event.offset, data) == ((1, at // 2, b"a"), (2, at // 2, b"b"))[at % 2], at
import os
os._exit(0)
""", fake.url)
        assert 0 < sent[-1] < 200_000, sent[-1]
