"""A host that dies takes its sandboxes with it: their calls fail at once with one clear error, and the pool goes on without it. A host that others use is
never canceled."""
# ctest: timeout=300
import json

import pytest
from agent import wait_until
from localhub.ask import ask

STARTED = """
client = sbx.Client()
pool = pools.create(client, name="p", sandboxes_per_host=2, spread=1, warm=2)
boxes = [pool.sandbox() for _ in range(4)]
def failure(what):
    try:
        what()
    except sbx.Error as error:
        return [error.name, error.message]
"""


@pytest.mark.parametrize("how", ["cancel", "crash"])
def test_a_host_dies(hub, how):
    program = hub.program.start(STARTED + """
answers, threads = {}, []
def work(n):
    begin = time.monotonic()
    limits = []
    error = failure(lambda: limits.append(boxes[n].run("sleep 5").limit))
    answers[n] = [boxes[n].id.split(".")[0], error, limits, time.monotonic() - begin]
for n in range(4):
    threads.append(threading.Thread(target=work, args=(n,)))
    threads[-1].start()
print("runs", flush=True)
dead = sys.stdin.readline().strip()
for thread in threads: thread.join()
for host, error, limits, seconds in answers.values():
    if host != dead:
        assert limits == [None], error
    elif limits:  # its agent was asked to end, and had the time to say so
        assert limits == ["sandbox"] and seconds < 4.5
    else:
        assert error[0] == "ERROR_AGENT" and dead in error[1] and "its job is" in error[1] and seconds < 4.5, (error, seconds)
lost = [box for box in boxes if box.id.split(".")[0] == dead]
begin = time.monotonic()
for box in lost:
    for call in (lambda: box.run("true"), lambda: box.read("a"), box.info, box.processes):
        name, message = failure(call)
        assert name == "ERROR_AGENT" and box.id in message and "with its host" in message, message
    box.kill()
assert time.monotonic() - begin < 1
for box in lost: box.close()
new = [pool.sandbox() for _ in range(2)]
assert dead not in [box.id.split(".")[0] for box in new]
assert all(box.run("echo on").out == b"on\\n" for box in boxes if box not in lost) and new[0].run("echo on").out == b"on\\n"
assert dead not in [host["id"] for host in pool.info()["hosts"]]
""")
    assert program.stdout.readline() == "runs\n", program.communicate()
    [dead, _] = hub.living()
    wait_until(lambda: sum("sleep" in p for p in map(str, dead.processes())) or len(dead.processes()) > 2, what="its commands")
    if how == "cancel":
        ask(hub, "POST", f"/api/jobs/alice/{dead.id}/cancel")
    else:
        import os
        import signal
        os.kill(dead.processes()[0], signal.SIGKILL)
    out, err = program.communicate(dead.id + "\n", timeout=60)
    assert program.returncode == 0, err
    assert len(hub.hosts()) == 3
    wait_until(lambda: not hub.living(), what="the end of all hosts")


def test_hosts_that_do_not_start(hub):
    hub.program.run("""
client = sbx.Client()
def failure(what):
    try:
        what()
    except sbx.Error as error:
        return error
error = failure(lambda: pools.create(client, image="no/such-image"))
assert error.code == sbx.AGENT and error.message.startswith("sbx_pool_create: ") and "pull image" in error.message, error
pool = pools.create(client, image="no/such-image", warm=-1)
error = failure(pool.sandbox)
assert error.code == sbx.AGENT and error.message.startswith("sbx_pool_sandbox: ") and "pull image" in error.message, error
begin = time.monotonic()
error = failure(lambda: pools.create(client, start_timeout_ms=700, name="slow"))
""")
    hub.dial(scheduling_delay=1000)
    hub.program.run("""
try:
    pools.create(sbx.Client(), start_timeout_ms=700, timeout_ms=30000)
    raise AssertionError("it is up")
except sbx.Error as error:
    assert error.code == sbx.TIMEOUT and "SCHEDULING" in error.message, error
""")
    wait_until(lambda: not hub.living(), what="the end of what was booted")


@pytest.mark.parametrize("off", [None, "pool-others"])
def test_others_use_the_host(hub, off):
    """Who booted it goes; his sandboxes end, the host and those of others stay."""
    other = hub.program.start("""
sys.stdin.readline()
with pools.connect(sbx.Client(), "p") as pool, pool.sandbox() as box:
    print(json.dumps(box.id), flush=True)
    sys.stdin.readline()
    try:
        print(box.run("echo still here").out.decode(), [row["id"] for row in pool.sandboxes()] == [box.id])
    except sbx.Error as error:
        print(error.name)
""")
    maker = hub.program.start("""
client = sbx.Client()
pool = pools.create(client, name="p")
boxes = [pool.sandbox() for _ in range(3)]
print("up", flush=True)
sys.stdin.readline()
for handle in (*boxes, pool, client): handle.close()
""", off=off)
    assert maker.stdout.readline() == "up\n"
    other.stdin.write("\n")
    other.stdin.flush()
    own = json.loads(other.stdout.readline())
    assert maker.communicate("\n", timeout=60)[1] == ""
    if off is not None:
        wait_until(lambda: not hub.living(), what="the end of the host")
    out, err = other.communicate("\n", timeout=60)
    assert other.returncode == 0, err
    assert out.split("\n")[0] == ("still here" if off is None else "ERROR_AGENT") and (off or "True" in out), (own, out)
    assert len(hub.living()) == (1 if off is None else 0)


