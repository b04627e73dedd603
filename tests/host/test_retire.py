"""A host ends when it is asked to, unless it carries sandboxes that the one who asks does not know of."""
import os
import threading

import pytest
from agent import wait_until
from host_agent import HostAgent
from raw_http import HttpError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="host mode needs root")


def test_others_stay():
    with HostAgent() as host:
        a, b = host.create(2)
        for body in (None, {}, {"ours": a.id}, []):
            assert host.post("/v1/retire", json=body).status == 400
        for ours in ([], [a.id], [a.id, "other", 7]):
            answer = host.post("/v1/retire", json={"ours": ours})
            assert answer.status == 409 and answer.json()["code"] == "conflict", answer
        assert host.post("/v1/retire", json={"ours": [a.id, b.id]}, token=a.token).status == 403
        assert a.run("echo on").stdout == b"on\n" and host.create()[0].run("echo on").stdout == b"on\n"


def test_it_ends():
    with HostAgent() as host:
        a, b = host.create(2)
        b.end()
        answer = host.post("/v1/retire", json={"ours": [a.id]})
        assert answer.status == 200 and answer.json() == {"retired": True}
        wait_until(lambda: host.process.poll() == 0, 10, "its end")
        assert not os.listdir(host.homes)


def test_one_or_the_other():
    """Whatever comes first: a sandbox that was made stays, or none is made."""
    for _ in range(20):
        with HostAgent() as host:
            answers = []

            def create():
                try:
                    answers.append(host.post("/v1/sandboxes", json={}))
                except (OSError, HttpError):
                    pass  # it has ended
            thread = threading.Thread(target=create)
            thread.start()
            retired = host.post("/v1/retire", json={"ours": []}).status == 200
            thread.join()
            made = [item for answer in answers if answer.status == 200 for item in answer.json()["sandboxes"]]
            assert retired != bool(made), (retired, answers)
