"""Deadlines, cancellation, queues, threads, fork, the order of frees."""
import time

import pytest

import sbx
from agent import Agent
from fake_agent import FakeAgent, health

PROLOGUE = """
import ctypes, os, select, sys, threading, time, sbx
def failing(call):
    try:
        call()
    except sbx.Error as error:
        return error.name
    return "OK"
client = sbx.Client()
box = client.connect_endpoint(sys.argv[1], sys.argv[2])
"""


@pytest.fixture(scope="module")
def agent():
    with Agent() as running:
        yield running


def script(agent, text, **more):
    return sbx.script(PROLOGUE + text, agent.url, agent.token, **more).stdout


def running(agent, what):
    return [entry for entry in agent.get("/v1/processes").json() if entry["running"] and what in str(entry["cmd"])]


def test_a_deadline_ends_the_call_and_kills_the_tree(agent):
    script(agent, """
start = time.monotonic()
assert failing(lambda: box.run("sleep 1000.1 & sleep 1000.1", call_timeout_ms=150)) == "ERROR_TIMEOUT"
assert 0.14 < time.monotonic() - start < 5
sbx.wait_until(lambda: not [p for p in box.processes() if p["running"] and b"1000.1" in p["command"]], what="the end of the tree")
""")
    assert not running(agent, "1000.1")


def test_a_commands_own_timeout_is_a_result(agent):
    script(agent, """
result = box.run("echo early; sleep 1000.2", timeout_ms=200)
assert result.timed_out and result.out == b"early\\n" and result.code == -1 and result.signal == 9
""")


def test_cancel_from_another_thread(agent):
    script(agent, """
cancel = sbx.Cancel()
threading.Timer(0.2, cancel.now).start()
start = time.monotonic()
assert failing(lambda: box.run("sleep 1000.3", cancel=cancel)) == "ERROR_CANCELED"
assert time.monotonic() - start < 5
assert failing(lambda: box.run("echo never", cancel=cancel)) == "ERROR_CANCELED"
sbx.wait_until(lambda: not [p for p in box.processes() if p["running"] and b"1000.3" in p["command"]], what="the end of the command")
assert not [p for p in box.processes() if b"never" in p["command"]]
""")


def test_one_token_ends_calls_of_many_threads_and_clients(agent):
    script(agent, """
cancel, names = sbx.Cancel(), []
other = sbx.Client()
box2 = other.connect_endpoint(sys.argv[1], sys.argv[2])
def work(b):
    names.append(failing(lambda: b.run("sleep 1000.4", cancel=cancel)))
threads = [threading.Thread(target=work, args=(b,)) for b in (box, box2) * 4]
for thread in threads: thread.start()
sbx.wait_until(lambda: len([p for p in box.processes() if p["running"] and b"1000.4" in p["command"]]) == 8, what="eight commands")
cancel.now()
cancel.close()
for thread in threads: thread.join(20)
assert names == ["ERROR_CANCELED"] * 8
""")


def test_a_queue_completes_each_call_once(agent):
    script(agent, """
queue = sbx.Queue(client)
poll = select.poll(); poll.register(queue.fileno(), select.POLLIN)
assert poll.poll(0) == []
for n in range(50):
    status = sbx.check("run", None, box.handle, sbx._command(f"echo {n}; exit {n}", {}), sbx.call(queue=queue, user=n + 1))
    assert status == sbx.PENDING
seen = {}
while len(seen) < 50:
    assert poll.poll(20000), "the descriptor says that something is there"
    while (done := queue.next(0)) is not None:
        assert done.status == sbx.OK and done.user not in seen
        result = sbx.Result(done.result)
        seen[done.user] = (result.code, result.out)
assert seen == {n + 1: (n, b"%d\\n" % n) for n in range(50)}
assert poll.poll(0) == [] and queue.next(50) is None
""")


