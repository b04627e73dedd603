"""Pools on the command line, on the local Hub: made, listed, shown, used, ended; a signal while one is made leaves no job."""
# ctest: timeout=300
import json
import re
import signal
import time

import pytest
from agent import wait_until
from command import User
from localhub.accounts import Accounts


@pytest.fixture
def user(hub):
    hub.hosts = lambda: [job for job in hub.jobs.running() if job.labels.get("hf-sandbox-mode") == "pool"]
    with User(hub=hub) as user:
        yield user


def made(user, *options):
    return user.ok("pool", "create", *options).decode().strip()


def pool_json(user, *words):
    return json.loads(user.ok("pool", words[0], "--json", *words[1:]))


@pytest.mark.parametrize("options,prefix", [((), ""), ((), "alice/"), (("--namespace", "acme"), "acme/")], ids=["id", "namespace/id", "organization"])
def test_use(user, hub, options, prefix):
    """A sandbox of a pool is used by its id as any other."""
    name = made(user, "--name", "p", *options)
    assert name == ("acme/p" if options else "p")
    id = user.ok("create", "--pool", name, "-e", "A=1").decode().strip()
    host, own = id.split("/")[-1].split(".")
    assert host == hub.jobs.last().id and id.startswith("acme/") == bool(options)
    box = prefix + f"{host}.{own}"
    user.ok("cp", "-", f"{box}:in.txt", input=b"hello\n")
    assert user.ok("exec", box, "-e", "B=2", "-c", "echo $A$B; tr a-z A-Z <in.txt", input=b"") == b"12\nHELLO\n"
    (user.home / "tree/deep").mkdir(parents=True)
    (user.home / "tree/deep/file").write_bytes(bytes(range(256)))
    user.ok("cp", "-r", "tree", f"{box}:")
    user.ok("cp", "-r", f"{box}:tree", "back")
    user.ok("cp", f"{box}:in.txt", "here.txt")
    assert (user.home / "back/deep/file").read_bytes() == bytes(range(256)) and (user.home / "here.txt").read_text() == "hello\n"
    assert [row["name"] for row in user.json("ls", f"{box}:tree")] == ["deep"]
    process = user.ok("spawn", box, "--tag", "worker", "-c", "echo out; sleep 300").decode().strip()
    wait_until(lambda: user.ok("logs", box, process) == b"out\n", what="its output")
    assert [p["tag"] for p in user.json("ps", box) if p["running"]] == ["worker"]
    user.ok("kill", box, process)
    assert user("wait", box, process).code == 128 + 9
    info = user.json("info", box)
    assert info["pool"] == "p" and info["host"] == host and info["isolation"]["level"] == "host"
    assert user.json("connect", box)["id"] == id
    assert user.json("kill", box) == {"id": box, "ended": 1}
    for words in (["exec", box, "--", "true"], ["kill", box], ["cp", f"{box}:x", "x"], ["connect", box]):
        line = user.fails(*words)
        assert host in line and own in line and "hfsandbox list" in line, line
    assert [job.id for job in hub.hosts()] == [host], "its host goes on"


def test_run(user, hub):
    made(user, "--name", "p")
    run = user("run", "--pool", "p", "--memory", "256M", "--processes", "20", "-c", "cat; ulimit -p; ulimit -d; exit 7", input=b"in\n")
    assert (run.code, run.out, run.err) == (7, b"in\n20\n262144\n", b"")
    assert user("run", "--pool", "p", "--timeout", "300ms", "--", "sleep", "300").code == 124
    process = user.start("run", "--pool", "p", "-c", "echo ready; sleep 300")
    assert process.stdout.readline() == b"ready\n" and pool_json(user, "info", "p")["sandboxes"] == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert pool_json(user, "info", "p")["sandboxes"] == 0 and len(hub.jobs) == 1


