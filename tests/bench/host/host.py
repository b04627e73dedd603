"""Host mode: what a sandbox costs the agent, and what many of them cost each other. One table.

    tests/bench/run.sh --host [--sandboxes N] [--rounds N]

Needs root. Processor time of the agent is that of its threads and of the children that it has collected; the spawn itself is measured beside it as
posix_spawn and wait of the same program. Homes lie on a tmpfs; a row says what the disk below the temporary directory makes of it. Exit status 1: a goal was missed."""
import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from host_agent import HostAgent

COMMAND = "/bin/true"
EXEC = json.dumps({"cmd": [COMMAND]}).encode()
missed = 0


def row(name, value, unit, baseline="-", base=None, goal=None):
    """goal: of the ratio where there is a baseline's value, else of the value."""
    global missed
    ratio = value / base if base else None
    reached = ratio if base else value
    text = ""
    if goal is not None:
        ok = reached <= goal
        missed += not ok
        text = f"{'ratio' if base else 'value'} <= {goal:g}" + ("" if ok else "  MISSED")
    numbers = [f"{number:.3f}" if number is not None else "-" for number in (base, ratio)]
    print(f"{name:<58} {value:>9.3f} {unit:<5} {baseline:<26} {numbers[0]:>9} {numbers[1]:>7}  {text}", flush=True)


def spawn_cost(times):
    """Milliseconds of wall clock (median) and of processor, this process's own part included, of one posix_spawn and wait."""
    before, took = os.times(), []
    for _ in range(times):
        begin = time.perf_counter()
        os.waitpid(os.posix_spawn(COMMAND, [COMMAND], {}), 0)
        took.append(time.perf_counter() - begin)
    after = os.times()
    return statistics.median(took) * 1000, sum(after[i] - before[i] for i in range(4)) / times * 1000


class Host(HostAgent):
    def __init__(self, capacity, place):
        tempfile.tempdir = place
        super().__init__(capacity=capacity, static=Path(os.environ["SBX_BUILD"]) / "bin/hfsandbox-agent")
        tempfile.tempdir = None

    def open(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)

    def ask(self, method, target, body=None, token=None):
        self.connection.request(method, target, body, {"X-Sandbox-Token": token or self.token})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"{method} {target}: {answer.status} {text}")
        return text

    def make(self):
        return json.loads(self.ask("POST", "/v1/sandboxes"))["sandboxes"][0]

    def exec(self, sandbox):
        self.ask("POST", f"/v1/sandboxes/{sandbox['id']}/exec", EXEC, sandbox["token"])

    def processor(self):
        """Milliseconds so far, of its threads and of its collected children."""
        own = sum(int(Path(f"/proc/{self.pid}/task/{task}/schedstat").read_text().split()[0]) for task in os.listdir(f"/proc/{self.pid}/task"))
        stat = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return own / 1e6 + (int(stat[13]) + int(stat[14])) * 1000 / os.sysconf("SC_CLK_TCK")

    def memory(self):
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])


def timed(calls):
    took = []
    for call in calls:
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1000


def lives(count, place):
    """A whole life of each: made, one command, ended."""
    with Host(count + 1, place) as host:
        host.open()
        first = host.make()
        for _ in range(50):
            host.exec(first)
        alone = timed([lambda: host.exec(first)] * count)
        memory, before = host.memory(), host.processor()
        made = []
        create = timed([lambda: made.append(host.make())] * count)
        memory = (host.memory() - memory) / count
        crowd = timed([lambda s=s: host.exec(s) for s in made])
        end = timed([lambda s=s: host.ask("DELETE", f"/v1/sandboxes/{s['id']}") for s in made])
        return {"alone": alone, "crowd": crowd, "create": create, "end": end, "memory": memory, "processor": (host.processor() - before) / count}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sandboxes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{'figure':<58} {'value':>9} {'unit':<5} {'baseline':<26} {'value':>9} {'ratio':>7}  goal")
    rounds, spawns = [], []
    for _ in range(args.rounds):
        spawns.append(spawn_cost(args.sandboxes))
        rounds.append(lives(args.sandboxes, "/dev/shm"))
    of = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    wall, processor = (statistics.median(column) for column in zip(*spawns))
    n = args.sandboxes
    row("create p50", of["create"], "ms", "posix_spawn + wait p50", wall)
    row(f"exec {COMMAND} p50, one sandbox", of["alone"], "ms", "posix_spawn + wait p50", wall)
    row(f"exec {COMMAND} p50, each of {n} alive", of["crowd"], "ms", "with one sandbox", of["alone"], goal=1.3)
    row("end confirmed p50", of["end"], "ms", "posix_spawn + wait p50", wall)
    row("agent processor time of a whole life beyond the spawn", of["processor"] - processor, "ms", "the spawn itself: " + format(processor, ".3f"), goal=3)
    row("agent memory of a sandbox", of["memory"], "KiB", goal=30)
    disk = lives(n, None)
    row("for comparison: create p50, homes on the disk", disk["create"], "ms")
    row("for comparison: processor beyond the spawn, on the disk", disk["processor"] - processor, "ms")
    print(f"{missed} goal{'s' * (missed != 1)} missed" if missed else "every goal reached")
    return missed > 0


sys.exit(main())
