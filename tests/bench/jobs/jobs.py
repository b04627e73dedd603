"""The jobs provider on the local Hub, beside the Hub's own client in the same run: one table.

    tests/bench/run.sh --jobs [--only PART] [--rounds N]          parts: create exec small big pool

Both clients do the same in turn, in programs of their own (worker.c, peer.py), in rounds; the table shows the medians of the rounds and of
their ratios. At a distance of 100 ms one stream carries about 2 MiB/s (PROTOCOL 3, Jobs proxy). Exit status 1: a goal was missed."""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pool
from localhub import Hub

KIB, MIB = 1 << 10, 1 << 20
PEER_IMAGE = "local/unverified"  # see tests/hub/README.md: in others the Hub's own client runs no program but the Hub's
PARTS = ("create", "exec", "small", "big", "pool")
HEAD = f"{'figure':<44} {'hfsandbox':>11} {'huggingface_hub':>16} {'ratio':>7}  goal"
missed = 0


class Worker:
    def __init__(self, hub, image, *argv):
        self.image = image
        self.process = subprocess.Popen(hub.command(argv), env=hub.environ(HF_HUB_DISABLE_TELEMETRY="1"), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args} has ended with {self.process.wait()}")
        return json.loads(line)

    def measure(self, *words):
        """Median seconds and processor seconds of a call."""
        answer = self.ask(*words)
        return statistics.median(answer["took"]), answer["cpu"] / len(answer["took"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def row(name, pairs, ratio, most=None, paired=True):
    """pairs: ours and theirs, a round each. ratio: the goal for the median of their ratios, or (not paired: chance is in each) for the ratio
    of their medians; most: for ours, in seconds."""
    global missed
    ours, theirs = (statistics.median(side) for side in zip(*pairs))
    reached = statistics.median(a / b for a, b in pairs) if paired else ours / theirs
    goals = [(f"ratio <= {ratio:g}", reached <= ratio)] if ratio is not None else []
    if most is not None:
        goals.append((f"<= {most * 1000:.0f} ms", ours <= most))
    missed += sum(not ok for _, ok in goals)
    text = ", ".join(goal + ("" if ok else "  MISSED") for goal, ok in goals)
    print(f"{name:<44} {ours * 1000:>8.2f} ms {theirs * 1000:>13.2f} ms {reached:>7.3f}  {text}", flush=True)


def both(name, workers, rounds, words, most=None, processor=0.1):
    for worker in workers:
        worker.ask(*words[:-1], 1)  # connections, memory and files are warm
    found = [[worker.measure(*words) for worker in workers] for _ in range(rounds)]
    # Where the distance alone makes the time, it cannot be told apart more finely.
    row(name, [(a[0], b[0]) for a, b in found], 1.03 if most else 1, most=most)
    row(name + ", processor", [(a[1], b[1]) for a, b in found], processor)


def create(hub, worker, delay):
    """Seconds from the job's start to the sandbox's first answer."""
    hub.next_jobs(1, scheduling_delay=delay)
    answer = worker.ask("create", worker.image)
    return answer["ready"] - hub.jobs[answer["id"].split("/")[-1]].started


def figures(hub, workers, where, args):
    one_trip = hub.dials.rtt * 1.15 if hub.dials.rtt else None
    rounds = args.rounds
    if "create" in args.parts:
        pairs = []
        for i in range(2 * rounds):
            delay = 0.4 + 0.117 * i  # at any moment between two questions of either
            pairs.append([create(hub, worker, delay) for worker in workers])
            for worker in workers:
                worker.ask("kill")
        row(f"create: from the job's start to its answer, {where}", pairs, 1, paired=False)
    for worker in workers:
        create(hub, worker, 0.1)
        worker.ask("exec", 1)
    calls = 10 if hub.dials.rtt else 100
    if "exec" in args.parts:
        both(f"exec, {where}", workers, rounds, ("exec", calls), one_trip)
    if "small" in args.parts:
        both(f"write of 1 KiB, {where}", workers, rounds, ("write", KIB, calls), one_trip)
        both(f"read of 1 KiB, {where}", workers, rounds, ("read", KIB, calls), one_trip)
    if "big" in args.parts:
        # Nearly all of it is the kernel's copying of the bytes, which is the same for both.
        both(f"write of 64 MiB, {where}", workers, min(rounds, 3), ("write", 64 * MIB, 1), processor=1)
        both(f"read of 64 MiB, {where}", workers, min(rounds, 3), ("read", 64 * MIB, 1), processor=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--only", action="append", choices=PARTS, dest="parts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sandboxes", type=int, default=1000, help="of the part pool")
    parser.add_argument("--hosts", type=int, default=20)
    args = parser.parse_args()
    args.parts = args.parts or PARTS
    print(HEAD)
    for where, dials in (("0 ms", {}), ("100 ms", {"rtt": 0.1, "window": 105000})) if set(args.parts) - {"pool"} else ():
        with Hub(build=args.build, record=False, **dials) as hub:
            workers = [Worker(hub, "python:3.12", str(args.build / "bin/bench-jobs")),
                       Worker(hub, PEER_IMAGE, sys.executable, str(Path(__file__).with_name("peer.py")))]
            figures(hub, workers, where, args)
            for worker in workers:
                worker.close()
    if "pool" in args.parts:
        with Hub(build=args.build, record=False, tls=True, rtt=0.1) as hub:  # the Hub's own client wants its hosts by TLS
            workers = pool.workers(hub, args.build, Worker, PEER_IMAGE)
            pool.figures(hub, workers, args, row)
            for worker in workers:
                worker.close()
    if missed:
        print(f"{missed} goals missed")
    return 1 if missed else 0


sys.exit(main())
