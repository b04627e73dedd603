# ctest: serial timeout=600
"""What one sandbox of a host tries against another, the agent and the machine: each attack fails, and succeeds where the protections
against it are switched off. Once as root directly on this machine, once in a container like a job's.
"""
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import attacks
import pytest
from agent import wait_until
from host_agent import HostAgent
from host_job import SUPPORT, JobAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")

FILES = "host-uid,landlock"
FILTER = "host-uid,seccomp-calls"
AGENT = FILES + ",dumpable,files-identity"  # a change of user, too, hides the memory

# (attack, the protections that stop it, where). In a job's container some things are missing anyhow: there the control would show nothing.
CASES = [
    # files of the other sandbox and of the machine
    ("list {homes}", FILES),
    ("read {peer}/private", FILES),
    ("write {peer}/new", FILES),
    ("read /proc/{peer_pid}/root{peer}/private", FILES),
    ("read /proc/{peer_pid}/cwd/private", FILES),
    ("link {peer}/private got", FILES),
    ("link {homes}/machine got", FILES),
    ("read {homes}/machine", "landlock"),
    ("read {root}", FILES),
    ("read {tmp}/open", "landlock"),
    ("read {vartmp}/open", "landlock"),
    ("read {run}/open", "landlock"),
    ("write {tmp}/new", "landlock"),
    ("write {vartmp}/new", "landlock"),
    ("write {run}/new", "landlock"),
    ("read {shm}", "host-uid"),
    ("rewrite {shm}", "host-uid"),
    ("list /dev/shm", "landlock"),
    ("rewrite /proc/sys/vm/overcommit_memory", FILES, "machine"),
    # processes of the other sandbox
    ("read /proc/{peer_pid}/environ", FILES),
    ("read /proc/{peer_pid}/maps", FILES),
    ("open-memory {peer_pid}", FILES),
    ("read-memory {peer_pid}", FILES + ",seccomp-calls"),
    ("read-link /proc/{peer_pid}/cwd", FILES),
    ("read-link /proc/{peer_pid}/root", FILES),
    ("read-link /proc/{peer_pid}/exe", FILES),
    ("read-link /proc/{peer_pid}/fd/1", FILES),
    ("trace {peer_pid}", FILES),
    ("steal-descriptor {peer_pid}", FILES + ",seccomp-calls"),
    ("may-signal {peer_pid}", "host-uid"),
    ("limit-other {peer_pid}", "host-uid,seccomp-others"),
    ("renice {peer_pid}", "host-uid,seccomp-others"),
    ("reschedule {peer_pid}", "host-uid,seccomp-others"),
    ("affinity {peer_pid}", "host-uid,seccomp-others"),
    # the agent and a process of the machine
    ("read /proc/{agent}/environ", AGENT),
    ("read /proc/{agent}/maps", AGENT),
    ("open-memory {agent}", AGENT),
    ("read-memory {agent}", AGENT + ",seccomp-calls"),
    ("read-link /proc/{agent}/cwd", AGENT),
    ("read-link /proc/{agent}/fd/0", AGENT),
    ("read /proc/{agent}/root{root}", AGENT),
    ("trace {agent}", AGENT),
    ("steal-descriptor {agent}", AGENT + ",seccomp-calls"),
    ("may-signal {agent}", "host-uid"),
    ("limit-other {agent}", "host-uid,seccomp-others"),
    ("renice {agent}", "host-uid,seccomp-others"),
    ("reschedule {agent}", "host-uid,seccomp-others"),
    ("affinity {agent}", "host-uid,seccomp-others"),
    ("read /proc/{victim}/environ", FILES),
    ("may-signal {victim}", "host-uid"),
    # keys, IPC, sockets
    ("read-key {key}", "keys,seccomp-calls", "machine"),
    ("attach-segment {ipc}", "seccomp-shared"),
    ("ipc", "seccomp-shared"),
    ("queue", "seccomp-shared,host-limits,landlock"),
    ("connect-abstract {abstract}", "scope"),
    ("connect-abstract sbx-peer-{peer_id}", "scope"),
    ("connect-path {peer}/socket", FILES),
    ("connect-path {tmp}/closed/socket", FILES),
    ("listen", "host-bind"),
    ("socket 40", "seccomp-sockets"),
    # the kernel's surface
    ("memfd", "seccomp-absent"),
    ("aio", "seccomp-absent"),
    ("io-uring", "seccomp-calls", "machine"),
    ("userfaultfd", "seccomp-calls", "machine"),
    ("bpf", FILTER, "machine"),
    ("perf", FILTER, "machine"),
    ("personality 0x0400000", "seccomp-calls"),
    ("x32", "seccomp-arch", "machine"),
    ("clone-32bit", "seccomp-arch", "machine"),
    ("inject 0x5412", "seccomp-terminal"),
    ("inject 0x100005412", "seccomp-terminal"),
    # mounts, roots, namespaces, devices, set-uid
    ("mount {tmp}/mount", FILTER + ",landlock", "machine"),
    ("fsopen", FILTER, "machine"),
    ("chroot {tmp}", FILTER),
    ("unshare", "seccomp-namespaces", "machine"),
    ("clone", "seccomp-namespaces", "machine"),
    ("clone3", "seccomp-namespaces", "machine"),
    ("nested-mount {tmp}/mount", "seccomp-namespaces,seccomp-calls,landlock", "machine"),
    ("setns /proc/self/ns/uts", FILTER, "machine"),
    ("mknod device", "host-uid,landlock,seccomp-mknod", "machine"),
    ("./suid euid", "no-new-privileges,landlock,seccomp"),
    ("suid own", "seccomp-suid"),
]

