"""Peers that say nothing, calls without a deadline, ends that are confirmed, and how a command's end is told."""
import socket
import threading
import time

import pytest

import sbx
from agent import Agent
from fake_agent import FakeAgent, health, reply

PROLOGUE = """
import os, sys, threading, time, sbx
def failing(call):
    try:
        call()
    except sbx.Error as error:
        return error.name
    return "OK"
client = sbx.Client()
box = client.connect_endpoint(sys.argv[1], *sys.argv[2:3])
"""
ENTRY = {"id": "p-1", "pid": 7, "running": True}
FOREVER = [3600]


def dead_from_the_first_write():
    state = {"dead": False}

    def handler(request):
        if request.method != "GET":
            state["dead"] = True
        if state["dead"]:
            return FOREVER
        return health() if request.target == "/health" else reply(ENTRY)
    return handler


CALLS = {"write": "lambda: box.attach('p-1').input(b'x', timeout_ms=sbx.NO_TIMEOUT)",
         "delete": "lambda: sbx.check('file_delete', box.handle, b'x', 1, sbx.call(sbx.NO_TIMEOUT))",
         "kill": "lambda: sbx.check('process_kill', None, box.attach('p-1').handle, sbx.call(sbx.NO_TIMEOUT))"}


@pytest.mark.parametrize("call", CALLS)
def test_a_dead_peer_is_noticed_without_a_deadline(call):
    with FakeAgent(dead_from_the_first_write()) as peer:
        began = time.monotonic()
        done = sbx.script(PROLOGUE + f"print(failing({CALLS[call]}), flush=True); os._exit(0)", peer.url, env={"SBX_TEST_SCALE": "60"})
        assert done.stdout.strip() in ("ERROR_CONNECTION", "ERROR_UNKNOWN_OUTCOME")
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("call", ["write", "delete"])
def test_control_without_looking_whether_it_lives(call):
    with FakeAgent(dead_from_the_first_write()) as peer:
        done = sbx.script(PROLOGUE + f"""
thread = threading.Thread(target={CALLS[call]}, daemon=True)
thread.start()
thread.join(4)
print(thread.is_alive(), flush=True)
os._exit(0)
""", peer.url, env={"SBX_TEST_SCALE": "120", "SBX_TEST_OFF": "probe"})
        assert done.stdout.strip() == "True"


def test_a_living_peer_may_take_as_long_as_it_likes():
    """Four times the silence that a dead one is given."""
    def handler(request):
        if request.target == "/health":
            return health()
        if request.method == "GET":
            return reply(ENTRY)
        time.sleep(3)
        return reply({"offset": 1, "open": True})
    with FakeAgent(handler) as peer:
        sbx.script(PROLOGUE + f"assert failing({CALLS['write']}) == 'OK'", peer.url, env={"SBX_TEST_SCALE": "60"})
        assert sum(r.method == "PUT" for r in peer.requests) == 1
        assert peer.count("GET", "/health") > 2


def test_an_agent_at_an_address_has_ended_when_kill_returns():
    """It waits for a command that takes its time."""
    with Agent(clean_exit=False) as agent:
        sbx.script(PROLOGUE + """
process = box.start("trap '' TERM; echo ready; while :; do sleep 0.05; done", background=1)
assert process.next()[1] == b"ready\\n"
assert failing(box.kill) == "OK"
assert not os.path.exists(f"/proc/{process.pid}"), "the command still runs"
assert failing(lambda: client.connect_endpoint(*sys.argv[1:3])) == "ERROR_CONNECTION"
assert failing(lambda: box.run("true")) == "ERROR_AGENT" and failing(box.kill) == "OK"
""", agent.url, agent.token)
        assert agent.process.wait(5) == 0


def test_an_end_that_does_not_come_is_no_success():
    def handler(request):
        return health() if request.target == "/health" else reply({"ok": True})
    with FakeAgent(handler) as peer:
        sbx.script(PROLOGUE + """
assert failing(lambda: box.kill(timeout_ms=300)) == "ERROR_TIMEOUT"
assert failing(lambda: box.kill(timeout_ms=300)) == "ERROR_TIMEOUT"      # and may be tried again
""", peer.url)


def test_waiting_tells_the_limit_to_all_who_wait():
    sbx.script("""
import sys, threading, sbx
with sbx.Client() as client, client.create(limit_memory=100 << 20) as box:
    bomb = " & ".join(["(head -c 40M /dev/zero; sleep 100) | tail -n 1"] * 4) + " & wait"
    process = box.start(bomb, background=1)
    limits = []
    def wait(p):
        event = p.wait()
        limits.append((event.limit, event.signal, event.survivors))
    other = box.attach(process.id)
    threads = [threading.Thread(target=wait, args=(p,)) for p in (process, process, other, other)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    wait(box.attach(process.id))
    assert limits == [(b"memory", 9, 0)] * 5, limits
""")


def test_errors_tell_no_value():
    with Agent() as agent:
        done = sbx.script(PROLOGUE + """
def message(call):
    try:
        call()
    except sbx.Error as error:
        print(error.name, error.message)
for bad in ("SecretSecret", "=SecretSecret"):
    message(lambda: client.create(env=["A=B", bad]))
    message(lambda: box.run("true", env=["A=B", bad]))
    message(lambda: box.start("true", env=["A=B", bad]))
for bad in ("http://user:SecretSecret@host", "http://host/?token=SecretSecret", "https://host#SecretSecret"):
    message(lambda: client.connect_endpoint(bad))
""", agent.url, agent.token).stdout
        assert done.count("ERROR_INVALID") == 9 and done.count("env[1]") == 6
        assert "Secret" not in done


def test_an_end_is_logged_once(tmp_path):
    done = sbx.script("""
import sbx, sys
def hook(user, level, event, fields, count):
    print(event.decode(), {fields[i].name.decode(): fields[i].value.decode() for i in range(count)}.get("provider"))
hook = sbx.LOG_HOOK(hook)
with sbx.Client(log=hook, log_level=1) as client:
    with client.create() as box:
        box.kill()
""")
    assert done.stdout.split("\n")[:-1] == ["sandbox.created local", "sandbox.ended local"]


@pytest.mark.parametrize("off", [None, "sent-counts"])
def test_a_body_that_takes_its_time_is_no_silence(tmp_path, off):
    """Nothing is heard while 12 MiB leave in three seconds, and a second of silence is the limit; but they do leave."""
    def slowly(near, far):
        while data := near.recv(1 << 16):
            far.sendall(data)
            time.sleep(1 / 64)

    def back(near, far):
        while data := far.recv(1 << 16):
            near.sendall(data)

    def relay(listener, port):
        while True:
            near, far = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
            for pump in (slowly, back):
                threading.Thread(target=pump, args=(near, far), daemon=True).start()

    with Agent() as agent, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=relay, args=(listener, agent.port), daemon=True).start()
        done = sbx.script(PROLOGUE + "print(failing(lambda: box.write(sys.argv[3], bytes(12 << 20))))",
                          f"http://127.0.0.1:{listener.getsockname()[1]}", agent.token, tmp_path / "file",
                          env={"SBX_TEST_SCALE": "60", "SBX_TEST_OFF": off})
        assert done.stdout.strip() == ("OK" if off is None else "ERROR_CONNECTION")
