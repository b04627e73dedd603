# ctest: timeout=600
"""How a local sandbox ends: with its client, with its keeper, with its serving process, by SIGTERM or by its idle timer, and each time
with everything that belongs to it: processes, mounts, directory, socket."""
import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import raw_http
from agent import program, wait_until
from local_agent import USER, LocalAgent, StartError, alive, descendants, processes

ROOT = os.geteuid() == 0
LEVELS = ["full", "landlock", "none"]


class Traces:
    """What sandboxes of this test may leave: processes by a mark in their command line, mounts, directories."""

    def __init__(self):
        self.mark = f"hfsandbox-agent-{os.getpid()}-{time.monotonic_ns()}"
        self.seconds = str(10_000_000 + time.monotonic_ns() % 1_000_000)  # of a sleep, as the mark of a command
        self.mounts = self._mounts()
        self.dir = tempfile.mkdtemp(prefix="sbx-life-")
        os.chmod(self.dir, 0o777)

    @staticmethod
    def _mounts():
        return Path("/proc/self/mountinfo").read_text()

    def running(self):
        marks = (self.mark.encode(), self.seconds.encode())
        return [pid for pid, entry in processes().items() if any(mark in entry[3] for mark in marks) and alive(pid)]

    def assert_none(self):
        wait_until(lambda: not self.running(), what="the end of all processes")
        wait_until(lambda: not os.listdir(self.dir), timeout=5, what="the removal of the directory")
        assert self._mounts() == self.mounts
        os.rmdir(self.dir)


@pytest.fixture
def traces():
    t = Traces()
    yield t
    for pid in t.running():
        os.kill(pid, signal.SIGKILL)
    subprocess.run(["rm", "-rf", t.dir], check=True)


def make(traces, level="full", detached=False, directory_name="sandbox", **more):
    directory = None if level == "full" and not detached else os.path.join(traces.dir, directory_name)
    return LocalAgent(level=level, directory=directory, detached=detached, name=traces.mark, **more)


def litter(agent, traces):
    """Processes that are hard to find: in other sessions, orphaned, ignoring signals."""
    agent.run(f"trap '' TERM HUP; setsid sleep {traces.seconds} & (setsid sleep {traces.seconds} &) & sleep {traces.seconds} & echo",
              end="exit")


def as_client(work, user=None):
    """Runs work in a process of its own, which is the client; the caller kills it. Returns its pid and a pipe that work may write to."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            work(write)
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    return pid, read


def kill_client(pid, read):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("detached", [False, True], ids=["attached", "detached"])
@pytest.mark.parametrize("user", [None, USER] if ROOT else [None])
def test_client_killed_while_it_creates(traces, level, detached, user):
    """At 24 moments between the start of the agent and a little after its ready line."""
    for step in range(24):
        def work(pipe):
            agent = make(traces, level, detached, static=True)
            agent.spawn()
            os.write(pipe, b"s")
            agent.status.readline()
            os.write(pipe, b"r")

        pid, read = as_client(work, user)
        assert os.read(read, 1) == b"s"
        time.sleep(step * 0.0004)
        kill_client(pid, read)
        wait_until(lambda: not traces.running(), what=f"the end after step {step}")
        wait_until(lambda: not os.listdir(traces.dir), timeout=5, what=f"the removal of the directory after step {step}")
    traces.assert_none()


@pytest.mark.parametrize("level", LEVELS)
def test_client_killed_in_use(traces, level):
    def work(pipe):
        agent = make(traces, level, static=True).start()
        litter(agent, traces)
        os.write(pipe, b"r")
        agent.run(f"sleep {traces.seconds}")

    pid, read = as_client(work)
    assert os.read(read, 1) == b"r"
    wait_until(lambda: len(traces.running()) >= 5, what="the commands")
    kill_client(pid, read)
    traces.assert_none()


def test_client_killed_without_the_keeper_watching(traces):
    """The control: who is not watched is not noticed. Detached, so that no socket tells of the client's end either."""
    def work(pipe):
        agent = make(traces, detached=True, off="client-watch")
        agent.spawn()
        agent.status.readline()
        os.write(pipe, b"r")

    pid, read = as_client(work)
    assert os.read(read, 1) == b"r"
    kill_client(pid, read)
    time.sleep(1)
    assert len(traces.running()) == 2 and os.listdir(traces.dir)