PEER = """
import os, socket, signal, sys, time
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
open("private", "w").write("private")
held = []
for address in ("socket", "\\0sbx-peer-" + os.environ["SBX_SANDBOX_ID"]):
    s = socket.socket(socket.AF_UNIX)
    s.bind(address)
    s.listen(100)
    held.append(s)
open("ready", "w").close()
time.sleep(3600)
"""


class Direct(HostAgent):
    """On this machine, whose things are made beside it."""

    def things(self):
        path = self.place / "things.json"
        self.maker = subprocess.Popen([sys.executable, "-B", str(SUPPORT / "machine_things.py"), str(path)])
        wait_until(path.exists, what="the machine's things")
        return {**json.loads(path.read_text()), "agent": self.pid}

    def __exit__(self, *more):
        try:
            super().__exit__(*more)
        finally:
            self.maker.terminate()
            self.maker.wait()


PLACES = {"machine": Direct, "job": JobAgent}


def loose(off):
    """Without Landlock only where that is allowed."""
    return ["--allow-unconfined"] if {"landlock", "scope"} & set(off.split(",")) else []


class Arena:
    """A host with two sandboxes, the program of the attacks and what it is set on."""

    def __init__(self, place, program, off=""):
        self.host = PLACES[place](off=off, args=loose(off))
        self.program = program

    def __enter__(self):
        self.host.__enter__()
        try:
            self._furnish()
        except BaseException:
            self.host.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *more):
        self.host.__exit__(*more)

    def _furnish(self):
        host = self.host
        self.attacker, peer = host.create(2)
        assert self.attacker.request("PUT", "/files/write?path=attack&mode=755", body=self.program.read_bytes()).status == 200
        host.put_as_root(self.attacker.home / "suid", self.program.read_bytes(), 0o4755)
        started = peer.start(["python3", "-c", PEER], env={"PEER_SECRET": "1"})
        wait_until(host.outside(peer.home / "ready").exists, what="the other sandbox's things")
        host.put_as_root(peer.home.parent / "machine", b"machine\n", 0o644)
        self.peer = peer
        self.words = {**host.things(), "homes": peer.home.parent, "peer": peer.home, "peer_pid": started["pid"], "peer_id": peer.id,
                      "key": attacks.KEY_NAME}

    def attack(self, words):
        """(succeeded, what it printed)."""
        words = words.format(**self.words).split()
        if not words[0].startswith("./"):
            words.insert(0, "./attack")
        out = self.attacker.run(words, cwd=str(self.attacker.home))
        assert out.exit_code in (0, 1, None), out.stdout + out.stderr
        return out.exit_code == 0, (out.stdout + out.stderr).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def program():
    with tempfile.TemporaryDirectory() as directory:
        yield attacks.build(Path(directory))


