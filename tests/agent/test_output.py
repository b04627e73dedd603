"""Output: byte-exact, ordered, resumable, bounded, and never waiting for who holds a pipe."""
import hashlib
import json
import subprocess
import sys
import time

import pytest
from agent import Agent, wait_until
from streams import Output

SOME = "import sys,hashlib\nfor i in range(int(sys.argv[1])): sys.stdout.buffer.write(hashlib.sha512(b'%d'%i).digest()*16)"


def some_bytes(count):
    """What SOME writes: 1024 bytes each."""
    return b"".join(hashlib.sha512(b"%d" % i).digest() * 16 for i in range(count))


def some(count):
    return [sys.executable, "-c", SOME, str(count)]


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


def run(a, cmd, frames=True, **body):
    return Output(a.events("POST", "/v1/exec", {"cmd": cmd, **body}, frames))


def start_reading(a, cmd, frames=True, **body):
    events = a.events("POST", "/v1/exec", {"cmd": cmd, **body}, frames)
    return events, next(events)["id"]


def euros(a):
    return run(a, [sys.executable, "-c", "print('a' + '€' * 1_000_000, end='')"], frames=False).stdout.decode()


def test_bytes_are_exact(agent):
    o = run(agent, some(5000))
    assert o.stdout == some_bytes(5000) and o.exit_code == 0 and not o.gaps


def test_offsets_are_those_of_the_stream(agent):
    at = {"stdout": 0, "stderr": 0}
    for event in agent.events("POST", "/v1/exec", {"cmd": "for i in $(seq 3000); do echo $i; echo e$i >&2; done"}):
        if event["event"] in at:
            assert event["offset"] == at[event["event"]]
            at[event["event"]] += len(event["data"])
    assert at == {"stdout": 13893, "stderr": 16893}


def test_characters_are_whole_in_ndjson(agent):
    """5c 3; also across the ends of the ring."""
    assert euros(agent) == "a" + "€" * 1_000_000
    o = run(agent, "printf 'x\\342'; sleep 0.1; printf '\\202'; sleep 0.1; printf '\\254y'", frames=False)
    assert o.stdout.decode() == "x€y"
    assert run(agent, "printf 'x\\342\\202'", frames=False).stdout.decode() == "x\ufffd"
    assert run(agent, "printf '\\377a\\300'", frames=False).stdout.decode() == "\ufffda\ufffd"


def test_control_characters_are_torn_without_the_carry():
    with Agent(off="utf8-carry") as a:
        assert "\ufffd" in euros(a)


def test_a_slow_reader_slows_the_command(agent, tmp_path):
    """Nothing is lost and nothing is gathered: the command waits."""
    progress = tmp_path / "progress"
    script = f"import sys\nfor i in range(64):\n sys.stdout.buffer.write(b'%c' % (65+i%26) * 262144); sys.stdout.flush(); open({str(progress)!r},'w').write(str(i))"
    with agent.connect(receive_buffer=65536) as c:
        body = json.dumps({"cmd": [sys.executable, "-c", script]}).encode()
        c.send_request("POST", "/v1/exec", agent.headers([("Accept", "application/x-hfsandbox-frames")]), body)
        wait_until(lambda: progress.exists() and progress.read_text())
        last = None
        while last != (last := progress.read_text()):
            time.sleep(0.3)
        assert int(last) < 40
        from streams import frame_events
        o = Output(frame_events(c.body_pieces(c.read_head())))
        assert o.stdout == b"".join(b"%c" % (65 + i % 26) * 262144 for i in range(64)) and not o.gaps


def test_without_a_reader_the_newest_are_kept(agent):
    process = agent.start_process(some(3000))
    entry = agent.get(f"/v1/processes/{process['id']}?wait_ms=20000").json()
    assert entry["stdout"] == {"start": 3000 * 1024 - (1 << 20), "end": 3000 * 1024, "dropped": 3000 * 1024 - (1 << 20), "open": False}
    o = agent.output(process["id"], "follow=1")
    assert o.stdout == some_bytes(3000)[-(1 << 20):] and not o.gaps and o.exit_code == 0
    o = agent.output(process["id"], "follow=1&stdout=100")
    assert o.stdout == some_bytes(3000)[-(1 << 20):]
    assert o.gaps == [{"event": "gap", "stream": "stdout", "offset": 100, "dropped": 3000 * 1024 - (1 << 20) - 100}]
    o = agent.output(process["id"], "stdout=100", frames=False)
    assert o.gaps[0]["offset"] == 100 and o.gaps[0]["stream"] == "stdout"
    assert agent.get(f"/v1/processes/{process['id']}/output?stdout={3000 * 1024 + 1}").status == 400
    assert agent.get(f"/v1/processes/{process['id']}/output?stdout=x").status == 400
    assert agent.get(f"/v1/processes/{process['id']}/output?end=x").status == 400


