"""Random walks: three programs, two of which share a computer, create and end sandboxes in one pool, alone and at the same moment, while hosts die, replies
are lost and the file of hosts is old or broken. After each step the rules are checked: no sandbox is handed out twice, no host carries more than it may, no
more than max_hosts are up, no host ends that somebody uses but for those that were made to die, and what was made answers."""
# ctest: serial timeout=400
import collections
import glob
import os
import random
import shutil
import signal
import threading

import pytest
from agent import wait_until
from conftest import PoolDriver
from localhub.ask import ask

PER_HOST, MAX_HOSTS = 4, 3
STEPS = int(os.environ.get("SBX_MODEL_STEPS", "150"))
SEEDS = [int(seed) for seed in os.environ.get("SBX_MODEL_SEEDS", "1,2").split(",")]

OPEN = """
if not hasattr(sbx, "client"): sbx.client = sbx.Client()
if not hasattr(sbx, "boxes"): sbx.boxes = {}
if not hasattr(sbx, "pool"):
    sbx.pool = pools.create(sbx.client, name="model", warm=-1, sandboxes_per_host=%d, max_hosts=%d, idle_timeout_ms=4000, spread=args[0], detached=args[1])
""" % (PER_HOST, MAX_HOSTS)
CREATE = """
made, failed, lock = [], [], threading.Lock()
def work():
    try:
        box = sbx.pool.sandbox(timeout_ms=50000)
        with lock: made.append(box)
    except sbx.Error as error:
        with lock: failed.append([error.name, error.message])
threads = [threading.Thread(target=work) for _ in range(args[0])]
for thread in threads: thread.start()
for thread in threads: thread.join()
for box in made: sbx.boxes[box.id] = box
value = [[box.id for box in made], failed]
del box, made, work
""".replace("del box, made, work", "made = box = None")
RUN = """
value = []
for id in args[0]:
    try:
        assert sbx.boxes[id].run("echo on").out == b"on\\n"
    except sbx.Error as error:
        value.append([id, error.name, error.message])
"""
KILL = """
try:
    if args[1]: sbx.boxes.pop(args[0]).kill()
    else: sbx.client.kill(args[0])
    value = "OK"
except sbx.Error as error:
    value = error.name
"""
CLOSE = """
for box in sbx.boxes.values(): box.close()
sbx.boxes.clear()
sbx.pool.close()
del sbx.pool
"""


