"""A command is never run twice because a reply was lost, whatever layer lost it."""
import pytest

import sbx
from fake_agent import FakeAgent, frame, health, reply, stream_head

CALLS = {
    "run": 'box.run("echo")',
    "start": 'box.start("echo")',
    "background": 'box.start("echo", background=1)',
}
SCRIPT = """
import sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1]) as box:
    box.processes()                      # a used connection stands ready for what comes
    for _ in range(3):
        try:
            %s
            print("OK")
        except sbx.Error as error:
            print(error.name)
        box.processes()
"""


def drops_posts(features):
    """Reads each POST and closes without a reply. On a connection that has served before, that looks like one that died idle."""
    def handler(request):
        if request.target == "/health":
            return health(features)
        return reply([]) if request.method == "GET" else None
    return handler


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("features", ["", "frames,process,files"])
def test_peer_without_keys_sees_each_command_once(call, features):
    with FakeAgent(drops_posts(features)) as peer:
        out = sbx.script(SCRIPT % CALLS[call], peer.url).stdout.split()
        assert out == ["ERROR_UNKNOWN_OUTCOME"] * 3
        assert sum(r.method == "POST" for r in peer.requests) == 3


@pytest.mark.parametrize("call", CALLS)
def test_without_the_protection_commands_run_twice(call):
    """The positive control: libcurl re-sends on a used connection that turns out dead."""
    with FakeAgent(drops_posts("")) as peer:
        sbx.script(SCRIPT % CALLS[call], peer.url, env={"SBX_TEST_OFF": "fresh-connect"})
        assert sum(r.method == "POST" for r in peer.requests) > 3


class Keeper:
    """Honours keys: counts the commands that it would run, and loses the first replies to each."""

    def __init__(self, losses, part=b""):
        self.ran, self.losses, self.part, self.seen = {}, losses, part, {}

    def __call__(self, request):
        if request.target == "/health":
            return health()
        if request.method == "GET":
            return reply([])
        key = request.headers["x-sandbox-key"]
        self.seen[key] = self.seen.get(key, 0) + 1
        self.ran.setdefault(key, f"p-{len(self.ran)}")
        if self.seen[key] <= self.losses:
            return [self.part] if self.part else None
        if request.target == "/v1/processes":
            return reply({"id": self.ran[key], "pid": 5})
        return [stream_head() + frame(1, {"id": self.ran[key], "pid": 5}) + frame(2, b"hi\n") +
                frame(6, {"exit_code": 0, "signal": None, "timed_out": False, "duration_ms": 1})]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty", b"HTTP/1.1 200 OK\r\nContent-Type: application/x-hfsandbox-frames\r\n\r\n"])
def test_peer_with_keys_is_asked_again_with_the_same_key(call, part):
    keeper = Keeper(losses=2, part=part)
    with FakeAgent(keeper) as peer:
        out = sbx.script(SCRIPT % CALLS[call], peer.url).stdout.split()
    assert out == ["OK"] * 3
    assert len(keeper.ran) == 3
    assert all(count >= 3 for count in keeper.seen.values())


def test_keys_are_unique_and_count_up():
    keeper = Keeper(losses=0)
    with FakeAgent(keeper) as peer:
        for _ in range(2):
            sbx.script(SCRIPT % CALLS["run"], peer.url)
    names = {key.split(".")[0] for key in keeper.ran}
    assert len(names) == 2 and all(len(name) == 16 for name in names)
    assert sorted(int(key.split(".")[1]) for key in keeper.ran) == [1, 1, 2, 2, 3, 3]


def gone_for(first):
    """Answers 410 to the first `first` requests that carry a key."""
    state = {"left": first, "keys": []}

    def handler(request):
        if request.target == "/health":
            return health()
        if request.method == "GET":
            return reply([])
        state["keys"].append(request.headers["x-sandbox-key"])
        if len(state["keys"]) <= first:
            return reply({"error": "that key was forgotten", "code": "gone"}, status=410)
        if request.target == "/v1/processes":
            return reply({"id": "p-1", "pid": 5})
        return [stream_head() + frame(1, {"id": "p-1", "pid": 5}) + frame(6, {"exit_code": 0, "signal": None})]
    handler.keys = state["keys"]
    return handler


@pytest.mark.parametrize("call", CALLS)
def test_a_key_refused_at_first_sight_is_replaced(call):
    handler = gone_for(1)
    with FakeAgent(handler) as peer:
        out = sbx.script(SCRIPT % CALLS[call], peer.url).stdout.split()
    assert out == ["OK"] * 3
    assert len(set(handler.keys)) == 4


@pytest.mark.parametrize("call", CALLS)
def test_a_key_forgotten_after_a_lost_reply_is_an_unknown_outcome(call):
    keys = []

    def handler(request):
        if request.target == "/health":
            return health()
        if request.method == "GET":
            return reply([])
        keys.append(request.headers["x-sandbox-key"])
        if keys.count(keys[-1]) == 1:
            return None
        return reply({"error": "that key was forgotten", "code": "gone"}, status=410)

    with FakeAgent(handler) as peer:
        out = sbx.script(SCRIPT % CALLS[call], peer.url).stdout.split()
    assert out == ["ERROR_UNKNOWN_OUTCOME"] * 3
    assert len(set(keys)) == 3


def test_a_signal_is_not_sent_twice():
    def handler(request):
        if request.target == "/health":
            return health()
        if request.method == "GET":
            return reply({"id": "p-1", "pid": 5, "running": True})
        return None

    with FakeAgent(handler) as peer:
        out = sbx.script("""
import sys, sbx
with sbx.Client() as client, client.connect_endpoint(sys.argv[1]) as box, box.attach("p-1") as process:
    try:
        process.signal(10)
    except sbx.Error as error:
        print(error.name)
""", peer.url).stdout.split()
        assert out == ["ERROR_UNKNOWN_OUTCOME"]
        assert sum(r.method == "POST" for r in peer.requests) == 1
