"""What a hostile command in a local sandbox tries against the host and the agent: each attack fails, and succeeds where the
protections against it are switched off, which shows that the attack works and that these are what stops it.

As root and as an ordinary user where this runs as root; else as the user who runs it.
"""
import os
import subprocess

import pytest
from attacks import Host, attack
from local_agent import USER, LocalAgent

ROOT = os.geteuid() == 0
USERS = [None, USER] if ROOT else [None]

# Commands with every capability; the agent refuses to hide its memory from such.
CAPABLE = "capability-drop,agent-memory"

# (attack, the protections that stop it, of which user). "landlock:..." where the user namespace itself is among them, which level full
# cannot be without: the attack works at level landlock without those.
FULL = [
    # files and processes of the host
    ("read {secret}", "root,landlock"),
    ("read /proc/self/root{secret}", "root,landlock"),
    ("read /../../../..{secret}", "root,landlock"),
    ("write {drop}/new", "root,landlock"),
    ("read /proc/{victim}/cmdline", "root,landlock"),
    ("signal {victim}", "uid,pid-namespace,root,landlock"),
    ("read /proc/1/root/etc/hostname", "dumpable"),
    ("trace {victim}", "landlock:landlock", "user"),
    ("trace {victim}", "landlock:landlock,identity,capabilities,agent-memory", "root"),
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
    ("mknod /tmp/device", "landlock:landlock,uid,capability-drop,agent-memory,identity,seccomp-mknod", "root"),
    ("read {tools}/device", "bind-nodev", "root-host"),
    ("/tools/suid euid", "landlock:no-new-privileges,landlock,seccomp", "user-of-root"),
    # terminal injection, also with bits that the kernel does not look at
    ("inject 0x5412", "seccomp-terminal"),
    ("inject 0x100005412", "seccomp-terminal"),
    # the agent
    ("trace 1", "dumpable"),
    ("read /proc/1/environ", "dumpable"),
    ("read-memory 1", "dumpable,seccomp-calls"),
    ("steal-descriptor 1", "dumpable,seccomp-calls"),
    ("limit-other 1", "seccomp-others"),
    ("renice 1", "seccomp-others"),
    ("reschedule 1", "seccomp-others"),
    ("affinity 1", "seccomp-others"),
    # the kernel's surface
    ("memfd", "seccomp-absent"),
    ("aio", "seccomp-absent"),
    ("inotify 100", "inotify-limit"),
    ("x32", "seccomp-arch", "x32"),
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
    ("limit-other {victim}", "seccomp-others", "user"),
    ("renice {victim}", "seccomp-others", "user"),
    ("reschedule {victim}", "seccomp-others", "user"),
    ("affinity {victim}", "seccomp-others", "user"),
    ("change-owner {drop}", "seccomp-shared", "user-of-root"),
    ("set-attribute {drop}", "seccomp-shared", "user-of-root"),
    ("attach-segment {ipc}", "seccomp-shared"),
    ("ipc", "seccomp-shared"),
    ("memfd", "seccomp-absent"),
    ("aio", "seccomp-absent"),
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
    wrong = {"root": not as_root, "user": as_root, "root-host": not ROOT, "user-of-root": not ROOT or as_root}
    if wrong.get(rule):
        pytest.skip("does not concern this user")
    if rule == "x32" and subprocess.run([host.program, "x32"], stdout=subprocess.DEVNULL).returncode != 0:
        pytest.skip("this kernel has no x32 calls, which could be refused")


def control(host, words, off, level):
    """The same attack where nothing stops it."""
    if ":" in off:
        level, off = off.split(":")
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


def test_the_agent_has_no_other_root(host):
    """Where commands could look through it, they would find nothing that they do not see anyhow."""
    with LocalAgent(user=host.user, binds=host.binds(), off="dumpable") as agent:
        assert not attack(agent, host, "read /proc/1/root{secret}")[0]
        assert not attack(agent, host, "read /proc/1/cwd{secret}")[0]
        assert agent.run("ls -A /proc/1/root").stdout == agent.run("ls -A /").stdout != b""


def test_common_programs_work_at_level_landlock(host):
    """Without owners and attributes of files, and without System V IPC."""
    script = ("set -e; mkdir -p a/b; echo '#!/bin/sh' > a/b/x; echo 'echo ran' >> a/b/x; chmod +x a/b/x; touch -d 2020-01-02 a/b/x\n"
              "cp -a a c; tar cf a.tar a; mkdir d; tar xpf a.tar -C d; ./d/a/b/x; stat -c '%y' c/b/x d/a/b/x | cut -c1-10\n"
              "python3 -c 'import shutil; shutil.copytree(\"a\", \"e\"); shutil.move(\"e\", \"f\")'; ls f/b")
    with LocalAgent(level="landlock", user=host.user) as agent:
        out = agent.run(["sh", "-c", script])
        assert (out.exit_code, out.stdout, out.stderr) == (0, b"ran\n2020-01-02\n2020-01-02\nx\n", b"")


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