def test_what_the_options_are_for_the_hub(user, hub):
    name = made(user, "--per-host", "3", "--max-hosts", "4", "--warm", "2", "--idle-timeout", "90s", "--image", "debian:12", "--flavor", "cpu-upgrade")
    assert re.fullmatch(r"pool-[0-9a-f]{12}", name) and len(hub.jobs) == 2
    for job in hub.jobs:
        assert (job.request["dockerImage"], job.request["flavor"], job.namespace, job.labels["hf-sandbox-pool"]) == ("debian:12", "cpu-upgrade", "alice", name)
        environment = job.request["environment"]
        assert (environment["SBX_CAPACITY"], environment["SBX_MAX_HOSTS"], environment["SBX_IDLE_TIMEOUT"]) == ("3", "4", "90")
    assert pool_json(user, "create", "--namespace", "acme", "--name", "q", "--idle-timeout", "none") == {"name": "q", "hub_namespace": "acme"}
    request = hub.jobs.last().request
    assert hub.jobs.last().namespace == "acme" and request["environment"]["SBX_CAPACITY"] == "50" and "SBX_IDLE_TIMEOUT" not in request["environment"]
    # One that is there is used, and grows to what is asked for.
    assert made(user, "--name", name, "--image", "debian:12", "--flavor", "cpu-upgrade", "--warm", "2") == name and len(hub.jobs) == 3
    assert made(user, "--name", name, "--image", "debian:12", "--flavor", "cpu-upgrade", "--warm", "3") == name and len(hub.jobs) == 4


def test_list_and_info(user, hub):
    assert user.ok("pool", "list").decode().split() == ["NAME", "IMAGE", "FLAVOR", "HOSTS", "PER", "HOST", "CREATED"] and pool_json(user, "list") == []
    before = time.time() * 1000
    made(user, "--name", "p", "--per-host", "2", "--max-hosts", "2")
    first, second, third = (user.ok("create", "--pool", "p").decode().strip() for _ in range(3))
    hosts = [id.split(".")[0] for id in (first, second, third)]
    assert hosts[0] == hosts[1] != hosts[2]
    alone = user.ok("create").decode().strip()
    [row] = pool_json(user, "list")
    assert abs(row.pop("created_at_ms") - before) < 60000
    assert row == {"name": "p", "provider": "jobs", "hub_namespace": "alice", "image": "python:3.12", "flavor": "cpu-basic", "hosts": 2, "sandboxes_per_host": 2}
    assert re.fullmatch(r"p +python:3\.12 +cpu-basic +2 +2 +\d{4}-\S+ \S+", user.ok("pool", "list").decode().split("\n")[1])

    info = pool_json(user, "info", "p")
    assert (info["sandboxes"], info["sandboxes_per_host"], info["max_hosts"], info["image"]) == (3, 2, 2, "python:3.12")
    assert {(host["id"], host["stage"], host["sandboxes"], host["capacity"]) for host in info["hosts"]} == {
        (hosts[0], "RUNNING", 2, 2), (hosts[2], "RUNNING", 1, 2)}
    assert all("Landlock" in host["isolation"] and 0 <= host["age_ms"] < 60000 for host in info["hosts"])
    text = user.ok("pool", "info", "p").decode()
    assert "\nsandboxes: 3\n" in text and "\nsandboxes per host: 2\n" in text and "\nmost hosts: 2\n" in text
    assert re.search(rf"^{hosts[0]} +RUNNING +2 of 2 +user and Landlock \d+ +\d+ s$", text, re.M)

    rows = {row["id"]: row for row in user.json("list")}
    assert {id: row["pool"] for id, row in rows.items()} == {first: "p", second: "p", third: "p", alone: None}
    assert rows[first]["cost_micro_usd"] is None and rows[first]["stage"] == "RUNNING" and rows[first]["hub_namespace"] == "alice"
    head, *lines = user.ok("list").decode().rstrip("\n").split("\n")
    assert re.split(" {2,}", head) == ["ID", "STAGE", "IMAGE", "FLAVOR", "CREATED", "RUNNING SINCE", "COST", "POOL"] and len(lines) == 4
    assert re.search(rf"^{first} .* p$", "\n".join(lines), re.M) and re.search(rf"^{alone} .*\$\d+\.\d{{4}} *$", "\n".join(lines), re.M)
    assert user.json("list", "--label", "team=red") == []
    user.ok("kill", first)
    assert {row["id"] for row in user.json("list")} == {second, third, alone}
    assert user.json("reap", "--all") == {"reaped": 1} and len(hub.hosts()) == 2, "pools are not reaped"


