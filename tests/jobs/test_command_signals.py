"""A signal at any point of a creation leaves no job; the end of run is the end of its job."""
# ctest: timeout=300
import signal
import time

import pytest
from agent import wait_until
from command import User

POINTS = {
    "before the reply": (lambda hub: hub.fault("create", delay=1), lambda hub: len(hub.jobs) == 1),
    "whoami": (lambda hub: hub.fault("whoami", hang=True), lambda hub: hub.requests.of("whoami")),
    "scheduling": (lambda hub: hub.dials.set(scheduling_delay=1000), lambda hub: hub.requests.of("inspect")),
    "waiting for the agent": (lambda hub: hub.dials.set(boot_delay=1000), lambda hub: hub.jobs.running() and hub.jobs.last().stage == "RUNNING"),
    "a lost reply": (lambda hub: (hub.fault("create", cut="after"), hub.fault("list", delay=1)), lambda hub: len(hub.jobs) == 1),
}


@pytest.fixture
def user(hub):
    with User(hub=hub) as user:
        yield user


def started(user, hub, point, words, **more):
    prepare, reached = POINTS[point]
    prepare(hub)
    process = user.start(*words, **more)
    wait_until(lambda: reached(hub), 20, point)
    return process


def none_left(hub):
    hub.clear_faults()
    wait_until(lambda: not hub.jobs.running(), 15, "the end of the job")


@pytest.mark.parametrize("words", [["create"], ["run", "--", "true"]], ids=["create", "run"])
@pytest.mark.parametrize("point", POINTS)
def test_a_signal_during_creation_leaves_no_job(user, hub, point, words):
    process = started(user, hub, point, words)
    process.send_signal(signal.SIGTERM if words[0] == "create" else signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == -(signal.SIGTERM if words[0] == "create" else signal.SIGINT) and (out, err) == (b"", b"")
    none_left(hub)


@pytest.mark.parametrize("point", ["before the reply", "scheduling"])
def test_it_is_the_cancellation_that_ends_the_job(user, hub, point):
    """The same without it: the job stays."""
    process = started(user, hub, point, ["create"], env={"SBX_TEST_OFF": "job-end"})
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM and len(hub.jobs.running()) == 1


@pytest.mark.parametrize("point", ["before the reply", "scheduling"])
def test_a_second_signal_leaves_no_job(user, hub, point):
    """It comes while the end of the job is under way: the Hub takes its time for that."""
    hub.fault("cancel", delay=1.5)
    process = started(user, hub, point, ["create"])
    process.send_signal(signal.SIGINT)
    wait_until(lambda: hub.requests.of("cancel"), what="the cancellation")
    time.sleep(0.6)  # what comes sooner counts as the same one
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    none_left(hub)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_run_that_is_ended_by_a_signal_ends_its_job(user, hub, number):
    process = user.start("run", "-c", "echo ready; sleep 300")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (-number, b"")
    assert hub.jobs.last().stage == "CANCELED" and not hub.jobs.running()


def test_run_ends_its_job_however_the_command_ends(user, hub):
    for shell, code in (("exit 3", 3), ("kill -9 $$", 128 + 9), ("yes", -signal.SIGPIPE)):
        process = user.start("run", "-c", shell)
        if shell == "yes":
            process.stdout.read(2)
            process.stdout.close()
            code = 128 + signal.SIGPIPE
        assert process.wait(20) == code
        process.stderr.close()
        assert hub.jobs.last().stage == "CANCELED" and not hub.jobs.running()


def test_a_killed_run_leaves_what_its_idle_timeout_ends(user, hub):
    process = user.start("run", "--idle-timeout", "1s", "-c", "echo ready; exec sleep 2")
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.communicate()
    wait_until(lambda: not hub.jobs.running(), 20, "the end of the idle job")
    assert hub.jobs.last().stage == "COMPLETED"


def test_a_canceled_creation_does_not_end_what_it_has_only_found(user, hub):
    """By its client key: somebody else may use it."""
    id = user.ok("create", "--client-key", "shared").decode().strip()
    hub.fault("proxy", hang=True, path="/health")
    process = user.start("create", "--client-key", "shared", "-v")
    for line in process.stderr:
        if b"phase: running" in line:
            break
    process.terminate()
    process.communicate(timeout=20)
    hub.clear_faults()
    assert process.returncode == -signal.SIGTERM and len(hub.jobs) == 1
    assert user.ok("exec", id, "--", "echo", "there") == b"there\n"