@pytest.fixture(scope="module", autouse=True)
def key():
    """In the session key ring, which children inherit."""
    libc = attacks.ctypes.CDLL(None)
    libc.syscall(250, 1, 0)  # keyctl JOIN_SESSION_KEYRING
    libc.syscall(248, b"user", attacks.KEY_NAME.encode(), b"secret", 6, -3)  # add_key


@pytest.fixture(scope="module", params=PLACES)
def arena(request, program):
    with Arena(request.param, program) as a:
        a.place = request.param
        steps = {s["name"]: s["holds"] for s in a.attacker.get("/info").json()["isolation"]["steps"]}
        assert all(holds for name, holds in steps.items() if name != "keys"), steps
        yield a


@pytest.fixture(scope="module")
def controls(arena, program):
    """One host for all attacks with the same protections switched off."""
    with contextlib.ExitStack() as stack:
        made = {}

        def control(place, off):
            if (place, off) not in made:
                made[place, off] = stack.enter_context(Arena(place, program, off))
            return made[place, off]
        yield control


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_attacks(arena, controls, program, case):
    words, off, only = (*case, None)[:3]
    if words == "x32" and subprocess.run([program, "x32"], stdout=subprocess.DEVNULL).returncode != 0:
        pytest.skip("this kernel has no x32 calls, which could be refused")
    succeeded, said = arena.attack(words)
    assert not succeeded, said
    if only not in (None, arena.place):
        return
    control = controls(arena.place, off)
    succeeded, said = control.attack(words)
    if "mount {tmp}" in words:
        subprocess.run(["umount", control.words["tmp"] + "/mount"], stderr=subprocess.DEVNULL)
    assert succeeded, f"with {off} switched off: {said}"


def test_what_is_in_sight(arena):
    """What users of one machine see of each other where there are no namespaces: README says so."""
    assert arena.attack("read /proc/{peer_pid}/cmdline")[0] and arena.attack("read /proc/{agent}/cmdline")[0]
    assert arena.attack("connect-path {tmp}/socket")[0], "a socket that the machine opens to everybody"


CHILDREN = 150


def meet_children(arena):
    """A command of the sandbox looks at every child of the agent that has become its user and is not a program yet. A long PATH keeps
    them in that state for a while."""
    watcher = arena.attacker.start(["./attack", "between", "hfsandbox-agent-test", "6"], cwd=str(arena.attacker.home))
    path = ":".join(["/nowhere"] * 2000) + ":/usr/bin:/bin"
    for _ in range(CHILDREN):
        assert arena.attacker.run(["true"], env={"PATH": path}).exit_code == 0
    output = arena.attacker.get(f"/processes/{watcher['id']}/output?follow=1").body.decode()
    got, met = "done:" in output, int(re.search(r"met (\d+)", output)[1])
    assert got or met > 5, output  # it stops at the first that it gets something of
    return got


def test_children_before_exec(arena):
    assert not meet_children(arena)


def test_control_children_before_exec(arena, controls):
    assert meet_children(controls(arena.place, AGENT + ",seccomp-calls"))


def test_commands_of_one_sandbox_reach_each_other(arena):
    started = arena.attacker.start("sleep 1000")
    out = arena.attacker.run(f"kill {started['pid']} && echo killed")
    assert out.stdout == b"killed\n", out.stderr