def test_a_full_pool_says_how_it_grows(user, hub):
    made(user, "--name", "p", "--per-host", "1", "--max-hosts", "1")
    user.ok("create", "--pool", "p")
    line = user.fails("create", "--pool", "p")
    assert "'p' is full" in line and "raise --max-hosts of hfsandbox pool create, with --warm for as many hosts, or end some" in line and "max_hosts" not in line, line
    made(user, "--name", "p", "--per-host", "1", "--max-hosts", "2", "--warm", "2")
    user.ok("create", "--pool", "p")
    assert len(hub.hosts()) == 2


def test_spread(user, hub):
    made(user, "--name", "p", "--warm", "2")
    assert len({user.ok("create", "--pool", "p", "--spread").decode().split(".")[0] for _ in range(2)}) == 2
    user.json("kill", "--all", "-y")
    made(user, "--name", "p", "--warm", "2")
    assert len({user.ok("create", "--pool", "p").decode().split(".")[0] for _ in range(2)}) == 1


@pytest.mark.parametrize("words,said", [
    (["create", "--pool", "none"], ["no pool 'none'", "its hosts have ended", "pool list", "pool create --name"]),
    (["run", "--pool", "none", "--", "true"], ["no pool 'none'"]),
    (["create", "--pool", "acme/none"], ["no pool 'acme/none'"]),
    (["pool", "info", "none"], ["no pool 'none'", "pool list"]),
    (["pool", "delete", "none"], ["no pool 'none'", "pool list"]),
    (["pool", "delete", "none", "-y"], ["no pool 'none'", "pool list"]),
    (["pool", "info", "a b"], ["the name is 'a b'", "letters, digits"]),
    (["pool", "info", "acme/"], ["'acme/'", "NAMESPACE/NAME"]),
    (["pool", "info", "acme/p", "--namespace", "alice"], ["'acme/p'", "--namespace alice"]),
    (["pool", "create", "--name", "a/b"], ["the name is 'a/b'"]),
    (["pool", "create", "--flavor", "no such"], ["--flavor is 'no such'", "hfsandbox hardware"]),
    (["pool", "create", "--image", "no/such"], ["no/such"]),
    (["pool", "create", "--warm", "3", "--max-hosts", "2"], ["--warm 3", "--max-hosts 2"]),
    (["pool", "create", "--warm", "1001"], ["'1001'", "1 to 1000"]),
    (["pool", "create", "--warm", "0"], ["--warm '0'"]),
    (["pool", "create", "--namespace", "mallory"], ["403"]),
    *((["create", "--pool", "p", *words], [words[0], "--pool", "there already"]) for words in (
        ["--secret", "A=1"], ["--volume", "hf://a/b:/c"], ["--label", "a=b"], ["--forward-hf-token"], ["--lifetime", "1h"], ["--max-cost", "1"],
        ["--expose", "80"], ["--client-key", "x"])),
    *((["create", "--pool", "p", *words], [words[0], "there already", "hfsandbox pool create takes it"]) for words in (["--image", "x"], ["--flavor", "x"])),
    (["run", "--memory", "1G", "--", "true"], ["--memory", "provider local", "or --pool"]),
    (["create", "--pool", "p", "--disk", "1G"], ["--disk", "provider local"]),
    (["create", "--spread"], ["--spread", "--pool"]),
])
def test_what_cannot_be(user, hub, words, said):
    line = user.fails(*words)
    assert all(word in line for word in said) and "sbx_" not in line and hub.token not in line, line
    assert not hub.jobs.running()


