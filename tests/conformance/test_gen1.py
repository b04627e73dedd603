"""What clients of the first protocol generation send (huggingface_hub up to 1.30), as raw requests: they name processes by pid, never say
the final size of a ranged write, and know no field that came later."""
import json
import os

import pytest
from agent import Agent, wait_until


@pytest.fixture(scope="module")
def agent():
    with Agent() as a:
        yield a


def test_health_is_open(agent):
    health = agent.get("/health", token=None).json()
    assert health["status"] == "ok" and health["protocol"] == 3
    assert "version" not in health
    full = agent.get("/health").json()
    assert full["version"] and full["uptime_ms"] >= 0 and "sandboxes" in full


def test_kill_by_pid(agent):
    """5c 4: DELETE processes/<pid> kills."""
    process = agent.start_process(["sleep", "300"])
    response = agent.request("DELETE", f"/v1/processes/{process['pid']}")
    assert response.status == 200 and response.json()["ok"] is True
    wait_until(lambda: not os.path.exists(f"/proc/{process['pid']}"), what="the end of the process")


def test_kill_by_id_in_text(agent):
    process = agent.start_process("sleep 300", tag="mine")
    assert process["id"].startswith("p-") and process["cmd"] == "sleep 300" and process["tag"] == "mine"
    [entry] = [e for e in agent.get("/v1/processes").json() if e["id"] == process["id"]]
    assert entry["running"] is True and entry["exit_code"] is None and entry["started_at_ms"] > 10**12
    assert agent.request("DELETE", f"/v1/processes/{process['id']}").status == 200


def test_exec_stream_is_ndjson(agent):
    response = agent.post("/v1/exec", json={"cmd": "echo out; echo err >&2; exit 4"})
    assert response.header("Content-Type") == "application/x-ndjson" and response.header("X-Accel-Buffering") == "no"
    events = [json.loads(line) for line in response.body.splitlines()]
    assert events[0]["event"] == "start" and events[0]["pid"] > 0
    assert {(e["event"], e["data"]) for e in events if e["event"] in ("stdout", "stderr")} == {("stdout", "out\n"), ("stderr", "err\n")}
    last = events[-1]
    assert last["event"] == "exit" and last["exit_code"] == 4 and last["signal"] is None and last["timed_out"] is False


def test_exec_in_the_background(agent):
    response = agent.post("/v1/exec", json={"cmd": ["sleep", "300"], "background": True, "tag": "t"}).json()
    assert response["pid"] > 0 and response["tag"] == "t"
    assert agent.request("DELETE", f"/v1/processes/{response['pid']}").json()["ok"] is True


@pytest.mark.parametrize("body", [
    b"{", b"[]", b'"x"', b"{}", b'{"cmd":[]}', b'{"cmd":[1]}', b'{"cmd":"true","shell":false}', b'{"cmd":["true"],"shell":true}',
    b'{"cmd":7}', b'{"cmd":"true"} x', b'{"cmd":"true","env":[]}', b'{"cmd":"true","timeout":-1}', b'{"cmd":"true","cwd":5}'])
def test_bad_bodies_are_named(agent, body):
    response = agent.request("POST", "/v1/exec", body=body)
    assert response.status == 400 and response.json()["error"]


def test_empty_command_is_valid(agent):
    assert agent.run("").exit_code == 0


def test_env_values(agent):
    """5c 9: numbers and booleans are no empty strings."""
    assert agent.run("echo $A-$B-$C", env={"A": 1, "B": 2.5, "C": True}).stdout == b"1-2.5-true\n"


def test_parallel_ranges_without_a_size(agent, tmp_path):
    """Ranges in falling order end at the right length; a file that was longer is emptied by a write without offset first."""
    path = tmp_path / "file"
    for offset in (2000, 1000, 0):
        assert agent.request("PUT", f"/v1/files/write?path={path}&offset={offset}", body=bytes([offset // 1000]) * 1000).status == 200
    assert path.read_bytes() == b"\0" * 1000 + b"\1" * 1000 + b"\2" * 1000
    assert agent.request("PUT", f"/v1/files/write?path={path}", body=b"ab").json() == {"path": str(path), "size": 2}
    assert agent.request("PUT", f"/v1/files/write?path={path}&offset=2", body=b"cd").status == 200
    assert path.read_bytes() == b"abcd"


def test_entries_have_no_more_keys(agent, tmp_path):
    """The client makes its dataclass of them by keyword: one key more breaks it."""
    (tmp_path / "x").write_text("1")
    keys = {"name", "path", "type", "size", "mtime_ms", "mode"}
    assert set(agent.get(f"/v1/files/stat?path={tmp_path}/x").json()) == keys
    [entry] = agent.get(f"/v1/files/list?path={tmp_path}").json()["entries"]
    assert set(entry) == keys and entry["mode"].isdigit()
    assert agent.get("/v1/files/stat?path=/").json()["name"] == ""


def test_no_route(agent):
    for method, target in (("GET", "/v1/exec"), ("POST", "/"), ("GET", "/v1/none"), ("GET", "/v1/sandboxes"), ("POST", "/v1/sandboxes")):
        response = agent.request(method, target)
        assert response.status == 404 and "no route" in response.json()["error"], (method, target)
