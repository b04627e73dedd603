"""What a hostile command in a local sandbox tries against the host and the agent: each attack fails, and succeeds where the
protections against it are switched off, which shows that the attack works and that these are what stops it.

As root and as an ordinary user where this runs as root; else as the user who runs it.
"""
import os

import pytest
from attacks import Host, attack
from local_agent import USER, LocalAgent

ROOT = os.geteuid() == 0
USERS = [None, USER] if ROOT else [None]

# Commands with every capability; the agent refuses to hide its memory from such.
CAPABLE = "capability-drop,agent-memory"

# (attack, the protections that stop it); more words: only=root|user, control=<level>: the attack works at that weaker level instead
FULL = [
    # files and processes of the host
    ("read {secret}", "root,landlock"),
    ("read /proc/self/root{secret}", "root,landlock"),
    ("read /../../../..{secret}", "root,landlock"),
    ("write {drop}/new", "root,landlock"),
    ("read /proc/{victim}/cmdline", "root,landlock"),
    ("signal {victim}", "uid,pid-namespace,root,landlock"),
    ("trace {victim}", "none"),
    ("rewrite /proc/sys/vm/overcommit_memory", "uid,proc-masks", "root"),
    # IPC and network
    ("read-key {key}", "keys,seccomp-calls"),
    ("attach-segment {ipc}", "ipc-namespace"),
    ("connect-abstract {abstract}", "net-namespace,scope"),
    ("connect-path {secrets}/socket", "root"),
    ("connect-tcp {port}", "net-namespace"),
    ("socket 40", "seccomp-sockets"),
    # mounts and roots
    ("mount /tmp", CAPABLE + ",seccomp-calls,landlock"),
    ("fsopen", CAPABLE + ",seccomp-calls"),
    ("remount /usr", CAPABLE + ",seccomp-calls,landlock"),
    ("umount /proc/sys", CAPABLE + ",seccomp-calls,landlock"),
    ("chroot /tmp", CAPABLE + ",seccomp-calls"),
    # namespaces
    ("unshare", "seccomp-namespaces"),
    ("clone", "seccomp-namespaces"),
    ("clone3", "seccomp-namespaces"),
    ("nested-mount /tmp", "seccomp-namespaces,seccomp-calls,landlock"),
    ("setns /proc/self/ns/uts", CAPABLE + ",seccomp-calls"),
    ("clone-32bit", "seccomp-arch"),
    # devices and set-uid
    ("mknod /tmp/device", "none", "root"),
    ("read {tools}/device", "bind-nodev", "root-host"),
    ("/tools/suid euid", "none", "root-host"),
    # terminal injection, also with bits that the kernel does not look at
    ("inject 0x5412", "seccomp-terminal"),
    ("inject 0x100005412", "seccomp-terminal"),
    # the agent
    ("trace 1", "dumpable"),
    ("read /proc/1/environ", "dumpable"),
    ("read-memory 1", "dumpable,seccomp-calls"),
    ("steal-descriptor 1", "dumpable,seccomp-calls"),
    # the kernel's surface
    ("io-uring", "seccomp-calls"),
    ("userfaultfd", "seccomp-calls"),
    ("personality 0x0400000", "seccomp-calls"),
]

LANDLOCK = [
    ("read {secret}", "landlock"),
    ("write {drop}/new", "landlock"),
    ("write /dev/shm/sbx-test-file", "landlock"),
    ("signal {victim}", "landlock", "user"),
    ("trace {victim}", "landlock", "user"),
    ("read /proc/{victim}/environ", "landlock", "user"),
    ("read-key {key}", "keys,seccomp-calls"),
    ("connect-abstract {abstract}", "scope,seccomp-sockets"),
    ("connect-path {secrets}/socket", "seccomp-sockets"),
    ("connect-tcp {port}", "seccomp-sockets"),
    ("unshare", "seccomp-namespaces"),
    ("/tools/suid euid", "no-new-privileges,landlock,seccomp", "user"),
    ("inject 0x5412", "seccomp-terminal"),
]


@pytest.fixture(scope="module", params=USERS, ids=lambda user: "root" if user is None and ROOT else "user")
def host(request):
    h = Host(owner=request.param)
    h.user = request.param
    yield h
    h.close()


@pytest.fixture(scope="module")
def confined(host):
    with LocalAgent(user=host.user, binds=host.binds()) as agent:
        assert all(agent.steps().values()), agent.ready
        yield agent


@pytest.fixture(scope="module")
def landlocked(host):
    with LocalAgent(level="landlock", user=host.user, binds=host.binds()) as agent:
        assert all(agent.steps().values()), agent.ready
        yield agent


def applies(host, rule):
    as_root = ROOT and host.user is None
    if rule == "root" and not as_root or rule == "user" and as_root or rule == "root-host" and not ROOT:
        pytest.skip("does not concern this user")