def test_options_that_a_pool_refuses(user, hub):
    made(user, "--name", "p")
    assert "--workdir" in user.fails("create", "--pool", "p", "-w", "/tmp")
    line = user.fails("create", "--pool", "p", "-e", "HF_TOKEN")
    assert "opens every sandbox of the pool" in line and hub.token not in line, line
    assert pool_json(user, "info", "p")["sandboxes"] == 0


def test_delete(user, hub):
    """An unused one ends at once, one that is used after a question, or with -y."""
    made(user, "--name", "p")
    assert pool_json(user, "delete", "p") == {"name": "p", "hosts_ended": 1} and not hub.jobs.running()
    made(user, "--name", "p", "--warm", "2")
    id = user.ok("create", "--pool", "p").decode().strip()
    line = user.fails("pool", "delete", "p")
    assert "'p' has 1 sandbox:" in line and "-y" in line and "--yes" in line, line
    question = "hfsandbox: pool 'p' has 1 sandbox: end all? (y/N) "
    assert user.asks("pool", "delete", "p", answer=b"n\n") == (125, b"", question + "n\nhfsandbox: nothing was ended\n")
    assert user.ok("exec", id, "--", "echo", "on") == b"on\n"
    assert user.asks("pool", "delete", "p", answer=b"y\n") == (0, b"", question + "y\n") and not hub.jobs.running()
    made(user, "--name", "p", "--namespace", "acme")
    user.ok("create", "--pool", "acme/p")
    assert "acme" not in user.fails("pool", "delete", "p", "-y") and len(hub.hosts()) == 1
    user.ok("pool", "delete", "acme/p", "-y")
    assert not hub.jobs.running()


def test_delete_needs_no_host_to_answer(user, hub):
    hub.dials.set(scheduling_delay=1000)
    creating = user.start("pool", "create", "--name", "p", "--start-timeout", "1h")
    wait_until(hub.hosts, what="the host")
    assert pool_json(user, "info", "p")["hosts"][0]["stage"] == "SCHEDULING" and user.json("list") == []
    user.ok("pool", "delete", "p")
    _, err = creating.communicate(timeout=20)
    assert creating.returncode == 125 and b"CANCELED" in err and not hub.jobs.running()


def test_strangers(user, hub):
    """A pool of another user is listed; what is in it is not, and nothing ends it."""
    name = made(user, "--namespace", "acme", "--name", "theirs")
    id = user.ok("create", "--pool", name).decode().strip()
    bob = {"HF_TOKEN": Accounts.BOB, "HF_HOME": "/nonexistent"}
    assert [line.split(" ")[0] for line in user.ok("pool", "list", "--namespace", "acme", env=bob).decode().split("\n")] == ["NAME", name, ""]
    run = user("list", "--namespace", "acme", "--json", env=bob)
    assert run.code == 0 and json.loads(run.out) == []
    assert re.fullmatch(r"hfsandbox: the sandboxes of pool 'theirs' are not listed: .*another user has made it\n", run.err.decode()), run
    for words in (["create", "--pool", name], ["pool", "info", name], ["pool", "delete", name], ["exec", id, "--", "true"]):
        assert "made by another user" in (line := user.fails(*words, env=bob)) or "another user has made it" in line, line
    assert "with a host of yours" in user.fails("pool", "delete", name, "-y", env=bob)
    assert len(hub.hosts()) == 1 and user.ok("exec", id, "--", "echo", "on") == b"on\n"


@pytest.mark.parametrize("how", ["asked", "-y"])
def test_the_end_of_all_ends_pools(user, hub, how):
    made(user, "--name", "p")
    made(user, "--name", "q")
    user.ok("create", "--pool", "p")
    user.ok("create")
    if how == "-y":
        assert user.json("kill", "--all", "-y") == {"ended": 3}
    else:
        question = "hfsandbox: end 2 sandboxes and 2 pools of alice? (y/N) "
        assert user.asks("kill", "--all", answer=b"n\n") == (125, b"", question + "n\nhfsandbox: nothing was ended\n") and len(hub.jobs.running()) == 3
        assert user.asks("kill", "--all", answer=b"y\n") == (0, b"", question + "y\n")
    assert not hub.jobs.running()


