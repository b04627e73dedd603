"""The command on the local Hub: the life of a sandbox in a job, options, lists, errors."""
# ctest: timeout=300
import json
import os
import pty
import re
import subprocess

import pytest
from agent import wait_until
from command import User


@pytest.fixture
def user(hub):
    with User(hub=hub) as user:
        yield user


@pytest.fixture(params=["", "alice/"], ids=["id", "namespace/id"])
def sandbox(user, request):
    return request.param + user.ok("create").decode().strip()


def test_use(user, sandbox, hub):
    id = sandbox.split("/")[-1]
    user.ok("cp", "-", f"{sandbox}:in.txt", input=b"hello\n")
    assert user.ok("exec", sandbox, "--", "tr", "a-z", "A-Z", input=b"hello\n") == b"HELLO\n"
    assert user.ok("cp", f"{sandbox}:in.txt", "-") == b"hello\n"
    user.ok("cp", f"{sandbox}:in.txt", "here.txt")
    (user.home / "tree/deep").mkdir(parents=True)
    (user.home / "tree/deep/file").write_bytes(bytes(range(256)))
    user.ok("cp", "-r", "tree", f"{sandbox}:/tmp/")
    user.ok("cp", "-r", f"{sandbox}:/tmp/tree", "back")
    assert (user.home / "here.txt").read_text() == "hello\n" and (user.home / "back/deep/file").read_bytes() == bytes(range(256))
    assert [row["name"] for row in user.json("ls", f"{sandbox}:/tmp/tree")] == ["deep"]
    process = user.ok("spawn", sandbox, "--tag", "worker", "-c", "echo out; sleep 300").decode().strip()
    wait_until(lambda: user.ok("logs", sandbox, process) == b"out\n", what="its output")
    assert [p["tag"] for p in user.json("ps", sandbox) if p["running"]] == ["worker"]
    run = user("wait", sandbox, process, "--timeout", "10ms")
    assert run.code == 124 and b"still runs" in run.err
    user.ok("kill", sandbox, process)
    assert user("wait", sandbox, process).code == 128 + 9
    info = user.json("info", sandbox)
    assert info["provider"] == "jobs" and info["id"] == id and info["namespace"] == "alice" and info["image"] == "python:3.12"
    assert user.json("kill", sandbox) == {"id": sandbox, "ended": 1}
    assert hub.jobs[id].stage == "CANCELED" and user.json("list") == []
    for words in (["exec", sandbox, "--", "true"], ["ps", sandbox], ["kill", sandbox + "0"], ["cp", f"{sandbox}:x", "x"], ["connect", sandbox]):
        line = user.fails(*words)
        assert id in line and "reap" not in line
    for words in (["kill", "f" * 24], ["connect", "f" * 24]):
        assert "hfsandbox list shows" in (line := user.fails(*words)) and "NAMESPACE/ID" in line, line
        assert "--namespace" in (line := user.fails(words[0], "acme/" + words[1])) and "NAMESPACE/ID" not in line, line


def test_exit_codes(user, hub):
    run = user("run", "-c", "cat; echo error >&2; exit 7", input=b"in")
    assert (run.code, run.out, run.err) == (7, b"in", b"error\n")
    assert user("run", "--timeout", "300ms", "--", "sleep", "300").code == 124
    user.fails("run", "--", "no-such-program", code=127)
    user.fails("run", "--image", "no/such/image", "--", "true")
    assert not hub.jobs.running() and len(hub.jobs) == 4


