"""The part "pool" of jobs.py: many sandboxes over a few hosts created, one command in each, all killed, 100 ms away; pool.c and pool_peer.py in turn, on
one Hub, in programs of their own. Processor time of the clients, of the hosts' agents with what they have spawned, and of the Hub with its proxy."""
import os
import sys
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PHASES = ("create", "exec", "kill")


def stat_seconds(pid, children=True):
    """Processor seconds of a process, and of the children that it has collected."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15 if children else 13])) / TICKS


class Meter:
    """What the other side costs."""

    def __init__(self, hub):
        self.hub = hub
        self.before = self.now()

    def now(self):
        agents = sum(stat_seconds(pid) for job in self.hub.jobs.running() if (pid := job.container.pid) is not None)
        own = os.times()
        return agents, own.user + own.system + stat_seconds(self.hub.proxy.process.pid)

    def read(self):
        return [after - before for after, before in zip(self.now(), self.before)]


def life(hub, worker, sandboxes, hosts):
    """Seconds: {phase: wall}, and processor seconds of the client, the agents and the Hub for all three phases."""
    hub.dial(scheduling_delay=0.5)
    walls = {"warm": worker.ask("warm", worker.image, sandboxes, hosts)["wall"]}
    meter, cpu = Meter(hub), 0
    for phase in PHASES:
        answer = worker.ask(phase)
        walls[phase] = answer["wall"]
        cpu += answer["cpu"]
    agents, other = meter.read()
    worker.ask("end")
    return walls, cpu, agents, other


def figures(hub, workers, args, row):
    sandboxes, hosts = args.sandboxes, args.hosts
    name = f"{sandboxes} sandboxes, {hosts} hosts"
    for worker in workers:
        life(hub, worker, 2 * hosts, hosts)  # everything is loaded
    found = [[life(hub, worker, sandboxes, hosts) for worker in workers] for _ in range(min(args.rounds, 3))]
    for phase in ("warm", *PHASES):
        row(f"{name}: {phase}", [[side[0][phase] for side in pair] for pair in found], None)
    row(f"{name}: create, exec, kill", [[sum(side[0][phase] for phase in PHASES) for side in pair] for pair in found], 1)
    for at, what, goal in ((1, "client's processor", 0.1), (2, "agents' processor", None), (3, "Hub's processor", None)):
        row(f"{name}: {what}", [[side[at] for side in pair] for pair in found], goal)


def workers(hub, build, Worker, peer_image):
    return [Worker(hub, "python:3.12", str(build / "bin/bench-pool")),
            Worker(hub, peer_image, sys.executable, str(Path(__file__).with_name("pool_peer.py")))]
