# ctest: timeout=120
"""What showed defects 21 and 22 of server 0.5.0 (tests/agent/DEFECTS.md says where the others of host mode are)."""
import os

import pytest
from agent import Agent
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")

DEDICATED = [("POST", "/v1/exec", {"cmd": "id -u"}), ("POST", "/v1/processes", {"cmd": "id -u"}), ("GET", "/v1/processes", None),
             ("GET", "/v1/files/read?path=/etc/hostname", None), ("GET", "/v1/files/list?path=/", None),
             ("GET", "/v1/files/stat?path=/etc", None)]


def test_5c_21_the_hosts_token_runs_nothing_as_root():
    with HostAgent() as host:
        host.create()
        for method, target, body in DEDICATED:
            assert host.request(method, target, json=body).status == 404, target
        assert host.request("PUT", "/v1/files/write?path=/tmp/sbx-test-21", body=b"x").status == 404
        assert not os.path.exists("/tmp/sbx-test-21")
        assert host.get("/v1/proxy/80/").status == 404


def test_control_5c_21():
    """The requests are right: a dedicated agent answers them, and has no sandboxes to make."""
    with Agent() as agent:
        for method, target, body in DEDICATED:
            assert agent.request(method, target, json=body).status == 200, target
        assert agent.post("/v1/sandboxes", json={}).status == 404 and agent.get("/v1/sandboxes").status == 404


def test_5c_22_without_landlock_there_is_no_host():
    host = HostAgent(clean_exit=False, env={"SBX_MIN_LANDLOCK_ABI": "99"})
    try:
        with pytest.raises(AssertionError, match="Landlock of version . here"):
            host.start()
    finally:
        host.__exit__(AssertionError)


def test_control_5c_22():
    """Where it was allowed the host starts, and says what it is: /usr is the machine's, and /tmp is everybody's."""
    with HostAgent(env={"SBX_MIN_LANDLOCK_ABI": "99"}, args=["--allow-unconfined"]) as host:
        (a,) = host.create()
        steps = {step["name"]: step["holds"] for step in a.get("/info").json()["isolation"]["steps"]}
        assert a.item["confinement"] == "uid-only" and steps["landlock"] is False
        assert a.run("ls -d /tmp/.").exit_code == 0 and a.run("ls /tmp").exit_code == 0
    with HostAgent() as host:
        (a,) = host.create()
        assert a.item["confinement"] == "landlock" and a.run("ls /tmp").exit_code != 0