def test_client_ends_before_the_agent_runs(traces):
    """Its pidfd is all that is left of it by then."""
    gone = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(gone.pid)
    gone.wait()
    read, write = os.pipe()
    shell = f'exec 3</dev/null 4</dev/null 5>&{write} 6<&{pidfd}; exec "$0" --local'
    subprocess.run(["sh", "-c", shell, str(program(True))], pass_fds=[write, pidfd], timeout=10)
    os.close(write)
    assert os.read(read, 10) == b""
    traces.assert_none()


@pytest.mark.parametrize("level", LEVELS)
def test_sigterm_to_the_keeper(traces, level):
    agent = make(traces, level).start()
    litter(agent, traces)
    assert len(traces.running()) >= 4
    agent.kill()
    assert agent.gone() == 0
    assert not traces.running() and not os.listdir(traces.dir)  # its exit is the confirmation
    traces.assert_none()


@pytest.mark.parametrize("level", LEVELS)
def test_serving_process_killed(traces, level):
    agent = make(traces, level).start()
    litter(agent, traces)
    os.kill(agent.serving, signal.SIGKILL)
    assert agent.gone() == 128 + signal.SIGKILL
    traces.assert_none()


def test_keeper_killed(traces):
    agent = make(traces).start()
    litter(agent, traces)
    agent.kill(signal.SIGKILL)
    agent.gone()
    traces.assert_none()


def test_keeper_killed_without_the_death_signal(traces):
    """Detached, so that no socket tells the agent; the control of the test above."""
    agent = make(traces, detached=True, off="death-signal").start()
    serving = agent.serving
    agent.kill(signal.SIGKILL)
    agent.gone()
    time.sleep(1)
    assert alive(serving)


@pytest.mark.parametrize("level", ["landlock", "none"])
def test_keeper_killed_without_a_pid_namespace(traces, level):
    """The serving process kills what the keeper cannot any more: the leavings of earlier commands too."""
    agent = make(traces, level, detached=True).start()
    litter(agent, traces)
    agent.start_process(f"exec sleep {traces.seconds}")
    os.kill(agent.pid, signal.SIGSTOP)  # it would see to it that the next one goes on
    os.kill(agent.serving, signal.SIGSTOP)
    agent.kill(signal.SIGKILL)
    agent.gone()
    wait_until(lambda: not traces.running(), what="the end of all processes")
    agent = make(traces, level, detached=True, directory_name="control", off="death-signal").start()
    litter(agent, traces)
    agent.kill(signal.SIGKILL)
    agent.gone()
    time.sleep(1)
    assert len(traces.running()) >= 4


@pytest.mark.parametrize("level", ["landlock", "none"])
def test_keeper_and_serving_process_killed(traces, level):
    """Of what runs then, the commands themselves end."""
    agent = make(traces, level, detached=True).start()
    agent.start_process(f"exec sleep {traces.seconds}")
    serving = agent.serving
    os.kill(agent.pid, signal.SIGSTOP)
    os.kill(serving, signal.SIGSTOP)
    os.kill(serving, signal.SIGKILL)
    agent.kill(signal.SIGKILL)
    agent.gone()
    wait_until(lambda: not traces.running(), what="the end of all processes")