def test_a_queue_carries_failures_events_and_numbers(agent):
    script(agent, """
queue = sbx.Queue(client)
def start(short, *args, **call):
    assert sbx.check(short, *args, sbx.call(queue=queue, **call)) == sbx.PENDING
    return queue.next(20000)
done = start("process_start", None, box.handle, sbx._command("echo one; read x; echo $x; exit 5", {"input_open": 1}))
process = sbx.Process(ctypes.c_void_p(done.process))
done = start("process_next", None, process.handle)
assert done.event.contents.bytes == b"one\\n"
first = done.event
assert sbx.check("process_write", process.handle, b"two\\n", 4, 0, sbx.call(queue=queue)) == sbx.PENDING
assert queue.next(20000).status == 0
done = start("process_next", None, process.handle)
assert done.event.contents.bytes == b"two\\n" and first.contents.bytes == b"one\\n", "events of a queue own their bytes"
sbx.lib.sbx_event_free(first); sbx.lib.sbx_event_free(done.event)
done = start("process_next", None, process.handle)
assert done.event.contents.type == sbx.EXIT and done.event.contents.exit_code == 5
sbx.lib.sbx_event_free(done.event)
assert start("process_next", None, process.handle).status == sbx.DONE
done = start("run", None, box.handle, sbx._command("sleep 1000.5", {}), timeout_ms=100)
assert done.status == sbx.TIMEOUT and done.error.code == sbx.TIMEOUT and b"100 ms" in done.error.message
done = start("process_signal", None, process.handle, 15, 1)
assert done.status == sbx.CONFLICT, done.status
done = start("run", None, box.handle, sbx._command(["/no/such/program"], {}))
assert done.status == sbx.SPAWN and done.error.system_errno == 2
""")


def test_freeing_a_queue_cancels_what_is_under_way(agent):
    script(agent, """
queue = sbx.Queue(client)
for n in range(5):
    sbx.check("run", None, box.handle, sbx._command("sleep 1000.6", {}), sbx.call(queue=queue))
    sbx.check("run", None, box.handle, sbx._command("echo unread", {}), sbx.call(queue=queue))
sbx.wait_until(lambda: len([p for p in box.processes() if p["running"] and b"1000.6" in p["command"]]) == 5, what="five commands")
queue.close()
sbx.wait_until(lambda: not [p for p in box.processes() if p["running"] and b"1000.6" in p["command"]], what="their end")
""")


def test_threads_share_a_sandbox(agent):
    script(agent, """
wrong = []
def work(k):
    for n in range(25):
        result = box.run(f"echo {k}.{n}; echo e{k}.{n} >&2; exit {n % 7}")
        if (result.code, result.out, result.err) != (n % 7, b"%d.%d\\n" % (k, n), b"e%d.%d\\n" % (k, n)):
            wrong.append((k, n, result.code, result.out, result.err))
threads = [threading.Thread(target=work, args=(k,)) for k in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong, wrong
""")


def test_no_thread_for_synchronous_use(agent):
    script(agent, """
tasks = lambda: len(os.listdir("/proc/self/task"))
before = tasks()
for _ in range(3): box.run("echo")
process = box.start("cat", input_open=1); process.input(b"x", end=1); list(process)
assert tasks() == before
""")


def test_a_foreground_process_ends_with_its_handle_and_a_background_one_does_not(agent):
    script(agent, """
with box.start("sleep 1000.7") as process: pass
with box.start("sleep 1000.8", background=1) as process: pass
sbx.wait_until(lambda: not [p for p in box.processes() if p["running"] and b"1000.7" in p["command"]], what="the end")
left = [p for p in box.processes() if p["running"] and b"1000.8" in p["command"]]
assert len(left) == 1
with box.attach(left[0]["id"].decode()) as process:
    assert process.kill() >= 1
    assert process.kill() == 0
""")


@pytest.mark.parametrize("order", ["pbc", "pcb", "bpc", "bcp", "cpb", "cbp"])
def test_handles_are_freed_in_any_order(agent, order):
    script(agent, f"""
process = box.start("sleep 1000.9")
for letter in "{order}":
    dict(p=process, b=box, c=client)[letter].close()
""")
    sbx.wait_until(lambda: not running(agent, "1000.9"), what="the end of the command")


