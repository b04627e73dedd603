"""Pools on this computer: a name, how many sandboxes it carries, and these."""
import json
import re
import signal

import pytest
from command import ORDINARY, User


def pool_json(user, *words):
    return json.loads(user.ok("pool", words[0], "--json", *words[1:]))


def test_life_of_a_pool(user):
    assert pool_json(user, "list") == [] and pool_json(user, "create", "--name", "p", "--per-host", "2") == {"name": "p", "hub_namespace": None}
    row = {"name": "p", "provider": "local", "hub_namespace": None, "image": None, "flavor": None, "hosts": 1, "sandboxes_per_host": 2,
           "created_at_ms": None}
    assert pool_json(user, "list") == [row], "it is there without a sandbox"
    first, second = (user.ok("create", "--pool", "p", "-e", "A=1", "-w", "/tmp", "--open-files", "123").decode().strip() for _ in range(2))
    alone = user.ok("create").decode().strip()
    line = user.fails("create", "--pool", "p")
    assert "'p' is full" in line and "2 sandboxes of at most 2" in line and "hfsandbox pool create" in line, line
    assert user.ok("exec", first, "-c", "echo $A $PWD $(ulimit -n) $(ls /home | wc -l)") == b"1 /tmp 123 1\n"
    user.ok("cp", "-", f"{first}:/tmp/file", input=b"mine")
    assert user("exec", second, "--", "test", "-e", "/tmp/file").code == 1

    info = pool_json(user, "info", "p")
    [host] = info["hosts"]
    assert (info["provider"], info["sandboxes"], info["sandboxes_per_host"], info["max_hosts"]) == ("local", 2, 2, 1)
    assert (host["sandboxes"], host["capacity"], host["isolation"]) == (2, 2, "namespaces") and host["age_ms"] >= 0
    text = user.ok("pool", "info", "p").decode()
    assert text.startswith("name: p\nprovider: local\nsandboxes: 2\nsandboxes per host: 2\nmost hosts: 1\n")
    assert re.search(r"^local +RUNNING +2 of 2 +namespaces +\d+ s$", text, re.M)
    head, line = user.ok("pool", "list").decode().strip().split("\n")
    assert re.split(" {2,}", head) == ["NAME", "IMAGE", "FLAVOR", "HOSTS", "PER HOST", "CREATED"] and re.fullmatch(r"p +1 +2 +\d{4}-\S+ \S+", line)

    assert {row["id"]: row["pool"] for row in user.json("list")} == {first: "p", second: "p", alone: None}
    head, *lines = user.ok("list").decode().rstrip("\n").split("\n")
    assert head.split() == ["ID", "PROVIDER", "STATE", "CREATED", "PID", "POOL"] and len([line for line in lines if line.endswith(" p")]) == 2
    assert user.json("kill", second) == {"id": second, "ended": 1} and user.ok("run", "--pool", "p", "--", "echo", "in") == b"in\n"
    assert pool_json(user, "delete", "p", "-y") == {"name": "p", "sandboxes_ended": 1}
    assert pool_json(user, "list") == [] and [row["id"] for row in user.json("list")] == [alone]
    assert "no pool 'p' on this computer" in user.fails("create", "--pool", "p")


def test_its_size_is_what_was_said_last(user):
    name = user.ok("pool", "create", "--per-host", "1").decode().strip()
    assert re.fullmatch(r"pool-[0-9a-f]{12}", name)
    user.ok("create", "--pool", name)
    user.fails("create", "--pool", name)
    assert user.ok("pool", "create", "--name", name, "--per-host", "1", "--max-hosts", "2").decode().strip() == name
    user.ok("create", "--pool", name)
    user.fails("create", "--pool", name)


def test_delete_asks_only_for_what_is_used(user):
    user.ok("pool", "create", "--name", "p")
    assert user.ok("pool", "delete", "p") == b""
    user.ok("pool", "create", "--name", "p")
    id = user.ok("create", "--pool", "p").decode().strip()
    line = user.fails("pool", "delete", "p")
    assert "'p' has 1 sandbox:" in line and "-y" in line and "--yes" in line
    question = "hfsandbox: pool 'p' has 1 sandbox: end all? (y/N) "
    assert user.asks("pool", "delete", "p", answer=b"\n") == (125, b"", question + "\nhfsandbox: nothing was ended\n")
    assert [row["id"] for row in user.json("list")] == [id] and len(pool_json(user, "list")) == 1
    code, out, shown = user.asks("pool", "delete", "p", "--json", answer=b"y\n")
    assert (code, json.loads(out), shown) == (0, {"name": "p", "sandboxes_ended": 1}, question + "y\n")
    assert user.json("list") == pool_json(user, "list") == []


def test_run_in_a_pool_ends_with_its_command(user):
    user.ok("pool", "create", "--name", "p", "--per-host", "1")
    run = user("run", "--pool", "p", "-c", "cat; exit 9", input=b"in")
    assert (run.code, run.out, run.err) == (9, b"in", b"")
    process = user.start("run", "--pool", "p", "-c", "echo ready; sleep 300")
    assert process.stdout.readline() == b"ready\n" and pool_json(user, "info", "p")["sandboxes"] == 1
    user.fails("run", "--pool", "p", "--", "true")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT and pool_json(user, "info", "p")["sandboxes"] == 0


def test_all_are_ended_with_those_of_pools(user):
    user.ok("pool", "create", "--name", "p")
    user.ok("create", "--pool", "p")
    user.ok("create")
    assert user.asks("kill", "--all", "--json", answer=b"y\n") == (0, b'{"ended":2}\n', "hfsandbox: end 2 sandboxes of this computer? (y/N) y\n")
    assert user.json("list") == [] and [row["name"] for row in pool_json(user, "list")] == ["p"], "a name costs nothing"


def test_a_sandbox_whose_id_nobody_can_be_told_leaves_its_place(user):
    name = user.ok("pool", "create", "--per-host", "1").decode().strip()
    with open("/dev/full", "wb") as full:
        assert user("create", "--pool", name, stdout=full).code == 125
        assert pool_json(user, "info", name)["sandboxes"] == 0
        user.ok("pool", "delete", name)
        assert user("pool", "create", stdout=full).code == 125 and pool_json(user, "list") == []


@pytest.mark.skipif("os.getuid() != 0", reason="needs two users")
def test_pools_are_each_users_own():
    with User() as root, User(ORDINARY) as other:
        root.ok("pool", "create", "--name", "p")
        assert pool_json(other, "list") == []
        assert "no pool 'p'" in other.fails("create", "--pool", "p")