def test_from_another_computer(user, hub):
    """Its name and the same token are all it takes."""
    made(user, "--name", "p", "--per-host", "1")
    with User(hub=hub) as other:
        id = other.ok("create", "--pool", "p").decode().strip()
        assert other.ok("create", "--pool", "p").decode().split(".")[0] != id.split(".")[0]
        assert user.ok("exec", id, "--", "echo", "there") == b"there\n"
        assert pool_json(user, "info", "p")["sandboxes_per_host"] == 1


# ---------------------------------------------------------------- a signal, a deadline, a closed output while it is made

POINTS = {
    "before the reply": (lambda hub: hub.fault("create", delay=1), lambda hub, n: len(hub.jobs) == n),
    "scheduling": (lambda hub: hub.dials.set(scheduling_delay=1000), lambda hub, n: len(hub.jobs) == n and hub.requests.of("inspect")),
    "waiting for the agent": (lambda hub: hub.dials.set(boot_delay=1000), lambda hub, n: len(hub.jobs) == n and hub.jobs.last().stage == "RUNNING"),
    "a lost reply": (lambda hub: (hub.fault("create", cut="after"), hub.fault("list", delay=1)), lambda hub, n: len(hub.jobs) == n),
}


def started(user, hub, point, words, jobs, **more):
    prepare, reached = POINTS[point]
    prepare(hub)
    process = user.start(*words, **more)
    wait_until(lambda: reached(hub, jobs), 20, point)
    return process


def ended(hub, process, number, before=0):
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == -number and (out, err) == (b"", b"")
    hub.clear_faults()
    wait_until(lambda: len(hub.jobs.running()) == before, 15, "the end of the job")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("words,hosts", [(["pool", "create"], 1), (["pool", "create", "--name", "p", "--warm", "2"], 2)], ids=["one", "two"])
def test_a_signal_during_creation_leaves_no_job(user, hub, point, words, hosts):
    ended(hub, started(user, hub, point, words, hosts), signal.SIGINT)
    assert pool_json(user, "list") == []


@pytest.mark.parametrize("point", ["scheduling", "waiting for the agent"])
@pytest.mark.parametrize("words", [["create", "--pool", "p"], ["run", "--pool", "p", "--", "true"]], ids=["create", "run"])
def test_a_signal_while_a_pool_grows_leaves_it_as_it_was(user, hub, point, words):
    made(user, "--name", "p", "--per-host", "1")
    id = user.ok("create", "--pool", "p").decode().strip()
    ended(hub, started(user, hub, point, words, 2), signal.SIGTERM, 1)
    assert user.ok("exec", id, "--", "echo", "on") == b"on\n" and pool_json(user, "info", "p")["sandboxes"] == 1


@pytest.mark.parametrize("words,before", [(["pool", "create"], 0), (["create", "--pool", "p"], 1)], ids=["new", "grows"])
def test_it_is_the_cancellation_that_ends_the_job(user, hub, words, before):
    """The same without it: the job stays."""
    if before:
        made(user, "--name", "p", "--per-host", "1")
        user.ok("create", "--pool", "p")
    process = started(user, hub, "scheduling", words, before + 1, env={"SBX_TEST_OFF": "job-end"})
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT and len(hub.jobs.running()) == before + 1


def test_start_timeout_leaves_no_job(user, hub):
    hub.dials.set(scheduling_delay=1000)
    assert "SCHEDULING" in user.fails("pool", "create", "--start-timeout", "700ms")
    assert len(hub.jobs) == 1 and not hub.jobs.running()


def test_a_name_that_nobody_can_be_told_ends_its_pool(user, hub):
    with open("/dev/full", "wb") as full:
        assert user("pool", "create", stdout=full).code == 125
        assert len(hub.jobs) == 1 and not hub.jobs.running()
        assert user("pool", "create", "--name", "p", stdout=full).code == 125
        assert len(hub.hosts()) == 1, "whoever gave the name knows it"
        assert user("create", "--pool", "p", stdout=full).code == 125
        assert pool_json(user, "info", "p")["sandboxes"] == 0