@pytest.mark.parametrize("user", [None, USER] if ROOT else [None])
@pytest.mark.parametrize("detached", [False, True], ids=["attached", "detached"])
def test_what_steps_say_of_themselves(traces, user, detached):
    for level in ("full", "landlock"):
        agent = make(traces, level, detached, user=user, directory_name=level).start()
        details = {step["name"]: step["detail"] for step in agent.get("/v1/info").json()["isolation"]["steps"]}
        assert ("outlives the client" in details["life"]) == detached and ("with its client" in details["life"]) != detached
        changed = agent.run("id -u").stdout.decode().strip() != str(os.geteuid() if user is None else user)
        assert ("without a change of uid" in details["identity"]) != changed
        agent.kill()
        agent.gone()
    traces.assert_none()


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize("user", [None, USER] if ROOT else [None])
def test_command_that_stops_the_agent(traces, user):
    """Its parent. The keeper lets it go on, but does not play that game for long."""
    agent = make(traces, "landlock", user=user).start()
    agent.start_process("kill -STOP $PPID")
    assert agent.run("echo answers").stdout == b"answers\n" and state(agent.serving) != "T"
    with contextlib.suppress(raw_http.HttpError):  # it may be over before there is an answer
        agent.start_process("while :; do kill -STOP $PPID; done")
    agent.gone()
    wait_until(lambda: not traces.running(), what="the end of all processes")
    agent = make(traces, "landlock", user=user, directory_name="control", off="stopped-agent").start()
    agent.start_process("setsid sh -c 'sleep 0.1; kill -STOP '$PPID")
    wait_until(lambda: state(agent.serving) == "T", what="the stop")
    time.sleep(0.5)
    assert state(agent.serving) == "T"
    agent.kill()
    agent.gone()
    traces.assert_none()


def test_control_socket_closed(traces):
    agent = make(traces).start()
    agent.start_process(f"sleep {traces.seconds}")
    agent.control.close()
    assert agent.gone() == 0
    traces.assert_none()