def test_request(user, hub):
    """What the options say is what the Hub gets; a secret that is copied stands on no command line, and in no output."""
    id = user.ok("create", "--image", "debian:12", "--flavor", "cpu-upgrade", "-e", "A=1", "--secret", "COPIED", "--secret=GIVEN=geheim", "--label",
                 "team=red", "-l", "name=mine", "--volume", "hf://buckets/alice/data:/data", "--lifetime", "1h", "--idle-timeout", "90s", "--expose",
                 "8000", "--expose", "8001", "--forward-hf-token", env={"COPIED": "kopiert=1"}).decode().strip()
    request = hub.jobs.last().request
    assert request["dockerImage"] == "debian:12" and request["flavor"] == "cpu-upgrade" and request["timeoutSeconds"] == 3600
    assert request["environment"]["A"] == "1" and request["environment"]["SBX_IDLE_TIMEOUT"] == "90"
    assert request["expose"] == {"ports": [49983, 8000, 8001]}
    assert request["secrets"]["COPIED"] == "kopiert=1" and request["secrets"]["GIVEN"] == "geheim" and request["secrets"]["HF_TOKEN"] == hub.token
    assert request["labels"]["team"] == "red" and request["labels"]["name"] == "mine"
    assert request["volumes"] == [{"type": "bucket", "source": "alice/data", "mountPath": "/data"}]
    shown = b"".join(user.ok(*words) for words in (["list"], ["list", "--json"], ["info", id], ["connect", id], ["ps", id]))
    shown += user("exec", id, "-v", "--", "true").err
    assert not any(secret in shown for secret in (b"kopiert", b"geheim", hub.token.encode()))
    assert user.ok("exec", id, "-c", "echo $A $COPIED $GIVEN; ls -d /data") == b"1 kopiert=1 geheim\n/data\n"
    user.ok("kill", id)
    user.ok("create")
    request = hub.jobs.last().request
    assert "HF_TOKEN" not in request["secrets"] and request["timeoutSeconds"] == 86400 and request["environment"]["SBX_IDLE_TIMEOUT"] == "600"


def test_max_cost(user, hub):
    user.ok("create", "--max-cost", "$0.5", "--flavor", "t4-small")
    price = next(row["micro_usd_per_minute"] for row in user.json("hardware") if row["flavor"] == "t4-small")
    assert 0 < hub.jobs.last().request["timeoutSeconds"] * price <= 500000 * 60
    line = user.fails("create", "--max-cost", "0.01", "--flavor", "t4-small", "--lifetime", "1h")
    assert line.startswith("--max-cost pays for") and "--lifetime" in line and "$0.006667 a minute" in line
    line = user.fails("create", "--max-cost", "0.005", "--flavor", "t4-small")
    assert "--max-cost pays for 44 seconds of 't4-small'" in line and "raise it" in line and "--lifetime" not in line
    assert len(hub.jobs) == 1


def test_client_key(user, hub):
    first = user.ok("create", "--client-key", "the-one")
    assert user.ok("create", "--client-key", "the-one") == first != user.ok("create", "--client-key", "another")
    assert len(hub.jobs.running()) == 2


@pytest.mark.parametrize("words,said", [
    (["--expose", "49983"], "--expose is 49983"),
    (["--label", "a b=c"], "the label 'a b=c'"),
    (["--label", "hf-sandbox=2"], "hf-sandbox"),
    (["--flavor", "no such"], "hfsandbox hardware lists them"),
    (["--image", "a b"], "--image is 'a b'"),
    (["--volume", "data:/data"], "the volume 'data:/data'"),
    (["--namespace", "a/b"], "--namespace is 'a/b'"),
    (["--client-key", "a b"], "--client-key is 'a b'"),
    (["--secret", "SBX_TOKEN=1"], "--secret sets SBX_TOKEN"),
    (["--forward-hf-token", "--env", "HF_TOKEN=x"], "--forward-hf-token would set HF_TOKEN"),
    (["-w", "/tmp"], "exec --workdir"),
    (["--namespace", "mallory"], "403"),
])
def test_options_that_cannot_be(user, hub, words, said):
    line = user.fails("create", *words)
    assert said in line and "sbx_" not in line and "hub_namespace" not in line and hub.token not in line, line
    assert not hub.jobs.running()