def test_a_lost_reader_resumes(agent, tmp_path):
    """Every byte once, over three connections, the command run once."""
    script = f"echo run >> {tmp_path}/runs; for i in $(seq 40); do seq $i 2000; sleep 0.01; done"
    events, process = start_reading(agent, script)
    got = b""
    for _ in range(3):
        for event in events:
            if event["event"] == "stdout":
                got += event["data"]
                if len(got) > 50_000 * (_ + 1):
                    break
        events.close()
        events = agent.events("GET", f"/v1/processes/{process}/output?follow=1&stdout={len(got)}")
        assert next(events)["event"] == "start"
    rest = list(events)
    got += b"".join(e["data"] for e in rest if e["event"] == "stdout")
    assert not [e for e in rest if e["event"] == "gap"]
    assert rest[-1]["event"] == "exit" and rest[-1]["exit_code"] == 0
    assert got == subprocess.run(["sh", "-c", "for i in $(seq 40); do seq $i 2000; done"], capture_output=True).stdout
    assert (tmp_path / "runs").read_text() == "run\n"


def test_several_readers(agent):
    events, process = start_reading(agent, "read x; seq 1 200000", stdin_open=True)
    others = [agent.events("GET", f"/v1/processes/{process}/output?follow=1", frames=f) for f in (True, False)]
    for other in others:
        assert next(other)["id"] == process
    agent.request("PUT", f"/v1/processes/{process}/stdin?eof=1", body=b"\n")
    expected = subprocess.run(["seq", "1", "200000"], capture_output=True).stdout
    outputs = [b"".join(e["data"] if isinstance(e["data"], bytes) else e["data"].encode() for e in es if e["event"] == "stdout")
               for es in (others[0], events, others[1])]
    assert all(o == expected for o in outputs)


def test_held_now(agent):
    process = agent.start_process("printf 'x€'; printf '\\342'; exec sleep 300")
    wait_until(lambda: agent.get(f"/v1/processes/{process['id']}").json()["stdout"]["end"] == 5)
    o = agent.output(process["id"], "")
    assert o.stdout == "x€".encode() + b"\342" and o.exit is None and o.held["running"] is True and o.held["stdout"]["end"] == 5
    assert agent.output(process["id"], "", frames=False).stdout.decode() == "x€"
    agent.request("DELETE", f"/v1/processes/{process['id']}")
    o = run(agent, "echo over")
    assert agent.output(o.id, "").exit["exit_code"] == 0


LATE = "(for i in 1 2 3 4 5 6; do sleep 0.1; echo late$i || exit; echo $i >> {file}; done) & echo first"


def test_exit_does_not_wait_for_descendants(agent, tmp_path):
    """5c 2: they keep their pipe, and what they write later is readable by offset."""
    file = tmp_path / "late"
    begin = time.monotonic()
    o = run(agent, LATE.format(file=file))
    assert o.stdout == b"first\n" and o.exit_code == 0 and time.monotonic() - begin < 0.55
    entry = agent.get(f"/v1/processes/{o.id}").json()
    assert entry["running"] is False and entry["stdout"]["open"] is True
    late = agent.output(o.id, "follow=1&end=closed&stdout=6")
    assert late.stdout == b"late1\nlate2\nlate3\nlate4\nlate5\nlate6\n" and late.exit_code == 0
    assert file.read_text().split() == list("123456")


def test_control_descendants_die_of_a_closed_pipe(tmp_path):
    with Agent(off="keep-pipes") as a:
        o = run(a, LATE.format(file=tmp_path / "late"))
        assert o.exit_code == 0
        time.sleep(1)
        assert not (tmp_path / "late").exists() or (tmp_path / "late").read_text().split() != list("123456")


