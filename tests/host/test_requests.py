# ctest: timeout=120
"""Requests of one sandbox beside those of the others: its share of the connections, and what becomes of them at its end."""
import os
from contextlib import ExitStack

import pytest
from agent import wait_until
from host_agent import HostAgent

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")
CONNECTIONS = 40


def get(tenant, stack, target):
    """Sends a request on a connection that stays."""
    c = stack.enter_context(tenant.host.connect())
    c.send_request("GET", tenant.prefix + target, tenant.host.headers([], tenant.token))
    return c


def others_get_in(off, hold):
    """One sandbox holds connections as `hold` says, as many as it gets; whether another, and the host's owner, still get answers."""
    with HostAgent(off=off, env={"SBX_MAX_CONNECTIONS": CONNECTIONS}) as host, ExitStack() as stack:
        a, b = host.create(2)
        statuses = hold(a, stack)
        try:
            served = b.run("echo here").stdout == b"here\n" and len(host.sandboxes()) == 2
        except Exception:
            served = False
        stack.close()
        return served, statuses


def streams(a, stack):
    process = a.start("exec sleep 1000")["id"]
    return [get(a, stack, f"/processes/{process}/output?follow=1").read_head().status for _ in range(CONNECTIONS)]


def idle(a, stack):
    statuses = []
    for _ in range(2 * CONNECTIONS):
        c = get(a, stack, "/processes")
        try:
            statuses.append(c.read_response("GET").status)
        except Exception:
            statuses.append(0)
    return statuses


def test_busy_connections_are_shared():
    served, statuses = others_get_in("", streams)
    assert served and statuses.count(200) == CONNECTIONS // 4 + 1 and set(statuses) == {200, 503}


def test_control_busy_connections():
    assert not others_get_in("tenant-connections", streams)[0]


def test_idle_connections_make_room():
    served, statuses = others_get_in("", idle)
    assert served and set(statuses) == {200}


def test_control_idle_connections():
    assert not others_get_in("host-eviction", idle)[0]


def holds_file(host, home):
    for fd in os.listdir(f"/proc/{host.pid}/fd"):
        try:
            if os.readlink(f"/proc/{host.pid}/fd/{fd}").startswith(f"{home}/"):
                return True
        except FileNotFoundError:
            pass
    return False


def upload_at_the_end(off):
    """An upload that is half there when its sandbox ends: whether it was cut off before the end was told."""
    with HostAgent(off=off) as host:
        (a,) = host.create()
        with host.connect(timeout=0.3) as c:
            c.send_request("PUT", a.prefix + "/files/write?path=f", [*host.headers([], a.token), ("Content-Length", "10")], b"12345")
            wait_until(lambda: holds_file(host, a.home), what="the upload")
            assert a.end() == {"id": a.id, "deleted": True}
            try:
                return c.at_end()
            except TimeoutError:
                return False


def test_uploads_end_before_their_sandbox():
    assert upload_at_the_end("")


def test_control_uploads():
    assert not upload_at_the_end("end-files")


def test_a_file_that_may_not_be_written_is_written_in_ranges():
    """By its owner, who gave it that mode with another range."""
    with HostAgent() as host:
        (a,) = host.create()
        for offset, data in ((0, b"12345"), (5, b"67890")):
            assert a.request("PUT", f"/files/write?path=f&offset={offset}&mode=444", body=data).status == 200
        assert a.run("cat f; stat -c %a f").stdout == b"1234567890444\n"


DAEMON = """
import os, resource, time
resource.setrlimit(15, (5, 5))  # RLIMIT_RTTIME, where the agent's mark is: now it is nobody's
if os.fork():
    os._exit(0)
os.setsid()
open("ready", "w").close()
time.sleep(1000)
"""


def survivors_next_door(off):
    """What is said to have survived a kill in one sandbox when a daemon of another has got rid of its mark."""
    with HostAgent(off=off) as host:
        a, b = host.create(2)
        process = b.start("exec sleep 1000")
        a.run(["python3", "-c", DAEMON], cwd=str(a.home))
        wait_until((a.home / "ready").exists, what="the daemon")
        return b.request("DELETE", f"/processes/{process['id']}").json()["survivors"]


def test_a_kill_tells_nothing_of_other_sandboxes():
    assert survivors_next_door("") == []


def test_control_kills_next_door():
    assert survivors_next_door("tree-owner") != []
