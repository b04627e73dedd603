"""Carries out a plan of pool_plan.py on a local Hub with several programs (pool_actor.py), and checks after each step what must hold of pools.

    with pool_crew.Crew(hub, off=None) as crew:
        Model(crew, plan).run()            raises Broken, which says the step, what happened in it, and which rule does not hold

The rules, when all calls of a step have returned:

    hosts       no more of them run or start than max_hosts; on one computer at no moment
    capacity    no host carries more sandboxes than sandboxes_per_host
    once        no sandbox was handed to two callers
    cancels     no client has canceled a host that carried somebody's sandbox, unless it deleted the pool
    boots       no more hosts were booted than the sandboxes asked for and the ends of hosts explain
    leaks       a host carries the sandboxes that somebody has, and no others
    answers     each sandbox that somebody has answers; when its host has ended, its calls fail at once with one clear error
    errors      a call fails only for what was done to it
"""
import asyncio
import hashlib
import hmac
import json
import math
import os
import shutil
import signal
import time
from pathlib import Path

import pool_cache_file
from localhub.ask import ask_port
from pool_crew import Broken, CALLS

PORT = 49983
PATIENCE = 40     # seconds for what goes on when no call waits for it: the end of sandboxes, and of hosts
SOON = 8          # seconds in which a call to something that has ended fails


class Box:
    """A sandbox that a call has given, or that nobody has a handle of any more."""

    def __init__(self, name, id, program, begun, detached):
        self.name, self.id, self.program, self.begun, self.detached = name, id, program, begun, detached
        self.host = id.split(".")[0]
        self.handle = True       # of its program
        self.left = math.inf     # when somebody began to end it
        self.unsure = False      # who wanted to end it was killed meanwhile

    @property
    def there(self):
        return self.left == math.inf


