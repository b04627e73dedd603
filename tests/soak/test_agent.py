"""Ten minutes of everything at once, with connections that break at random places: nothing grows, nothing is lost, nothing is left running."""
# ctest: long serial timeout=1800
import os
import random
import threading
import time

from agent import Agent, wait_until

MINUTES = float(os.environ.get("SBX_SOAK_MINUTES", "10"))


class Worker(threading.Thread):
    def __init__(self, agent, directory, seed, deadline):
        super().__init__(daemon=True)
        self.agent, self.directory, self.deadline = agent, directory, deadline
        self.random, self.failure, self.count = random.Random(seed), None, 0

    def run(self):
        actions = [self.command, self.output, self.background, self.broken_exec, self.broken_upload, self.files, self.stdin, self.timeout]
        try:
            while time.monotonic() < self.deadline and self.failure is None:
                self.random.choice(actions)()
                self.count += 1
        except BaseException as failure:  # noqa: BLE001
            self.failure = failure

    def command(self):
        n = self.random.randrange(256)
        assert self.agent.run(f"echo {n}; exit {n}", frames=self.random.random() < 0.5).exit_code == n

    def output(self):
        size = self.random.randrange(5_000_000)
        assert len(self.agent.run(["head", "-c", str(size), "/dev/zero"]).stdout) == size

    def background(self):
        process = self.agent.start_process("echo up; sleep 300 & exec sleep 300")
        if self.random.random() < 0.5:
            self.agent.output(process["id"], "")
        answer = self.agent.request("DELETE", f"/v1/processes/{process['id']}").json()
        assert answer["killed"] is True and not answer.get("survivors")

    def broken_exec(self):
        events = self.agent.events("POST", "/v1/exec", {"cmd": "for i in 1 2 3 4 5; do head -c 100000 /dev/zero; done"})
        process = next(events)["id"]
        for _ in range(self.random.randrange(4)):
            next(events, None)
        events.close()
        self.agent.get(f"/v1/processes/{process}?wait_ms=20000")

    def broken_upload(self):
        with self.agent.connect() as c:
            c.send_request("PUT", f"/v1/files/write?path={self.directory}/broken", self.agent.headers([("Content-Length", 1 << 20)]))
            c.send(b"x" * self.random.randrange(1 << 20))

    def files(self):
        path = f"{self.directory}/{self.ident}"
        data = self.random.randbytes(self.random.randrange(3_000_000))
        assert self.agent.request("PUT", f"/v1/files/write?path={path}", body=data).status == 200
        assert self.agent.get(f"/v1/files/read?path={path}").body == data
        assert self.agent.request("DELETE", f"/v1/files/delete?path={path}").status == 200

    def stdin(self):
        text = "x" * self.random.randrange(500_000)
        assert self.agent.run(["cat"], stdin=text).stdout == text.encode()

    def timeout(self):
        output = self.agent.run("sleep 300 & sleep 300", timeout=0.05)
        assert output.exit["timed_out"] is True and not output.exit.get("survivors")


def soak(static, minutes, directory):
    with Agent(static=static) as a:
        def phase(seconds):
            workers = [Worker(a, directory, seed, time.monotonic() + seconds) for seed in range(8)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            assert not [w.failure for w in workers if w.failure], [w.failure for w in workers if w.failure]
            wait_until(lambda: not a.children(), 60, "the end of the children")
            return sum(worker.count for worker in workers)

        phase(20)
        wait_until(lambda: a.descriptors() < 64, what="few descriptors")
        descriptors, resident = a.descriptors(), a.resident_kib()
        count = phase(minutes * 60)
        wait_until(lambda: a.descriptors() <= descriptors, what="the descriptors of the start")
        assert a.resident_kib() <= resident + (4096 if static else 65536), (resident, a.resident_kib())
        assert set(os.listdir(directory)) <= {"broken"}
        print(f"{count} actions, {resident} KiB before, {a.resident_kib()} KiB after")


def test_installed_agent(tmp_path):
    soak(True, MINUTES, tmp_path)


def test_sanitized_agent(tmp_path):
    soak(False, MINUTES / 2, tmp_path)
