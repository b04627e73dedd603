"""Client keys: a request that was sent twice is carried out once."""
import json
import threading

import pytest
from agent import Agent
from streams import Output


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


def key(text):
    return {"X-Sandbox-Key": text}


def run(a, cmd, key_text, frames=True, **body):
    return Output(a.events("POST", "/v1/exec", {"cmd": cmd, **body}, frames, key(key_text)))


def send_and_hang_up(a, path, body, key_text):
    """The request arrives whole; its reply is lost."""
    with a.connect() as c:
        c.send_request("POST", path, a.headers(key(key_text)), json.dumps(body).encode())
        c.shutdown_write()


def test_a_repeated_command_runs_once(agent, tmp_path):
    cmd = f"echo run >> {tmp_path}/runs; echo out; echo err >&2; exit 3"
    outputs = [run(agent, cmd, "one.1", frames) for frames in (True, False, True)]
    assert len({o.id for o in outputs}) == 1
    assert all((o.stdout, o.stderr, o.exit_code) == (b"out\n", b"err\n", 3) for o in outputs)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_control_without_keys_it_runs_twice(tmp_path):
    with Agent(off="keys") as a:
        for _ in range(2):
            run(a, f"echo run >> {tmp_path}/runs", "one.1")
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


@pytest.mark.parametrize("path", ["/v1/exec", "/v1/processes"])
def test_a_lost_reply(agent, tmp_path, path):
    name = path.rsplit("/", 1)[1]
    body = {"cmd": f"echo run >> {tmp_path}/runs; sleep 0.3; echo out"}
    for _ in range(3):
        send_and_hang_up(agent, path, body, f"lost-{name}.7")
    o = run(agent, body["cmd"], f"lost-{name}.7")
    assert o.stdout == b"out\n" and (tmp_path / "runs").read_text() == "run\n"
    assert agent.post("/v1/processes", json=body, headers=key(f"lost-{name}.7")).json()["id"] == o.id


def test_all_at_once(agent, tmp_path):
    outputs = []
    cmd = f"echo run >> {tmp_path}/runs; sleep 0.2; seq 1 1000"
    threads = [threading.Thread(target=lambda: outputs.append(run(agent, cmd, "many.1"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({o.id for o in outputs}) == 1 and len({o.stdout for o in outputs}) == 1 and len(outputs) == 8
    assert (tmp_path / "runs").read_text() == "run\n"


def test_numbers_and_names_are_apart(agent, tmp_path):
    for text in ("a.1", "a.2", "b.1", "a.3", "a.02"):
        run(agent, f"echo run >> {tmp_path}/runs", text)
    assert (tmp_path / "runs").read_text().count("run") == 4  # a.02 is a.2


def test_a_failed_start_is_not_remembered(agent, tmp_path):
    program = tmp_path / "program"
    r = agent.post("/v1/exec", json={"cmd": [str(program)]}, headers=key("fail.1"))
    assert r.status == 400 and r.json()["code"] == "spawn"
    program.write_text("#!/bin/sh\necho now\n")
    program.chmod(0o755)
    assert run(agent, [str(program)], "fail.1").stdout == b"now\n"


def test_what_is_forgotten_never_runs_again(tmp_path):
    with Agent() as a:
        o = run(a, f"echo run >> {tmp_path}/runs", "old.5")
        assert a.request("DELETE", f"/v1/processes/{o.id}").status == 200
        for number in (5, 4, 0):
            r = a.post("/v1/exec", json={"cmd": f"echo run >> {tmp_path}/runs"}, headers=key(f"old.{number}"))
            assert r.status == 410 and r.json()["code"] == "gone" and r.header("X-Sandbox-Code") == "gone"
        run(a, f"echo run >> {tmp_path}/runs", "old.6")
        for n in range(7, 275):
            run(a, ["true"], f"old.{n}")
        assert a.post("/v1/exec", json={"cmd": "true"}, headers=key("old.6")).status == 410
        assert (tmp_path / "runs").read_text() == "run\nrun\n"


@pytest.mark.parametrize("text", ["", "x", "x.", ".1", "x.-1", "x.1x", "a b.1", "a/b.1", "x" * 41 + ".1", "x.99999999999999999999"])
def test_malformed(agent, text):
    r = agent.post("/v1/exec", json={"cmd": "true"}, headers=key(text))
    assert r.status == 400 and r.json()["code"] == "invalid" and "X-Sandbox-Key" in r.json()["error"]