def test_the_end_can_be_that_of_the_output(agent, tmp_path):
    for frames in (True, False):
        o = run(agent, LATE.format(file=tmp_path / "late"), frames, end="closed")
        assert o.stdout == b"first\nlate1\nlate2\nlate3\nlate4\nlate5\nlate6\n"
    o = run(agent, "sleep 300 & echo x", end="closed", timeout=0.5)
    assert o.stdout == b"x\n" and o.exit["timed_out"] is True


def test_a_noisy_descendant_does_not_hold_the_exit_back(agent):
    begin = time.monotonic()
    events, process = start_reading(agent, "yes & echo $!; sleep 0.1")
    last = None
    for last in events:
        pass
    assert last["event"] == "exit" and time.monotonic() - begin < 15
    assert agent.request("DELETE", f"/v1/processes/{process}").json()["survivors"] == []


def test_stream_limit(agent):
    process = agent.start_process("seq 1 10000", stream_limit=100)
    entry = agent.get(f"/v1/processes/{process['id']}?wait_ms=10000").json()
    assert entry["stdout"]["end"] - entry["stdout"]["start"] == 100
    assert agent.output(process["id"], "").stdout == subprocess.run(["seq", "1", "10000"], capture_output=True).stdout[-100:]
    assert run(agent, "seq 1 10000", stream_limit=100).stdout == subprocess.run(["seq", "1", "10000"], capture_output=True).stdout


@pytest.mark.parametrize("of_all", ["SBX_SANDBOX_OUTPUT_LIMIT", "SBX_AGENT_OUTPUT_LIMIT"])
def test_ceilings_hold(of_all):
    """Of one stream, of all: what ended first goes first, and everybody can still go on."""
    with Agent(static=True, env={"SBX_STREAM_LIMIT": 400_000, of_all: 1_000_000}) as a:
        before = a.resident_kib()
        entries = [a.get(f"/v1/processes/{a.start_process(some(1000))['id']}?wait_ms=20000").json() for _ in range(10)]
        ended = [e["id"] for e in entries]
        held = [a.get(f"/v1/processes/{i}").json()["stdout"] for i in ended]
        assert all(e["exit_code"] == 0 for e in entries) and all(h["end"] == 1000 * 1024 for h in held)
        assert sum(h["end"] - h["start"] for h in held) <= 1_000_000 + 10 * 4096
        assert held[-1]["end"] - held[-1]["start"] == 400_000 and held[0]["end"] == held[0]["start"]
        running = [a.start_process("cat; exec sleep 300", stdin="x" * 300_000)["id"] for _ in range(10)]
        for i in running:
            wait_until(lambda: a.get(f"/v1/processes/{i}").json()["stdout"]["end"] == 300_000)
        held = [a.get(f"/v1/processes/{i}").json()["stdout"] for i in running]
        assert sum(h["end"] - h["start"] for h in held) <= 1_000_000 + 20 * 4096
        assert run(a, some(3000)).stdout == some_bytes(3000)
        assert a.resident_kib() - before < 4 * 1024


@pytest.mark.parametrize("name", ["SBX_STREAM_LIMIT", "SBX_SANDBOX_OUTPUT_LIMIT", "SBX_AGENT_OUTPUT_LIMIT"])
def test_settings_are_checked(name):
    a = Agent(env={name: "10m"})
    with pytest.raises(AssertionError, match=name):
        a.start()


def test_silence_is_filled_with_pings():
    """Every 15 seconds, here a tenth of that."""
    with Agent(env={"SBX_TEST_SCALE": "10"}) as agent:
        for frames in (True, False):
            events, process = start_reading(agent, "exec sleep 300", frames)
            begin = time.monotonic()
            assert next(events)["event"] == "ping"
            assert 1.4 <= time.monotonic() - begin < 3
            events.close()
            agent.request("DELETE", f"/v1/processes/{process}")


def test_a_stolen_pipe_blocks_nobody(agent):
    """A command may read its own output's pipe away: the agent must not wait in a read for it."""
    thief = "import os\nr=os.open('/proc/self/fd/1',os.O_RDONLY|os.O_NONBLOCK)\nfor i in range(20000):\n os.write(1,b'x')\n try: os.read(r,10)\n except BlockingIOError: pass"
    assert run(agent, [sys.executable, "-c", thief]).exit_code == 0
    assert agent.get("/health").status == 200