def test_lists_and_reap_by_label_and_namespace(user, hub):
    red = user.ok("create", "--label", "team=red").decode().strip()
    hub.dials.set(scheduling_delay=1000)
    waiting = user.start("create", "--label", "team=blue", "--start-timeout", "1h")
    wait_until(lambda: len(hub.jobs) == 2, what="the second job")
    hub.dials.set(scheduling_delay=0.02)
    ours = user.ok("create", "--namespace", "acme").decode().strip()
    assert ours == "acme/" + hub.jobs.last().id and hub.jobs.last().namespace == "acme"
    assert user.ok("exec", ours, "--", "echo", "there") == b"there\n"

    rows = {row["id"]: row for row in user.json("list")}
    blue = next(id for id in rows if id != red)
    assert len(rows) == 2 and set(rows[red]) == {"id", "provider", "created_at_ms", "pid", "detached", "running", "damaged", "hub_namespace", "stage",
                                                  "image", "flavor", "started_at_ms", "cost_micro_usd", "pool"}
    assert rows[red]["stage"] == "RUNNING" and rows[red]["running"] and rows[red]["started_at_ms"] > 0 and rows[red]["hub_namespace"] == "alice"
    assert rows[blue]["stage"] == "SCHEDULING" and not rows[blue]["running"] and rows[blue]["started_at_ms"] is None
    head, *lines = user.ok("list").decode().strip().split("\n")
    assert re.split(" {2,}", head) == ["ID", "STAGE", "IMAGE", "FLAVOR", "CREATED", "RUNNING SINCE", "COST"]
    assert all(re.search(r"python:3\.12 +cpu-basic +.*\$\d+\.\d{4}$", line) for line in lines)
    assert [row["id"] for row in user.json("list", "--label", "team=red")] == [red]
    assert user.json("list", "--label", "team=red", "--label", "name=none") == []
    assert [row["id"] for row in user.json("list", "--namespace", "acme")] == [ours]

    assert "--all" in user.fails("reap", "--label", "team=red")
    assert user.json("reap") == {"reaped": 0} and user.json("reap", "--older-than", "1h", "--label", "team=red") == {"reaped": 0}
    assert len(hub.jobs.running()) == 3
    assert user.json("reap", "--all", "--label", "team=red") == {"reaped": 1}
    assert [job.id for job in hub.jobs.running()] == [blue, ours.split("/")[1]]
    assert user.json("reap", "--older-than", "1ms") == {"reaped": 1}
    assert waiting.wait(20) == 125 and blue.encode() in waiting.stderr.read()
    assert [job.namespace for job in hub.jobs.running()] == ["acme"]
    assert user.json("reap", "--namespace", "acme", "--all") == {"reaped": 1}
    assert not hub.jobs.running()


def test_the_end_of_all_is_asked_for(user, hub):
    ids = {user.ok("create", "--image", "python:3.12").decode().strip() for _ in range(2)}
    assert "-y" in user.fails("kill", "--all") and {job.id for job in hub.jobs.running()} == ids
    question = "hfsandbox: end 2 sandboxes of alice? (y/N) "
    assert user.asks("kill", "--all", answer=b"n\n") == (125, b"", question + "n\nhfsandbox: nothing was ended\n")
    assert {job.id for job in hub.jobs.running()} == ids
    assert user.asks("kill", "--all", answer=b"y\n") == (0, b"", question + "y\n")
    assert not hub.jobs.running()


def test_cost_grows(user, hub):
    id = user.ok("create", "--flavor", "h200").decode().strip()
    wait_until(lambda: user.json("list")[0]["cost_micro_usd"] > 0, what="a cost")
    hub.fault("hardware", status=403)
    assert user.json("list")[0]["cost_micro_usd"] is None
    assert user.ok("list").decode().strip().endswith("?")
    user.ok("kill", id)


def test_hardware(user):
    rows = {row["flavor"]: row for row in user.json("hardware", env={"HFSANDBOX_PROVIDER": ""})}
    assert rows["t4-small"]["accelerator"].startswith("1 x T4") and rows["cpu-basic"]["accelerator"] is None
    assert set(rows["cpu-basic"]) == {"flavor", "title", "cpu", "memory", "disk", "accelerator", "micro_usd_per_minute"}
    lines = user.ok("hardware").decode().split("\n")
    assert lines[0].split() == ["FLAVOR", "CPU", "MEMORY", "DISK", "ACCELERATOR", "$/MINUTE", "$/HOUR"]
    assert re.search(r"^t4-small .*T4.* 0\.006667 +0\.40$", "\n".join(lines), re.M)


def test_connect_waits_until_it_answers(user, hub):
    hub.dials.set(scheduling_delay=1000)
    creating = user.start("create", "--start-timeout", "1h")
    job = wait_until(lambda: hub.jobs.running() and hub.jobs.last(), what="the job")
    assert "deadline" in user.fails("connect", job.id, "--start-timeout", "300ms")
    assert hub.jobs.running()  # who only connects ends nothing
    creating.terminate()
    creating.communicate(timeout=20)
    hub.dials.set(scheduling_delay=0.02, boot_delay=1)
    creating = user.start("create")
    wait_until(lambda: len(hub.jobs) == 2, what="the job")
    shown = user.json("connect", hub.jobs.last().id)
    assert shown["id"] == hub.jobs.last().id and shown["image"] == "python:3.12" and shown["answered_ms"] >= shown["running_ms"] >= 0
    assert creating.wait(20) == 0
    text = user.ok("connect", shown["id"]).decode()
    assert re.fullmatch(r"id: [0-9a-f]{24}\nprovider: jobs\nimage: python:3\.12\nflavor: cpu-basic\nrunning after: \S+ s\nanswered after: \S+ s\n", text)