def test_a_handle_is_of_no_use_after_fork(agent):
    script(agent, """
process = box.start("sleep 1001.1")
queue = sbx.Queue(client)
# The parent has its lock at the moment of the fork: a call is under way on another thread.
thread = threading.Thread(target=lambda: box.run("sleep 1"))
thread.start()
sbx.wait_until(lambda: [p for p in box.processes() if p["command"] == b"sleep 1"], what="the call")
pid = os.fork()
if pid == 0:
    names = [failing(f) for f in (lambda: box.run("echo"), box.info, box.processes, process.next, process.kill, client.create,
                                  client.list, lambda: queue.next(0), lambda: sbx.Queue(client), box.kill)]
    process.close(); queue.close(); box.close(); client.close()
    os._exit(0 if names == ["ERROR_STATE"] * 10 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
thread.join()
assert [p for p in box.processes() if p["running"] and b"1001.1" in p["command"]], "the child's frees did nothing"
assert box.run("echo still").out == b"still\\n"
process.close()
""")


def test_arguments_are_checked(agent):
    script(agent, """
for command in ({}, {"shell": "x", "argv": ["x"]}, {"argv": []}, {"shell": "x", "env": ["novalue"]}, {"shell": "x", "timeout_ms": -1},
                {"shell": "x", "input_open": 1}, {"shell": "x", "tag": "t" * 300}):
    try:
        sbx.make("run", box.handle, ctypes.byref(sbx.Command(**command)), None)
    except sbx.Error as error:
        assert error.name == "ERROR_INVALID" and error.message.startswith("sbx_run: ") and "command." in error.message, error
        assert ("env[0] has no '='" in error.message) == (command.get("env") == ["novalue"]), error
    else:
        assert False, command
err = sbx.CError()
out = ctypes.c_void_p()
lib = sbx.lib
assert lib.sbx_run(ctypes.byref(out), None, ctypes.byref(sbx.Command(shell=b"x")), None, ctypes.byref(err)) == sbx.INVALID
assert lib.sbx_run(None, box.handle, ctypes.byref(sbx.Command(shell=b"x")), None, ctypes.byref(err)) == sbx.INVALID
command = sbx.Command(shell=b"x"); command.size = 3
assert lib.sbx_run(ctypes.byref(out), box.handle, ctypes.byref(command), None, ctypes.byref(err)) == sbx.INVALID
class Newer(ctypes.Structure):
    _fields_ = [("old", sbx.Command), ("more", ctypes.c_uint64)]
newer = Newer(sbx.Command(shell=b"exit 3")); newer.old.size = ctypes.sizeof(Newer)
handle = sbx.make("run", box.handle, ctypes.byref(newer.old), None)
assert sbx.Result(handle).code == 3, "a newer caller's struct whose new fields are zero"
newer.more = 1
assert lib.sbx_run(ctypes.byref(out), box.handle, ctypes.byref(newer.old), None, ctypes.byref(err)) == sbx.UNSUPPORTED
older = sbx.Command(shell=b"exit 4"); older.size = sbx.Command.cwd.offset
older.timeout_ms = -5
assert sbx.Result(sbx.make("run", box.handle, ctypes.byref(older), None)).code == 4, "an older caller's shorter struct"
assert failing(lambda: box.run("x", call_timeout_ms=-2)) == "ERROR_INVALID"
for address in "", "ftp://x", "unix:relative", "http://", "http://user@host", "127.0.0.1:5":
    assert failing(lambda: client.connect_endpoint(address)) == "ERROR_INVALID", address
assert failing(lambda: client.connect_endpoint("http://127.0.0.1:5", "a\\nb")) == "ERROR_INVALID"
""")


def test_a_wrong_token_is_said_at_once(agent):
    script(agent, """
assert failing(lambda: client.connect_endpoint(sys.argv[1], "wrong")) == "ERROR_AUTH"
assert failing(lambda: client.connect_endpoint(sys.argv[1])) == "ERROR_AUTH"
""")


def test_nobody_there_is_said_soon():
    start = time.monotonic()
    sbx.script("""
import sbx
with sbx.Client() as client:
    for address in "http://127.0.0.1:1", "unix:/no/such/socket":
        try:
            client.connect_endpoint(address)
        except sbx.Error as error:
            assert error.name == "ERROR_CONNECTION", error
        else:
            assert False
""")
    assert time.monotonic() - start < 10