class Model:
    def __init__(self, hub, drivers, seed):
        self.hub, self.drivers, self.random = hub, drivers, random.Random(seed)
        self.alive, self.seen, self.killed, self.log, self.caches = {}, set(), set(), [], []
        self.done = collections.Counter()
        for n in range(len(drivers)):
            self.open(n)

    def ask(self, n, text, *args):
        done = self.drivers[n].ask(text, *args)
        assert done.name == "OK", (done, self.log[-10:])
        return done.value

    def open(self, n):
        # The first leaves its hosts to the others, whatever it does.
        self.ask(n, OPEN, self.random.randint(0, 1), int(n == 0))

    def note(self, n, answer):
        made, failed = answer
        for id in made:
            assert id not in self.seen, f"{id} was handed out twice"
            self.seen.add(id)
            self.alive[id] = n
        for name, message in failed:
            self.done[name] += 1
            # A host may die with a request on its way, and a reply may be lost for good.
            assert name in ("ERROR_BUSY", "ERROR_UNKNOWN_OUTCOME", "ERROR_CONNECTION", "ERROR_AGENT"), message

    # -- Steps

    def create(self):
        n = self.random.randrange(len(self.drivers))
        answer = self.ask(n, CREATE, self.random.randint(1, 4))
        self.note(n, answer)
        # Nobody is turned away while there is room, but for what is still being ended or was lost on its way.
        if self.log[-2:-1] not in (["lost_reply"], ["reopen"]) and any(name == "ERROR_BUSY" for name, _ in answer[1]):
            assert len(self.alive) == PER_HOST * MAX_HOSTS, answer

    def create_together(self):
        answers = [None] * len(self.drivers)

        def work(n):
            answers[n] = self.ask(n, CREATE, 2)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(self.drivers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for n, answer in enumerate(answers):
            self.note(n, answer)

    def kill(self):
        if self.alive:
            id = self.random.choice(sorted(self.alive))
            owner, n = self.alive.pop(id), self.random.randrange(len(self.drivers))
            answer = self.ask(n, KILL, id, n == owner)
            assert answer in ("OK", "ERROR_NOT_FOUND"), answer

    def kill_many(self):
        for _ in range(5):
            self.kill()

    def death(self):
        living = self.hub.living()
        if living:
            job = self.random.choice(living)
            self.killed.add(job.id)
            self.alive = {id: n for id, n in self.alive.items() if not id.startswith(job.id)}
            processes = job.processes()
            if self.random.random() < 0.5 or not processes:
                ask(self.hub, "POST", f"/api/jobs/alice/{job.id}/cancel")
            else:
                try:
                    os.kill(processes[0], signal.SIGKILL)
                except ProcessLookupError:
                    pass
            wait_until(lambda: job.stage not in ("SCHEDULING", "RUNNING"), what="its end")

    def lost_reply(self):
        kind = self.random.choice(["create", "list", "inspect", "cancel", "proxy", "proxy"])
        cut = self.random.choice(["before", "after"])
        if kind == "proxy":
            method, path = self.random.choice([("POST", "/v1/sandboxes"), ("GET", "/v1/sandboxes"), ("DELETE", "/v1/sandboxes/"), ("GET", "/health")])
            self.hub.fault("proxy", method=method, path=path, cut=cut, count=self.random.randint(1, 3))
        else:
            self.hub.fault(kind, cut=cut, count=self.random.randint(1, 2))

    def cache(self):
        """An older state of the file comes back, or rubbish."""
        [path] = glob.glob(str(self.hub.directory) + "/**/model.json", recursive=True)[:1] or [None]
        if path is None:
            return
        what = self.random.choice(["keep", "restore", "break", "remove"])
        if what == "keep":
            shutil.copy(path, path + f".kept{len(self.caches)}")
            self.caches.append(path + f".kept{len(self.caches)}")
        elif what == "restore" and self.caches:
            shutil.copy(self.random.choice(self.caches), path)
        elif what == "break":
            with open(path, "r+") as file:
                file.truncate(self.random.randrange(200))
        elif what == "remove":
            os.unlink(path)

    def reopen(self):
        n = self.random.randrange(len(self.drivers))
        self.ask(n, CLOSE)
        self.alive = {id: owner for id, owner in self.alive.items() if owner != n}
        self.open(n)

    # -- Rules

    def check(self):
        self.hub.clear_faults()
        wait_until(lambda: len(self.hub.living()) <= MAX_HOSTS, 10, f"that at most {MAX_HOSTS} hosts are up")
        per_host = collections.Counter(id.split(".")[0] for id in self.alive)
        assert not per_host or max(per_host.values()) <= PER_HOST, per_host
        living = {job.id for job in self.hub.living()}
        assert set(per_host) <= living, f"hosts that were in use have ended: {set(per_host) - living}"
        for n in range(len(self.drivers)):
            own = [id for id, owner in self.alive.items() if owner == n]
            bad = self.ask(n, RUN, self.random.sample(own, min(2, len(own))))
            assert not bad, bad

    def step(self):
        what = self.random.choices([self.create, self.create_together, self.kill, self.kill_many, self.death, self.lost_reply, self.cache, self.reopen],
                                   [6, 4, 5, 2, 1, 4, 2, 2])[0]
        self.log.append(what.__name__)
        self.done[what.__name__] += 1
        what()
        if what != self.lost_reply:  # it shows in the step that follows
            self.check()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_walk(hub, seed, tmp_path):
    hub.dial(scheduling_delay=0.15)
    with PoolDriver(hub) as one, PoolDriver(hub) as two, PoolDriver(hub, HF_HOME=tmp_path / "another") as three:
        model = Model(hub, [one, two, three], seed)
        try:
            for _ in range(STEPS):
                model.step()
            for n in range(3):
                model.ask(n, CLOSE + "sbx.client.close()")
        except BaseException:
            print(model.log[-20:], model.done, [(job.id, job.stage) for job in hub.jobs])
            raise
        print(model.done, len(model.seen), len(hub.jobs))
        assert len(model.seen) > STEPS / 2
    wait_until(lambda: not hub.living(), 20, "the end of the hosts, by their idle timer")
