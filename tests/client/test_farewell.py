"""Commands that a freed handle or a broken off call ends, when the program ends right behind it: the agent outlives the client here."""
import select
import socket
import threading
import time

import pytest

import sbx
from agent import Agent
from fake_agent import Server

PROLOGUE = """
import ctypes, os, sys, sbx
client = sbx.Client()
box = client.connect_endpoint(sys.argv[1], sys.argv[2])
def failing(call):
    try:
        call()
    except sbx.Error as error:
        return error.name
    return "OK"
"""
FREED = """
process = box.start("exec sleep 1000.7")
process.close(); box.close(); client.close()
os._exit(0)
"""
CLIENT_FIRST = """
process = box.start("exec sleep 1000.7")
client.close(); box.close(); process.close()
ctypes.CDLL(None).exit(0)
"""
DEADLINE = """
assert failing(lambda: box.run("exec sleep 1000.7", call_timeout_ms=400)) == "ERROR_TIMEOUT"
box.close(); client.close()
os._exit(0)
"""
NOTHING_FREED = """
assert failing(lambda: box.run("exec sleep 1000.7", call_timeout_ms=400)) == "ERROR_TIMEOUT"
ctypes.CDLL(None).exit(0)
"""
ALL = [FREED, CLIENT_FIRST, DEADLINE, NOTHING_FREED]


class Far(Server):
    """An agent far away: what the client sends arrives 0.2 seconds later, if the client is still there then."""

    def __init__(self, port):
        self.target = port

    def serve(self, connection, number):
        with socket.create_connection(("127.0.0.1", self.target)) as upstream:
            threading.Thread(target=self._answers, args=(upstream, connection), daemon=True).start()
            while data := connection.recv(65536):
                time.sleep(0.2)
                gone = select.select([connection], [], [], 0)[0] and not connection.recv(1, socket.MSG_PEEK)
                if gone:
                    return
                upstream.sendall(data)

    @staticmethod
    def _answers(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass


def survivors(agent):
    return [entry for entry in agent.get("/v1/processes").json() if entry["running"] and "1000.7" in str(entry["cmd"])]


@pytest.mark.parametrize("way", ALL)
def test_a_command_does_not_survive_the_program(way):
    with Agent() as agent, Far(agent.port) as far:
        sbx.script(PROLOGUE + way, far.url, agent.token)
        sbx.wait_until(lambda: not survivors(agent), what="the end of the command")


@pytest.mark.parametrize("way", ALL)
def test_control_without_the_wait(way):
    with Agent() as agent, Far(agent.port) as far:
        sbx.script(PROLOGUE + way, far.url, agent.token, env={"SBX_TEST_OFF": "parting"})
        time.sleep(1)
        assert survivors(agent)


def test_the_wait_is_bounded():
    """The peer says nothing any more."""
    with Agent() as agent, Far(agent.port) as far:
        done = sbx.script(PROLOGUE + """
import signal, time
process = box.start("exec sleep 1000.7")
os.kill(int(sys.argv[3]), signal.SIGSTOP)
began = time.monotonic()
process.close(); box.close(); client.close()
print(time.monotonic() - began)
os.kill(int(sys.argv[3]), signal.SIGCONT)
""", far.url, agent.token, agent.process.pid)
        assert 1.9 < float(done.stdout) < 6