def test_large_input_goes_in_and_comes_back(agent):
    script(agent, """
data = bytes(range(256)) * 20000
for size in 0, 1, 1000, 524288, 524289, len(data):
    assert box.run("cat", input=data[:size]).out == data[:size]
with box.start("cat", input=data, input_open=1) as process:
    def more():
        process.input(b"the rest", end=1)
    thread = threading.Thread(target=more); thread.start()
    assert b"".join(d for _, d in process) == data + b"the rest"
    thread.join()
assert box.run("head -c 5", input=data).out == data[:5], "a command need not read it all"
""")


def test_writes_of_many_calls_stay_in_order(agent):
    script(agent, """
queue = sbx.Queue(client)
process = box.start("cat", input_open=1)
for n in range(200):
    piece = b"%05d\\n" % n
    assert sbx.check("process_write", process.handle, piece, len(piece), int(n == 199), sbx.call(queue=queue)) == sbx.PENDING
assert b"".join(d for _, d in process) == b"".join(b"%05d\\n" % n for n in range(200))
assert all(queue.next(20000).status == sbx.OK for _ in range(200))
""")


def test_descriptors_and_threads_return_to_the_start(agent):
    script(agent, """
def round():
    with sbx.Client() as c, c.connect_endpoint(sys.argv[1], sys.argv[2]) as b:
        queue = sbx.Queue(c)
        for _ in range(8): sbx.check("run", None, b.handle, sbx._command("echo", {}), sbx.call(queue=queue))
        for _ in range(8): sbx.Result(queue.next(20000).result)
        with b.start("sleep 1001.2"): pass
        assert failing(lambda: b.run(["/no/such"])) == failing(lambda: b.start(["/no/such"])) == "ERROR_SPAWN"
        queue.close()
tasks = lambda: len(os.listdir("/proc/self/task"))
count = lambda: (sbx.descriptors(), tasks())
warm = threading.Thread(target=int); warm.start(); warm.join()  # a sanitizer starts a thread of its own with the first
alone = tasks()
round()
sbx.wait_until(lambda: tasks() <= alone, what="the thread's end")
before = count()
for _ in range(10): round()
sbx.wait_until(lambda: all(map(int.__le__, count(), before)), what=f"{before} descriptors and threads again")
""")


def test_the_log_tells_events_and_no_secret(agent):
    out = script(agent, """
events = []
@sbx.LOG_HOOK
def hook(user, level, event, fields, count):
    events.append((event, {fields[i].name: fields[i].value for i in range(count)}))
with sbx.Client(log=hook) as logged, logged.connect_endpoint(sys.argv[1], sys.argv[2]) as b:
    b.run("echo secret-command", env=["SECRET=value-of-it"])
    with b.start("sleep 0", tag="secret-tag") as process: process.wait()
text = repr(events)
assert any(e == b"request" and f[b"route"] == b"exec" and f[b"status"] == b"200" for e, f in events), text
for secret in "secret-command", "value-of-it", "secret-tag", sys.argv[2]:
    assert secret not in text, text
""")
    assert out == ""


def test_calls_on_a_peer_that_never_answers_end_in_time():
    def handler(request):
        return health() if request.target == "/health" else [120]
    with FakeAgent(handler) as peer:
        sbx.script(PROLOGUE + """
process = None
start = time.monotonic()
for call in (lambda: box.run("x", call_timeout_ms=100), lambda: box.start("x", call_timeout_ms=100),
             lambda: box.start("x", call_timeout_ms=100, background=1),
             lambda: sbx.make("process_list_all", box.handle, sbx.call(100)), lambda: sbx.make("sandbox_info", box.handle, sbx.call(100)),
             lambda: sbx.make("process_attach", box.handle, b"p-1", sbx.call(100)), lambda: box.kill(100)):
    assert failing(call) == "ERROR_TIMEOUT"
assert time.monotonic() - start < 10
""", peer.url, "token")
