"""What the model test of pools does: a plan made from a seed alone, so that it can be made again.

    plan = make(7, steps=25)       {"seed", "pool": {...}, "hub": {...}, "machines", "steps": [[op, ...], ...]}

The ops of one step begin at about the same moment, each in a thread of its program (after "at" seconds). Things have names: h3 is a handle of a
pool, b5 a sandbox, or what a call that failed would have been; an op on something that never was, or is not any more, is left out when it is
its turn. Hosts are chosen by a fraction of those that live then.
"""
import random

PROGRAMS = 3
OPS = {"sandbox": 40, "kill": 14, "close": 8, "kill_id": 7, "join": 6, "use": 10, "warm": 3, "info": 3, "list": 3, "open": 5, "shut": 4}
EVENTS = {"none": 52, "lost": 14, "refused": 5, "slow": 5, "cache": 14, "crash": 5, "cancel": 5, "stop": 4, "delete": 2}
LOST = ({"cut": "after"}, {"cut": "before"}, {"status": 500, "acts": True}, {"status": 504, "acts": True})
LOST_BY_PROXY = ({"cut": "after"}, {"cut": "before"}, {"cut": "after", "orderly": True}, {"cut": "reply", "bytes": 20}, {"status": 502})
AT_HOSTS = (("POST", "/v1/sandboxes"), ("GET", "/v1/sandboxes"), ("DELETE", "/v1/sandboxes/"), ("GET", "/health"), ("POST", "/v1/retire"))
CACHE = ("remove", "garbage", "cut", "empty hosts", "full hosts", "ghosts", "the dead", "other nonce", "large hosts", "old", "version", "other settings")


class Planner:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.handles, self.boxes, self.names = {}, {}, 0
        self.taken = set()  # what an op of this step uses

    def name(self, letter):
        self.names += 1
        return f"{letter}{self.names}"

    def pick(self, of):
        free = [name for name in of if name not in self.taken]
        if not free:
            return None
        name = self.random.choice(free)
        self.taken.add(name)
        return name

    def weighted(self, table):
        return self.random.choices(list(table), list(table.values()))[0]

    def open(self, program=None, how=None):
        program = self.random.randrange(PROGRAMS) if program is None else program
        how = how or self.random.choice(("create", "create", "connect"))
        name = self.name("h")
        self.taken.add(name)
        self.handles[name] = program
        warm = self.random.choice((-1, -1, 0, 1, 2)) if how == "create" else 0
        return {"do": "open", "p": program, "h": name, "how": how, "warm": warm, "client": self.random.randrange(2)}

    def sandbox(self):
        handles = [name for name in self.handles if name not in self.taken or name in self.shared]
        if not handles:
            return self.open(how="create")
        handle = self.random.choice(handles)
        self.taken.add(handle)
        self.shared.add(handle)
        op = {"do": "sandbox", "p": self.handles[handle], "h": handle, "b": self.name("b")}
        chance = self.random.random()
        if chance < 0.08:
            op["timeout_ms"] = self.random.choice((1, 20, 60, 200))
        elif chance < 0.16:
            op["cancel"] = self.random.choice((0.0, 0.01, 0.05, 0.2))
        elif chance < 0.24:
            op["detached"] = 1
        self.boxes[op["b"]] = op["p"]
        self.taken.add(op["b"])
        return op

    def op(self):
        what = self.weighted(OPS)
        if what == "open":
            return self.open()
        if what in ("kill", "close", "use", "kill_id", "join"):
            box = self.pick(self.boxes)
            if box is None:
                return self.sandbox()
            op = {"do": what, "p": self.boxes[box], "b": box}
            if what in ("kill_id", "join"):
                op["p"] = self.random.randrange(PROGRAMS)
            if what in ("kill", "close"):
                del self.boxes[box]
            return op
        if what in ("warm", "info", "list", "shut"):
            handle = self.pick(self.handles)
            if handle is None or (what == "shut" and len(self.handles) == 1):
                return self.sandbox()
            op = {"do": what, "p": self.handles[handle], "h": handle}
            if what == "warm":
                op["hosts"] = self.random.randrange(1, 3)
            if what == "shut":
                del self.handles[handle]
            return op
        return self.sandbox()

    def event(self):
        what = self.weighted(EVENTS)
        if what == "lost":
            if self.random.random() < 0.5:
                kind = self.random.choice(("create", "create", "list", "cancel", "inspect", "whoami"))
                return {"event": "fault", "kind": kind, "count": self.random.randrange(1, 3), **self.random.choice(LOST)}
            method, path = self.random.choice(AT_HOSTS)
            return {"event": "fault", "kind": "proxy", "method": method, "path": path, "count": self.random.randrange(1, 3),
                    **self.random.choice(LOST_BY_PROXY)}
        if what == "refused":
            return {"event": "fault", "kind": self.random.choice(("create", "create", "list")), "status": self.random.choice((400, 403, 503)), "count": 1,
                    "refuses": True}
        if what == "slow":
            kind = self.random.choice(("create", "list", "proxy", "cancel"))
            more = {"path": self.random.choice(("/v1/sandboxes", "/v1/retire"))} if kind == "proxy" else {}
            return {"event": "fault", "kind": kind, "delay": self.random.choice((0.05, 0.2)), "count": 4, **more}
        if what == "cache":
            return {"event": "cache", "how": self.random.choice(CACHE), "home": self.random.randrange(PROGRAMS), "number": self.random.randrange(1 << 30)}
        if what in ("crash", "cancel"):
            return {"event": what, "host": self.random.random(), "at": round(self.random.random() * 0.1, 3)}
        if what == "stop":
            program = self.random.randrange(PROGRAMS)
            return {"event": "stop", "p": program, "at": round(self.random.random() * 0.1, 3)}
        if what == "delete":
            handle = self.pick(self.handles)
            if handle is not None:
                return {"do": "delete", "p": self.handles.pop(handle), "h": handle}
        return None

    def step(self, first):
        self.taken, self.shared = set(), set()
        if first:
            ops = [self.open(program, "create") for program in self.random.sample(range(PROGRAMS), self.random.randrange(1, PROGRAMS + 1))]
        else:
            ops = [self.op() for _ in range(self.random.randrange(1, 6))]
        event = None if first else self.event()
        for op in ops:
            op["at"] = round(self.random.choice((0, 0, 0.005, 0.03)) * self.random.random(), 4)
        if event is not None:
            event.setdefault("at", 0)
            ops.append(event)
            if event.get("event") == "stop":  # and comes back without anything
                self.handles = {name: program for name, program in self.handles.items() if program != event["p"]}
                self.boxes = {name: program for name, program in self.boxes.items() if program != event["p"]}
        return ops


def make(seed, steps):
    planner = Planner(seed)
    choice = planner.random.choice
    pool = {"name": f"m{seed}", "sandboxes_per_host": choice((1, 2, 3, 5)), "max_hosts": choice((0, 0, 1, 2, 3)), "spread": choice((0, 1))}
    hub = {"scheduling_delay": choice((0.0, 0.02, 0.1, 0.3)), "page_size": choice((1, 100, 100)), "list_environment": choice((True, False))}
    return {"seed": seed, "pool": pool, "hub": hub, "machines": choice((False, False, False, True)),
            "steps": [planner.step(number == 0) for number in range(steps)]}