def control(host, words, off, level):
    """The same attack where nothing stops it."""
    if off == "none":
        if words.startswith("/tools/suid") and host.user is None:
            pytest.skip("root needs no set-uid program")
        off, level = "", "none"
    with LocalAgent(level=level, user=host.user, binds=host.binds(), off=off) as agent:
        return attack(agent, host, words)


@pytest.mark.parametrize("case", FULL, ids=lambda case: case[0])
def test_full(host, confined, case):
    words, off, rule = (*case, None)[:3]
    applies(host, rule)
    (host.drop / "new").unlink(missing_ok=True)
    succeeded, said = attack(confined, host, words)
    assert not succeeded, said
    succeeded, said = control(host, words, off, "full")
    assert succeeded, f"with {off} switched off: {said}"


@pytest.mark.parametrize("case", LANDLOCK, ids=lambda case: case[0])
def test_landlock(host, landlocked, case):
    words, off, rule = (*case, None)[:3]
    applies(host, rule)
    (host.drop / "new").unlink(missing_ok=True)
    succeeded, said = attack(landlocked, host, words)
    assert not succeeded, said
    succeeded, said = control(host, words, off, "landlock")
    if words.startswith("write /dev/shm"):
        os.unlink("/dev/shm/sbx-test-file")
    assert succeeded, f"with {off} switched off: {said}"


def test_shared_network_hides_abstract_sockets(host):
    with LocalAgent(network="host", user=host.user, binds=host.binds()) as agent:
        assert attack(agent, host, "connect-tcp {port}")[0]
        assert not attack(agent, host, "connect-abstract {abstract}")[0]
    with LocalAgent(network="host", user=host.user, binds=host.binds(), off="scope") as agent:
        assert attack(agent, host, "connect-abstract {abstract}")[0]


def test_set_uid_bits_in_writable_binds(host):
    binds = [*host.binds(), (host.drop, host.drop, True)]
    with LocalAgent(user=host.user, binds=binds) as agent:
        succeeded, said = attack(agent, host, "suid {drop}/suid")
        assert not succeeded, said
    with LocalAgent(user=host.user, binds=binds, off="seccomp-suid") as agent:
        succeeded, said = attack(agent, host, "suid {drop}/suid")
        assert succeeded, said


def test_files_in_writable_binds_belong_to_the_directory_s_owner(host):
    with LocalAgent(user=host.user, binds=[(host.drop, "/work", True)]) as agent:
        assert agent.run("echo data > /work/made && cat /work/made").stdout == b"data\n"
    assert os.stat(host.drop / "made").st_uid == os.stat(host.drop).st_uid
    with LocalAgent(user=host.user, binds=[(host.drop, "/work")]) as agent:
        out = agent.run("cat /work/made; echo more > /work/made")
        assert out.stdout == b"data\n" and out.exit_code != 0


def test_signals_from_inside_do_not_end_the_agent(host):
    with LocalAgent(user=host.user, static=True) as agent:  # sanitizers handle some of them
        agent.run("for s in HUP INT QUIT ILL ABRT FPE KILL SEGV PIPE ALRM TERM USR1 USR2 STOP; do kill -$s 1; done")
        assert agent.run("echo here").stdout == b"here\n"


def test_nothing_else_of_the_host_is_listed(confined):
    def listed(path):
        return set(confined.run(["ls", "-A", path]).stdout.decode().split())

    assert listed("/") - {"tmp"} <= {"bin", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys",
                                     "usr", "var"}
    assert listed("/dev") == {"fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
                              "zero"}
    assert not listed("/sys") | listed("/run") | listed("/var/tmp") | listed("/dev/shm") | listed("/home/sandbox")
    assert confined.run("cat /etc/shadow /etc/ssh/ssh_host_rsa_key /root/.bashrc").stdout == b""


def test_the_root_itself_cannot_be_written(host):
    tries = "for p in / /etc /usr /dev /proc /proc/sys /home; do touch $p/x 2>/dev/null && echo $p; done"
    with LocalAgent(user=host.user) as agent:
        assert agent.run(tries).stdout == b"/home\n"
    with LocalAgent(user=host.user, off="landlock") as agent:
        assert agent.run(tries).stdout == b"/home\n"
    with LocalAgent(user=host.user, off="landlock,root-readonly") as agent:
        assert agent.run(tries).stdout == b"/\n/etc\n/dev\n/home\n"


def test_a_sandbox_cannot_reach_another(host):
    with LocalAgent(user=host.user) as one, LocalAgent(user=host.user) as other:
        assert one.run("echo secret > /tmp/file; echo secret > /dev/shm/file").exit_code == 0
        assert other.run("cat /tmp/file /dev/shm/file").stdout == b""
        sleeper = one.start_process("exec sleep 1000")
        assert b"sleep" not in other.run("cat /proc/[0-9]*/cmdline").stdout
        assert sleeper["pid"] < 100  # as its own namespace counts