@pytest.mark.parametrize("end", ["exit", "exit with handles", "kill"])
@pytest.mark.parametrize("off", [None, "pools-at-exit"])
def test_the_program_ends(hub, end, off):
    if (end == "kill") != (off is None and end == "kill") or (end == "exit" and off):
        pytest.skip("no such case")
    program = hub.program.start("""
client = sbx.Client()
pool = pools.create(client, warm=2, idle_timeout_ms=1000)
boxes = [pool.sandbox(idle_timeout_ms=1000) for _ in range(3)]
print("up", flush=True)
sys.stdin.readline()
if sys.argv[1] == "exit":
    for handle in (*boxes, pool, client): handle.close()
""", end, off=off)
    assert program.stdout.readline() == "up\n"
    assert len(hub.living()) == 2
    if end == "kill":
        program.kill()
        program.wait()
    else:
        assert program.communicate("\n", timeout=60)[1] == ""
        assert len(hub.living()) == (0 if off is None else 2)
    wait_until(lambda: not hub.living(), 20, "the end of the hosts, by their idle timer")


def test_a_host_that_was_idle_for_too_long(hub):
    """It ends by itself, and the next sandbox boots another one."""
    program = hub.program.start("""
pool = pools.create(sbx.Client(), idle_timeout_ms=1000)
with pool.sandbox() as box: first = box.id.split(".")[0]
print(first, flush=True)
sys.stdin.readline()
begin = time.monotonic()
with pool.sandbox() as box: assert box.run("echo in").out == b"in\\n" and box.id.split(".")[0] != first
print(time.monotonic() - begin)
""")
    first = program.stdout.readline().strip()
    wait_until(lambda: hub.jobs[first].stage == "COMPLETED", 20, "its end")
    out, err = program.communicate("\n", timeout=60)
    assert program.returncode == 0, err
    assert float(out) < 8


def test_a_sandbox_that_was_idle_for_too_long(hub):
    """It is said so, and its place is free again."""
    hub.program.run("""
pool = pools.create(sbx.Client(), sandboxes_per_host=1, max_hosts=1)
box = pool.sandbox(idle_timeout_ms=1000)
until = time.monotonic() + 20
while pool.sandboxes() and time.monotonic() < until: time.sleep(0.05)
with pool.sandbox() as other: assert other.run("echo in").out == b"in\\n"
try:
    box.run("true")
    raise AssertionError("it has ended")
except sbx.Error as error:
    assert error.code == sbx.AGENT and "it was idle, or somebody else has ended it" in error.message, error
""")


@pytest.mark.parametrize("off", [None, "creations-at-exit"])
def test_the_program_ends_while_a_host_starts(hub, off):
    hub.dial(scheduling_delay=1000)
    program = hub.program.start("""
threading.Thread(target=lambda: pools.create(sbx.Client()), daemon=True).start()
sys.stdin.readline()
sys.exit()
""", off=off)
    wait_until(lambda: hub.living(), what="the host")
    program.communicate("\n", timeout=60)
    if off is None:
        wait_until(lambda: not hub.living(), what="its end")
    else:
        assert len(hub.living()) == 1


def test_after_fork(hub):
    """The child cannot use its parent's pool, and does it no harm; it may make its own."""
    hub.program.run("""
client = sbx.Client()
pool = pools.create(client, name="p")
box = pool.sandbox()
child = os.fork()
if child == 0:
    try:
        for call in (pool.sandbox, pool.info, pool.sandboxes, pool.delete, lambda: pool.warm(1)):
            try:
                call()
                os._exit(1)
            except sbx.Error as error:
                if error.code != sbx.STATE: os._exit(2)
        for handle in (box, pool, client): handle.close()
        with sbx.Client() as own, pools.connect(own, "p") as same, same.sandbox() as other:
            good = other.run("echo in").out == b"in\\n"
        os._exit(0 if good else 3)
    except BaseException:
        os._exit(4)
assert os.waitpid(child, 0)[1] == 0
assert box.run("echo in").out == b"in\\n"
""")
    wait_until(lambda: not hub.living(), what="the end of the host")


@pytest.mark.parametrize("off, left", [("", 0), ("pool-kept", 1)])
def test_a_creation_that_fails_leaves_no_host_though_the_pool_was_to_stay(hub, off, left):
    """One host is up and another one waits to be scheduled when the time is over."""
    hub.next_jobs(1, scheduling_delay=0)
    hub.next_jobs(1, scheduling_delay=60)
    hub.program.run('''
try:
    pools.create(sbx.Client(), name="p", detached=1, warm=2, timeout_ms=5000)
except sbx.Error as e:
    assert e.code == sbx.TIMEOUT, e
else:
    raise AssertionError("no error")
''', off=off)
    if left == 0:
        wait_until(lambda: not hub.living(), what="the end of what was booted")
    assert len(hub.hosts()) == 2 and len(hub.living()) == left
