"""Peers that vanish without a word, as a machine does whose network is gone: connections that have no deadline of their own end all the
same, and an idle agent with them."""
import ctypes
import socket
import subprocess
import threading

import pytest
from agent import Agent, wait_until

SCALE = {"SBX_TEST_SCALE": "60", "SBX_IDLE_TIMEOUT": "1"}  # two seconds without a sign of life
SO_ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)


class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def vanish(connection):
    """Every packet to this socket is lost from here on: it acknowledges nothing and resets nothing."""
    drop = ctypes.create_string_buffer(bytes([6, 0, 0, 0, 0, 0, 0, 0]))  # BPF: ret 0
    connection.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(Program(1, ctypes.addressof(drop))))


def backend(say):
    """Agrees to an upgrade; when `say` is set, writes into the tunnel without being asked. Returns its port and an event: it has been left."""
    listener, left = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve():
        with listener, listener.accept()[0] as peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
            if say:
                peer.recv(1)
                peer.sendall(b"hello")
            peer.recv(1)
        left.set()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], left


def open_tunnel(agent, connection, port):
    connection.send_request("GET", f"/v1/proxy/{port}/", agent.headers([("Connection", "Upgrade"), ("Upgrade", "x")]))
    assert connection.read_head().status == 101


@pytest.mark.parametrize("say", [False, True], ids=["idle", "bytes on their way"])
def test_a_tunnel_whose_client_vanished_ends_and_the_agent_with_it(say):
    port, left = backend(say)
    with Agent(env=SCALE) as a, a.connect() as c:
        open_tunnel(a, c, port)
        vanish(c)
        if say:
            c.send(b"x")
        assert left.wait(20)
        assert a.wait_exit(20) == 0


def test_control_without_asking_nobody_notices():
    port, left = backend(False)
    with Agent(env=SCALE, off="keepalive") as a, a.connect() as c:
        open_tunnel(a, c, port)
        vanish(c)
        with pytest.raises(subprocess.TimeoutExpired):
            a.wait_exit(6)
        assert not left.is_set()


def test_a_tunnel_whose_client_is_silent_but_there_stays():
    port, left = backend(False)
    with Agent(env=SCALE) as a, a.connect() as c:
        open_tunnel(a, c, port)
        assert not left.wait(6)
        c.close()
        assert left.wait(10)


def test_a_stream_whose_reader_vanished_ends():
    """Its pings are on their way, so this is not the kernel's question but the answer that is missing."""
    with Agent(env=SCALE) as a, a.connect() as c:
        process = a.start_process("sleep 1000")["id"]
        c.send_request("GET", f"/v1/processes/{process}/output?follow=1", a.headers())
        assert c.read_head().status == 200
        vanish(c)
        before = a.descriptors()
        wait_until(lambda: a.descriptors() < before, 20, "the end of the stream")
