"""Threads, programs and machines that create in one pool at the same time: never the same sandbox twice, never more than a host carries, never more
than max_hosts, never two hosts where one would do."""
# ctest: timeout=400
import json
import math

import pytest
from agent import wait_until

CREATE = """
arguments = json.loads(sys.argv[1])
client = sbx.Client()
pool = pools.create(client, warm=-1, **arguments["pool"])
made, failed, lock = [], [], threading.Lock()
def work():
    for _ in range(arguments["each"]):
        try:
            box = pool.sandbox(timeout_ms=60000)
            with lock: made.append(box)
        except sbx.Error as error:
            with lock: failed.append([error.name, error.message])
threads = [threading.Thread(target=work) for _ in range(arguments["threads"])]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
assert all(box.run("echo $SBX_SANDBOX_ID").out.decode().strip() == box.id.split(".")[1] for box in made)
print(json.dumps({"made": [box.id for box in made], "failed": failed}), flush=True)
sys.stdin.readline()
for handle in (*made, pool, client): handle.close()
"""


class Crowd:
    """Several programs that do the same at the same moment."""

    def __init__(self, hub, count, threads, each, machines=False, off=None, **pool):
        self.hub = hub
        arguments = json.dumps({"pool": {"name": "p", "idle_timeout_ms": 3000, **pool}, "threads": threads, "each": each})
        homes = [{"HF_HOME": f"/tmp/sbx-crowd-{n}-nowhere/{n}"} if machines else {} for n in range(count)]
        self.programs = [hub.program.start(CREATE, arguments, off=off, **home) for home in homes]
        for program in self.programs:
            assert program.stdout.readline() == "ready\n", program.communicate()
        for program in self.programs:
            program.stdin.write("\n")
            program.stdin.flush()
        self.answers = [json.loads(program.stdout.readline()) for program in self.programs]
        self.made = [id for answer in self.answers for id in answer["made"]]
        self.failed = [error for answer in self.answers for error in answer["failed"]]
        self.hosts = {id.split(".")[0] for id in self.made}

    def end(self):
        for program in self.programs:
            out, err = program.communicate("\n", timeout=60)
            assert program.returncode == 0 and "Sanitizer" not in err, err
        # Who booted a host leaves it to the others; their going is noticed by its idle timer.
        wait_until(lambda: not self.hub.living(), 20, "the end of all hosts")

    def check(self, per_host):
        assert len(set(self.made)) == len(self.made), "one sandbox was handed out twice"
        for host in self.hosts:
            assert sum(id.startswith(host + ".") for id in self.made) <= per_host


@pytest.mark.parametrize("programs,threads,each,per_host", [(1, 8, 3, 5), (3, 8, 2, 50), (3, 4, 2, 7)])
def test_one_machine(hub, programs, threads, each, per_host):
    hub.dial(scheduling_delay=0.3)
    crowd = Crowd(hub, programs, threads, each, sandboxes_per_host=per_host)
    total = programs * threads * each
    assert not crowd.failed and len(crowd.made) == total, crowd.failed
    crowd.check(per_host)
    # The lock of this computer: as many hosts as that many sandboxes need, though they came in any order, and one more at most for each
    # program that could not know of the others' wishes.
    needed = math.ceil(total / per_host)
    assert needed <= len(hub.hosts()) <= (needed if programs == 1 or needed == 1 else needed + programs - 1), len(hub.hosts())
    crowd.end()


def test_control_of_the_lock(hub):
    hub.dial(scheduling_delay=0.3)
    hub.fault("list", delay=0.3, count=3)  # so that all have looked before any is there
    crowd = Crowd(hub, 3, 2, 1, off="pool-lock,pool-race", sandboxes_per_host=50)
    assert len(hub.hosts()) > 1
    crowd.end()


@pytest.mark.parametrize("max_hosts,machines,delay", [(1, False, 0.3), (2, False, 0.3), (1, True, 0.5), (2, True, 0.5), (1, True, 0.01), (2, True, 0.01)])
def test_never_more_than_max_hosts(hub, max_hosts, machines, delay):
    """Several computers have no lock in common: who sees that he was not the first takes his host back, also when it runs already."""
    hub.dial(scheduling_delay=delay)
    if machines:
        hub.fault("list", delay=0.3, count=3)  # so that all have looked before any is there
    crowd = Crowd(hub, 3, 4, 1, machines=machines, sandboxes_per_host=4, max_hosts=max_hosts)
    crowd.check(4)
    assert len(crowd.made) == 4 * max_hosts and len(crowd.hosts) == max_hosts, (crowd.made, crowd.failed)
    assert all(name == "ERROR_BUSY" for name, _ in crowd.failed), crowd.failed
    wait_until(lambda: len(hub.living()) == max_hosts, what="the end of those that were one too many")
    if not machines:
        assert len(hub.hosts()) == max_hosts
    crowd.end()


@pytest.mark.parametrize("off", [None, "pool-race"])
def test_several_machines_boot_one_host(hub, off):
    hub.dial(scheduling_delay=1.0)
    hub.fault("list", delay=0.3, count=3)  # so that all have looked before any is there
    crowd = Crowd(hub, 3, 2, 1, machines=True, off=off, sandboxes_per_host=50)
    assert not crowd.failed and len(crowd.made) == 6, crowd.failed
    crowd.check(50)
    if off is None:
        assert len(crowd.hosts) == 1 and [job.id for job in hub.living()] == list(crowd.hosts)
    else:
        assert len(hub.living()) > 1
    crowd.end()


@pytest.mark.parametrize("off", [None, "pool-driven"])
def test_the_lock_is_given_back(hub, off):
    """Who began to boot and then got his place otherwise keeps nobody from booting, though he makes no further call."""
    one = hub.program.start("""
pool = pools.create(sbx.Client(), name="p", sandboxes_per_host=2)
boxes = [pool.sandbox(), pool.sandbox()]
print("full", flush=True)
sys.stdin.readline()
def work():
    boxes.append(pool.sandbox(timeout_ms=20000))
thread = threading.Thread(target=work)
thread.start()
time.sleep(0.4)
boxes[0].kill()
thread.join()
print("placed", flush=True)
sys.stdin.readline()
""", off=off)
    assert one.stdout.readline() == "full\n", one.communicate()
    hub.fault("list", delay=1.5, count=1)
    one.stdin.write("\n")
    one.stdin.flush()
    assert one.stdout.readline() == "placed\n", one.communicate()
    out = hub.program.run("""
pool = pools.connect(sbx.Client(), "p")
try:
    with pool.sandbox(timeout_ms=6000) as box: print(box.run("echo in").out.decode())
except sbx.Error as error:
    print(error.name, error.message)
""")
    assert out.startswith("in" if off is None else "ERROR_TIMEOUT") and (off is None or "another program boots" in out), out
    assert one.communicate("\n", timeout=60)[1] == ""