@pytest.mark.parametrize("user", [None, USER] if ROOT else [None])
def test_detached(traces, user):
    def work(pipe):
        make(traces, detached=True, static=True).start()
        os.write(pipe, b"r")

    pid, read = as_client(work, user)
    assert os.read(read, 1) == b"r"
    kill_client(pid, read)
    time.sleep(0.3)
    keepers = [pid for pid in traces.running() if descendants(pid)]
    directory = os.path.join(traces.dir, "sandbox")
    assert len(keepers) == 1 and sorted(os.listdir(directory)) == ["record.json", "sock"]
    assert os.stat(directory).st_mode & 0o777 == 0o700 and os.stat(directory + "/sock").st_mode & 0o077 == 0
    lock = os.open(directory, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # so others see that it lives
    os.close(lock)
    os.kill(keepers[0], signal.SIGTERM)
    traces.assert_none()


def test_detached_is_reached_and_ends_by_its_idle_timer(traces):
    agent = make(traces, detached=True, idle_ms=400).start()
    assert agent.run("echo reached").stdout == b"reached\n"
    assert agent.gone() == 0
    traces.assert_none()


@pytest.mark.parametrize("idle_ms", [30 * 24 * 3600 * 1000, (1 << 63) - 1])
def test_long_idle_times_are_kept(idle_ms):
    with LocalAgent(idle_ms=idle_ms) as agent:
        agent.run("sleep 0.1")
        assert agent.get("/v1/info").json()["idle_ms"] == idle_ms


def test_the_caller_s_directory_is_left(traces):
    place = os.path.join(traces.dir, "place")
    os.mkdir(place)
    with LocalAgent(wrap=["/usr/bin/env", "-C", place]) as agent:
        assert os.readlink(f"/proc/{agent.pid}/cwd") == "/"
    os.rmdir(place)


# ---- Starts that fail say why

def refused(**options):
    with pytest.raises(StartError) as caught:
        LocalAgent(**options).start()
    return caught.value.answer


def test_binds_that_cannot_be():
    answer = refused(binds=[("/nonexistent/x", "/work")])
    assert answer["step"] == "binds" and "/nonexistent/x" in answer["error"] and answer["errno"] == 2, answer
    for target in ("/proc", "/dev/shm", "/", "relative", "/a/../b", "/proc/self"):
        answer = refused(binds=[("/usr", target)])
        assert answer["step"] == "binds" and target in answer["error"] and answer["remedy"], answer
    answer = refused(binds=[("/usr", "/home")])
    assert answer["step"] == "binds" and "/home/sandbox" in answer["error"], answer
    answer = refused(binds=[("/usr", "/usr/nonexistent")])
    assert answer["step"] == "binds" and answer["remedy"], answer
    answer = refused(level="landlock", binds=[("/usr", "/elsewhere")])
    assert answer["step"] == "binds" and "level" in answer["error"], answer


def forbidden(**options):
    """Started where no user namespace can be made."""
    return refused(wrap=["/usr/bin/unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$0" "$@"'], **options)


def test_user_namespaces_forbidden_by_sysctl():
    answer = forbidden()
    assert answer["step"] == "namespaces", answer
    assert "user.max_user_namespaces" in answer["remedy"] and '"landlock"' in answer["remedy"], answer


# What /proc says there; a word of the remedy
CAUSES = [
    ({}, "raise sysctl user.max_user_namespaces"),  # the error's number itself: ENOSPC
    ({"sys/user/max_user_namespaces": "0\n"}, "above 0"),
]
# The same for EPERM, which is what these give
DENIALS = [
    ({}, "a container or chroot"),
    ({"sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "AppArmor profile"),
    ({"sys/kernel/apparmor_restrict_unprivileged_userns": "0\n"}, "a container or chroot"),
    ({"self/status": "Name:\tx\nSeccomp:\t2\n"}, "security-opt seccomp=unconfined"),
    ({"self/status": "Name:\tx\nSeccomp:\t0\n"}, "a container or chroot"),
]
USER_DENIALS = [({"sys/kernel/unprivileged_userns_clone": "0\n"}, "unprivileged_userns_clone=1")]


def system(place, files):
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    place.chmod(0o755)
    return {"SBX_TEST_DIRECTORY": str(place)}


@pytest.fixture
def open_place():
    """A directory that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="sbx-proc-") as path:
        yield Path(path)


@pytest.mark.parametrize("files,word", CAUSES)
def test_causes_of_too_few_namespaces(open_place, files, word):
    answer = forbidden(env=system(open_place, files))
    assert answer["step"] == "namespaces" and word in answer["remedy"] and '"landlock"' in answer["remedy"], answer


@pytest.mark.parametrize("binds", [[], [("/usr", "/work")]], ids=["", "bind"])
@pytest.mark.parametrize("files,word", DENIALS + USER_DENIALS)
def test_causes_of_refused_mounts(open_place, files, word, binds):
    """As AppArmor's rule has it: the namespaces are made, but without rights in them. A bind, which is opened first, gets the same words."""
    user = USER if ROOT else None
    answer = refused(env=system(open_place, files), off="namespace-rights", user=user, binds=binds)
    assert answer["step"] in ("binds", "namespaces", "root") and answer["errno"] == 1 and word in answer["remedy"], answer


@pytest.mark.skipif(not ROOT, reason="needs root to mask /proc as containers do")
def test_masked_proc():
    answer = refused(wrap=["/usr/bin/unshare", "-m", "sh", "-c", 'mount --bind /dev/null /proc/keys; exec "$0" "$@"'])
    assert answer["step"] == "root" and "systempaths=unconfined" in answer["remedy"], answer


def test_landlock_that_lets_files_be_truncated():
    """Before Linux 6.2: enough behind a root of its own, not without."""
    answer = refused(level="landlock", off="landlock-truncate")
    assert answer["step"] == "landlock" and "6.2" in answer["remedy"], answer
    with LocalAgent(off="landlock-truncate") as agent:
        assert agent.steps()["landlock"]


def test_a_limit_that_a_level_cannot_hold():
    for level in ("landlock", "none"):
        answer = refused(level=level, limits={"disk": 1 << 20})
        assert answer["step"] == "limits" and "disk" in answer["error"] and answer["remedy"], answer


def test_inside_of_a_sandbox():
    """Where a seccomp filter forbids user namespaces, the error says so."""
    config = '{"token":"t","level":"full","network":"none"}'
    script = (f"cp /agent/hfsandbox-agent a; echo '{config}' > config; mkfifo client; (sleep 5 > client &)\n"
              "./a --local 3<config 4</dev/null 5>status 6<client; cat status")
    with LocalAgent(binds=[(program(True).parent, "/agent")]) as agent:
        said = agent.run(script).stdout.decode()
    assert '"step":"namespaces"' in said and "seccomp" in said and "landlock" in said, said


def test_root_of_a_user_namespace_without_other_ids():
    """Rootless containers: their root has no uid to give to a sandbox but its own."""
    with LocalAgent(wrap=["/usr/bin/unshare", "-Ur"]) as agent:
        assert agent.run("id -u").stdout == b"1000\n"
        assert all(agent.steps().values())