def test_start_timeout_leaves_no_job(user, hub):
    hub.dials.set(scheduling_delay=1000)
    assert "deadline" in user.fails("create", "--start-timeout", "700ms")
    assert len(hub.jobs) == 1 and not hub.jobs.running()


def test_an_id_that_nobody_can_be_told_ends_its_job(user, hub):
    with open("/dev/full", "wb") as full:
        assert user("create", stdout=full).code == 125
    assert len(hub.jobs) == 1 and not hub.jobs.running()


def on_terminal(user, *arguments, term="xterm", width=200):
    """The command with standard error on a terminal: exit code, standard output, what the terminal got."""
    here, there = pty.openpty()
    os.set_blocking(here, True)
    subprocess.run(["stty", "cols", str(width)], stdin=there, check=True)
    process = user.start(*arguments, stderr=there, env={"TERM": term})
    os.close(there)
    shown = b""
    while True:
        try:
            piece = os.read(here, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(here)
    out = process.communicate(timeout=20)[0]
    return process.returncode, out, shown.decode()


def test_progress_on_a_terminal(user, hub):
    hub.dials.set(scheduling_delay=1.5, boot_delay=1.5)
    code, out, shown = on_terminal(user, "create")
    id = hub.jobs.last().id
    assert code == 0 and out.decode() == id + "\n"
    assert re.search(id + r": scheduling, \d\.\d s", shown) and re.search(r"running after \d\.\d s, waiting for its agent, \d\.\d s", shown), shown
    assert shown.endswith("\r\x1b[K") and "\n" not in shown, "one line, and gone in the end"
    pieces = [piece for piece in shown.split("\r\x1b[K") if piece]
    assert len(pieces) > 5 and all(len(piece) < 100 for piece in pieces)
    hub.dials.set(scheduling_delay=1000, boot_delay=0)
    code, _, shown = on_terminal(user, "create", "--start-timeout", "1500ms", width=30)
    error = shown.split("\r\x1b[K")[-1]
    assert code == 125 and error.startswith("hfsandbox: ") and error.count("\n") == 1, "an error takes the line's place"
    assert all(len(piece) < 30 for piece in shown.split("\r\x1b[K")[:-1])
    assert on_terminal(user, "create", "--start-timeout", "1s", term="dumb")[2].startswith("hfsandbox: ")


def test_no_progress_in_a_pipe_and_events_with_verbose(user, hub):
    hub.dials.set(scheduling_delay=1)
    assert user("create").err == b""
    for shown in (user("create", "-v").err.decode(), on_terminal(user, "create", "-v")[2].replace("\r\n", "\n")):
        phases = re.findall(r"^hfsandbox: info: sandbox\.progress \(id: [0-9a-f]{24}, phase: (\w+), stage: \w+, ms: \d+\)$", shown, re.M)
        assert phases == ["accepted", "running", "answering"] and "\x1b" not in shown and hub.token not in shown


def test_json_lets_nothing_act_on_the_terminal(user, sandbox, hub):
    """What the Hub and the agent say of a sandbox comes as printable ASCII, and whole."""
    evil = "\x9b31m\x7f\u202e\u2066\U000e0001\r\u001b]0;x\x07 caf\u00e9 \U0001f600"
    hub.jobs[sandbox.split("/")[-1]].request["flavor"] = evil
    raw = evil.replace("\r", "").replace("\x1b", "").replace("\x07", "")  # JSON has the other controls as escapes alone
    hub.fault("proxy", path="/info", status=200, headers={"Content-Type": "application/json"},
              body=b'{"said":\r\n"' + raw.encode() + b'\x9b\xff","row":[{"\xc2\x9b":"\\u009b"}]}')
    out = user.ok("info", "--json", sandbox)
    assert re.fullmatch(rb"[ -~]+\n", out), out
    info = json.loads(out)
    assert info["flavor"] == evil and info["said"] == raw + "\ufffd\ufffd" and info["row"] == [{"\x9b": "\x9b"}]
    for words in (["info", sandbox], ["list"], ["list", "--json"], ["connect", sandbox], ["connect", "--json", sandbox]):
        out = user.ok(*words)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066\ufffd\U000e0001]", out.decode()), out
