"""Descriptors, children, memory and listed processes are back where they were after 10,000 commands, ended in every way."""
# ctest: serial timeout=600
import os
import threading

from agent import Agent, wait_until

LONG = bool(os.environ.get("SBX_LONG"))
COMMANDS = 20_000 if LONG else 10_000


def one_of_every_kind(agent, n):
    kind = n % 10
    if kind < 4:
        agent.run(["/bin/true"])
    elif kind == 4:
        agent.run("echo out; echo err >&2; exit 3", frames=False)
    elif kind == 5:
        assert agent.post("/v1/exec", json={"cmd": ["/no/such/program"]}).status == 400
    elif kind == 6:
        process = agent.start_process("sleep 300 & sleep 300")
        assert agent.request("DELETE", f"/v1/processes/{process['id']}").status == 200
    elif kind == 7:
        assert agent.run(["cat"], stdin="some input").stdout == b"some input"
    elif kind == 8:
        events = agent.events("POST", "/v1/exec", {"cmd": "echo x; exec sleep 300"})
        for event in events:
            if event["event"] == "stdout":
                break
        events.close()  # the reader goes away
    else:
        agent.start_process("echo background")


def settle(agent):
    """Ends what readers left behind; then everything that is not needed must be gone."""
    for entry in agent.get("/v1/processes").json():
        if entry["running"]:
            agent.request("DELETE", f"/v1/processes/{entry['id']}")
    wait_until(lambda: not agent.children(), what="the end of the children")


def run_many(agent, count):
    left, lock, failures = iter(range(count)), threading.Lock(), []

    def work():
        try:
            while True:
                with lock:
                    n = next(left, None)
                if n is None:
                    return
                one_of_every_kind(agent, n)
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    pool = [threading.Thread(target=work) for _ in range(8)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert not failures, failures


def test_back_to_the_start():
    with Agent(static=True) as a:
        run_many(a, 2_000)  # caches and the list of ended processes fill
        settle(a)
        wait_until(lambda: a.descriptors() < 64, what="few descriptors")
        descriptors, resident = a.descriptors(), a.resident_kib()
        run_many(a, COMMANDS)
        settle(a)
        wait_until(lambda: a.descriptors() <= descriptors, what=f"{descriptors} descriptors again")
        assert a.resident_kib() <= resident + 1024
        assert len(a.get("/v1/processes").json()) <= 256 + 8


def test_sanitizers_see_no_leak():
    """The leak sanitizer looks at the exit of the agent."""
    with Agent() as a:
        run_many(a, 1_000)
        settle(a)


def test_as_pid_1_it_reaps_orphans():
    """5c 10: grandchildren whose parent has ended are nobody's zombies."""
    with Agent(pid1=True) as a:
        for _ in range(50):
            a.run("(sleep 0.01 &) ; exit 0")
        wait_until(lambda: not a.children(), what="the end of the orphans")