class Model:
    def __init__(self, crew, plan, patience=PATIENCE):
        self.crew, self.hub, self.plan, self.pool, self.patience = crew, crew.hub, plan, plan["pool"], patience
        self.per_host, self.max_hosts = self.pool["sandboxes_per_host"], self.pool["max_hosts"]
        self.boxes, self.handles, self.ids = {}, {}, {}
        self.deletions = []      # (begin, end)
        self.remembered = {}     # entries of cache files
        self.done, self.at_step = [], -1
        self.home = Path(self.hub.directory) / "homes" / self.pool["name"]
        self.judged = set()      # cancels that were looked at

    # ---------------------------------------------------------------- What the Hub shows

    def hosts(self):
        return [job for job in self.hub.jobs if job.labels.get("hf-sandbox-pool") == self.pool["name"]]

    def living(self):
        return [job for job in self.hosts() if job.running]

    def listing(self, job):
        """The names of the sandboxes on it; None when it does not answer."""
        token = hmac.new(self.hub.token.encode(), b"hf-sandbox:" + job.labels["hf-sandbox-nonce"].encode(), hashlib.sha256).hexdigest()
        try:
            reply = ask_port(self.hub, job, PORT, "GET", "/v1/sandboxes", headers={"X-Sandbox-Token": token}, timeout=10)
        except OSError:
            return None
        return {item["id"] for item in reply.json} if reply.status == 200 else None

    def eventually(self, condition, rule, what, seconds=None):
        deadline, wait = time.monotonic() + min(seconds or self.patience, self.patience), 0.002
        while not (value := condition()):
            if time.monotonic() > deadline:
                self.broken(rule, what() if callable(what) else what)
            time.sleep(wait)
            wait = min(wait * 1.5, 0.1)
        return value

    def broken(self, rule, what):
        steps = [json.dumps(step) for step in self.plan["steps"][:self.at_step + 1]]
        jobs = [f"{job.id} {job.stage} {job.message or ''} {job.created:.3f} - {job.finished or 0:.3f}" for job in self.hosts()]
        calls = [f"{r.at:.3f} {r.method} {r.path[:90]} {r.status} {r.job or ''} {r.action}{' FAULT' if r.fault else ''}" for r in self.hub.requests
                 if r.at >= self.began and r.kind in ("create", "list", "cancel", "inspect", "proxy")]
        said = [f"{op} -> {answer and {k: v for k, v in answer.items() if k != 'tag'}}" for op, answer in self.done]
        setting = {key: self.plan[key] for key in ("seed", "pool", "hub", "machines")}
        raise Broken("\n".join((f"rule '{rule}' is broken in step {self.at_step} of {setting}: {what}", "the last step's calls:", *said, "its requests:",
                                *calls[-80:], "hosts:", *jobs, "the steps so far:", *steps)))

    # ---------------------------------------------------------------- A step

    def home_of(self, program):
        return self.home / (str(program) if self.plan["machines"] else "all")

    def begin(self, number):
        return {"do": "begin", "pool": {**self.pool, "idle_timeout_ms": -1}, "home": str(self.home_of(number))}

    def run(self):
        self.hub.dial(**self.plan["hub"])
        self.home.mkdir(parents=True)
        self.expect(self.crew.ask({n: self.begin(n) for n in range(self.crew.count)}))
        for number in range(len(self.plan["steps"])):
            self.step(number)
        self.finish()

    def expect(self, answers):
        for answer in answers.values():
            if answer["name"] != "OK":
                self.broken("errors", answer)

    def step(self, number):
        self.at_step, self.done = number, []
        self.before = {job.id for job in self.living()}
        self.load = sum(box.there and box.host in self.before for box in self.boxes.values())
        self.began = time.time()
        known = len(self.hub.jobs)
        ops = [ready for op in self.plan["steps"][number] if (ready := self.ready(op)) is not None]
        for op in ops:
            if op.get("event") in ("fault", "cache"):
                self.arrange(op)
        tags = {self.crew.send(op["p"], op): op for op in ops if "do" in op}
        killed = set()
        for op in sorted((op for op in ops if op.get("event") in ("crash", "cancel", "stop")), key=lambda op: op["at"]):
            time.sleep(max(0, self.began + op["at"] - time.time()))
            self.happen(op, killed)
        answers, late = self.crew.gather({tag: op["p"] for tag, op in tags.items()}, time.monotonic() + CALLS, killed)
        self.ended = time.time()
        self.done = [(op, answers.get(tag)) for tag, op in tags.items()] + [(op, {"name": "OK", "begin": self.began}) for op in ops if "event" in op]
        self.done.sort(key=lambda pair: pair[1]["begin"] if pair[1] else 0)
        if late:
            self.broken("errors", f"these calls do not return: {[tags[tag] for tag in late]}")
        self.hub.clear_faults()
        self.booted = [job for job in list(self.hub.jobs)[known:] if job in self.hosts()]
        for op, answer in self.done:
            if "do" in op:
                self.take(op, answer)
        for program in killed:
            self.replace(program)
        self.check(orphans=bool(killed))

    def ready(self, op):
        """The op with what it needs to know; None when what it is about is not there."""
        if "event" in op:
            return op
        what = op["do"]
        if "h" in op and what != "open" and self.handles.get(op["h"]) != op["p"]:
            return None
        if "b" in op and what != "sandbox":
            box = self.boxes.get(op["b"])
            if box is None or not box.handle and what in ("kill", "close", "use"):
                return None
            return {**op, "id": box.id}
        return op

    def arrange(self, op):
        if op["event"] == "fault":
            self.hub.fault(**{key: value for key, value in op.items() if key not in ("event", "at", "refuses")})
            return
        home = self.home_of(op["home"])
        living = {job.id for job in self.living()}
        pool_cache_file.spoil(home, self.pool["name"], op["how"], op["number"], [h for id, h in self.remembered.items() if id not in living])

    def happen(self, op, killed):
        if op["event"] == "stop":
            process = self.crew.processes[op["p"]]
            process.kill()
            killed.add(op["p"])
            return
        living = self.living()
        if not living:
            return
        job = living[int(op["host"] * len(living))]
        op["id"] = job.id
        if op["event"] == "cancel":
            asyncio.run_coroutine_threadsafe(job.cancel(), self.hub.loop).result(20)
        elif job.container is not None and (pid := job.container.pid) is not None:
            os.kill(pid, signal.SIGKILL)
            self.eventually(lambda: not job.running, "answers", "a job does not end with its agent")

    def replace(self, program):
        self.crew.stop(program)
        self.crew.start(program)
        self.expect(self.crew.ask({program: self.begin(program)}))
        self.handles = {name: p for name, p in self.handles.items() if p != program}
        for box in self.boxes.values():
            if box.program == program:
                box.handle = False

    # ---------------------------------------------------------------- What calls have said

    def take(self, op, answer):
        what = op["do"]
        if answer is None:  # its program was killed
            if what in ("kill", "close", "kill_id"):
                self.boxes[op["b"]].unsure = True
            if what == "delete":
                self.deletions.append((self.began, self.ended + 1))
            return
        ok = answer["name"] == "OK"
        if not ok and not self.may_fail(op, answer["name"]):
            self.broken("errors", (op, answer))
        if what == "open" and ok:
            self.handles[op["h"]] = op["p"]
        elif what == "sandbox" and ok:
            box = Box(op["b"], answer["value"], op["p"], answer["begin"], "detached" in op)
            if box.id in self.ids:
                self.broken("once", f"{box.id} was handed out as {self.ids[box.id]} and as {op['b']}")
            self.ids[box.id] = op["b"]
            self.boxes[op["b"]] = box
        elif what in ("kill", "close", "kill_id"):
            box = self.boxes[op["b"]]
            if what != "close" or not box.detached:
                box.left = min(box.left, answer["begin"])
            if what != "kill_id":
                box.handle = False
        elif what in ("use", "join") and ok:
            said = answer["value"] if what == "use" else answer["value"][1]
            if said != op["id"].split(".")[1] and (said != "ended" or not self.may_fail(op, "AGENT")):
                self.broken("answers", (op, answer))
        if what in ("shut", "delete"):
            self.handles.pop(op["h"])
        if what == "delete":
            self.deletions.append((answer["begin"], answer["end"] + 0.2))

    def dead_in(self):
        """Hosts that have ended in this step, whoever ended them."""
        return [job for job in self.hosts() if not job.running and job.finished is not None and job.finished >= self.began]

    def asked(self):
        """Sandboxes that may have been alive at the same time in this step."""
        return self.load + sum(op.get("do") == "sandbox" for op, _ in self.done)

    def may_fail(self, op, name):
        what, deaths = op["do"], bool(self.dead_in())
        refused = any(o.get("refuses") for o, _ in self.done)
        deleted = any(o.get("do") == "delete" for o, _ in self.done)
        if name == "TIMEOUT":
            return "timeout_ms" in op
        if name == "CANCELED":
            return "cancel" in op
        if what in ("open", "sandbox", "warm") and (refused or (deaths and name in ("AGENT", "NOT_FOUND"))):
            return True
        if what == "open":
            return name == "NOT_FOUND" and op["how"] == "connect" and (not self.before or deaths)
        if what == "sandbox":
            full = self.max_hosts and (self.asked() > self.max_hosts * self.per_host or deaths)
            return (name == "BUSY" and full) or (name == "NOT_FOUND" and not self.before) or (name == "STATE" and deleted)
        if what == "warm":
            return name == "NOT_FOUND" and not self.before
        if what in ("use", "join", "kill_id"):
            box = self.boxes[op["b"]]
            ended = not box.there or not self.hub.jobs[box.host].running
            return ended and name in ("AGENT", "NOT_FOUND")
        if what in ("info", "list", "delete"):
            return refused or deaths and name == "AGENT"
        return False

    # ---------------------------------------------------------------- The rules

    def check(self, orphans=False):
        self.check_hosts()
        self.check_cancels()
        self.check_boots()
        self.check_sandboxes(orphans)
        self.check_answers()
        self.check_cancels()
        for number in range(self.crew.count):
            self.remembered |= pool_cache_file.hosts_in(self.home_of(number), self.pool["name"])

    def check_hosts(self):
        if not self.max_hosts:
            return
        if self.plan["machines"]:
            self.eventually(lambda: len(self.living()) <= self.max_hosts, "hosts", lambda: f"{len(self.living())} hosts of at most {self.max_hosts}", 15)
            return
        changes = sorted([(job.created, 1) for job in self.hosts()] + [(job.finished, -1) for job in self.hosts() if job.finished is not None])
        count = most = 0
        for _, change in changes:
            count += change
            most = max(most, count)
        if most > self.max_hosts:
            self.broken("hosts", f"{most} hosts at a time, of at most {self.max_hosts}")

    def check_cancels(self):
        for request in self.hub.requests.of("cancel"):
            job = self.hub.jobs[request.path.split("/")[-2]]
            if (job.id, request.at) in self.judged or job.labels.get("hf-sandbox-pool") != self.pool["name"]:
                continue
            self.judged.add((job.id, request.at))
            if any(begin <= request.at <= end for begin, end in self.deletions) or (job.finished or math.inf) < request.at - 0.001:
                continue
            victims = [box.name for box in self.boxes.values() if box.host == job.id and box.begun <= request.at < box.left]
            if victims:
                self.broken("cancels", f"a client has canceled {job.id} at {request.at:.3f}, which carried {victims}")

    def check_boots(self):
        warm = [op["hosts"] for op, _ in self.done if op.get("do") == "warm"]
        warm += [op["warm"] or 1 for op, _ in self.done if op.get("do") == "open" and op["how"] == "create"]
        needed = max([math.ceil(self.asked() / self.per_host), *warm])
        usable = len(self.before) + len(self.booted) - len(self.dead_in())
        if self.booted and usable > max(needed, len(self.before)) and not self.settled(needed):
            self.broken("boots", f"{len(self.booted)} hosts were booted and {usable} live, where {needed} would do")

    def settled(self, needed):
        """Those that were booted at the same moment on another computer, or for a call that was given up, may be on their way to their end."""
        deadline = time.monotonic() + min(10, self.patience)
        while time.monotonic() < deadline:
            if len(self.living()) <= max(needed, len(self.before)):
                return True
            time.sleep(0.05)
        return False

    def expected(self, job):
        return {box.id.split(".")[1] for box in self.boxes.values() if box.host == job.id and box.there and not box.unsure}

    def check_sandboxes(self, orphans=False):
        """What a host carries is what somebody has; of a program that was killed it may carry what it has just made."""
        if orphans:
            time.sleep(0.3)  # what that program has sent
        for job in self.living():
            self.listed = set()
            self.eventually(lambda job=job: self.agrees(job, orphans), "leaks", lambda job=job: (
                f"{job.id} ({job.stage}) carries {self.listed}, of which nobody has {self.listed - self.expected(job)}"))
            if orphans:
                self.adopt(job)

    def agrees(self, job, orphans):
        if job.stage == "SCHEDULING":
            return not self.expected(job)
        names = self.listing(job)
        if names is None:
            return not job.running
        self.listed = names
        if len(names) > self.per_host:
            self.broken("capacity", f"{job.id} carries {len(names)} sandboxes, of at most {self.per_host}")
        if (gone := self.expected(job) - names) and job.running:
            self.broken("leaks", f"{job.id} does not carry {gone} any more")
        return orphans or names == self.expected(job)

    def adopt(self, job):
        for box in self.boxes.values():
            if box.host == job.id and box.unsure:
                box.unsure = False
                if box.id.split(".")[1] not in self.listed:
                    box.left = self.began
        for name in self.listed - self.expected(job):
            orphan = f"{job.id}.{name}"
            self.boxes[orphan] = Box(orphan, orphan, None, self.began, True)
            self.boxes[orphan].handle = False

    def check_answers(self):
        held = {}
        for box in self.boxes.values():
            if box.handle:
                held.setdefault(box.program, []).append(box.name)
        new = {op["b"] for op, _ in self.done if op.get("do") == "sandbox"}
        asked = {}
        for program, names in held.items():
            lost = [name for name in names if not self.boxes[name].there or not self.hub.jobs[self.boxes[name].host].running]
            old = [name for name in names if name not in new and name not in lost]
            some = [old[(self.at_step * 7 + k) % len(old)] for k in range(min(2, len(old)))]
            asked[program] = (sorted({*some, *lost, *(name for name in names if name in new)}), lost)
        answers = self.crew.ask({p: {"do": "uses", "boxes": names} for p, (names, _) in asked.items() if names})
        for program, answer in answers.items():
            if answer["name"] != "OK":
                self.broken("answers", answer)
            for name, (status, text, seconds) in answer["value"].items():
                self.check_answer(self.boxes[name], status, text, seconds)
        self.expect(self.crew.ask({p: {"do": "drop", "boxes": lost} for p, (_, lost) in asked.items() if lost}))
        for _, lost in asked.values():
            for name in lost:
                self.boxes[name].handle = False
                self.boxes[name].left = min(self.boxes[name].left, time.time())

    def check_answer(self, box, status, text, seconds):
        ended = not self.hub.jobs[box.host].running
        if status == "OK" and not ended and box.there and text == box.id.split(".")[1]:
            return
        clear = status == "ERROR_AGENT" and box.id in text
        if (not ended and box.there) or (not clear and not (status == "OK" and text == "ended")):
            self.broken("answers", f"{box.name}, {box.id}, {'ended' if ended or not box.there else 'alive'}, says {status} {text}")
        if seconds > SOON:
            self.broken("answers", f"{box.name} took {seconds:.1f} s to say that it has ended")

    # ---------------------------------------------------------------- The end

    def finish(self):
        """Everybody ends what is theirs and gives everything back: nothing is left."""
        self.at_step, self.done = len(self.plan["steps"]), []
        self.began = self.ended = time.time()
        self.before = {job.id for job in self.living()}
        for box in self.boxes.values():
            if box.there and not box.handle and self.hub.jobs[box.host].running:
                answer = self.crew.ask({0: {"do": "kill_id", "id": box.id}})[0]
                if answer["name"] != "OK":
                    self.broken("errors", (box.id, answer))
        asked = []
        for box in self.boxes.values():
            box.left = min(box.left, time.time())
            if box.handle:
                asked.append((self.crew.send(box.program, {"do": "kill", "b": box.name}), box.program))
        answers, late = self.crew.gather(dict(asked), time.monotonic() + CALLS)
        if late or any(answer["name"] != "OK" for answer in answers.values()):
            self.broken("errors", f"at the end: {late} {answers}")
        self.check_sandboxes()
        self.check_cancels()
        self.deletions.append((time.time(), math.inf))
        self.expect(self.crew.ask({0: {"do": "sweep"}}))
        self.eventually(lambda: not self.living(), "leaks", lambda: f"these hosts are left: {[job.id for job in self.living()]}", 5)
        self.expect(self.crew.ask({n: {"do": "end"} for n in range(self.crew.count)}))
        self.eventually(lambda: not any(job.processes() for job in self.hosts()), "leaks", "processes of hosts are left")
        shutil.rmtree(self.home, ignore_errors=True)
