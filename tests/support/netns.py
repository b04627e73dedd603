"""A network of the test's own: the calling thread and what it starts live in it until the block ends. Needs root and ip.

    with netns.Network() as n:      interface v0 with n.V4 and n.V6, and at its other end, in a namespace of its own, somebody elsewhere
        with n.elsewhere(): ...     what the thread does here comes from there
"""
import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def _call(name, *arguments):
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def _here():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _ip(*words):
    subprocess.run(["ip", *words], check=True)


class Network:
    V4, V6, LINK = "10.77.0.1", "fd77::1", "fe80::77%v0"

    def __enter__(self):
        self.before = _here()
        _call("unshare", CLONE_NEWNET)
        self.far = _here()
        _ip("link", "set", "lo", "up")
        _call("unshare", CLONE_NEWNET)
        self.near = _here()
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", f"/proc/{os.getpid()}/fd/{self.far}")
        self._addresses("v0", "10.77.0.1/24", "fd77::1/64", "fe80::77/64")
        with self.elsewhere():
            self._addresses("v1", "10.77.0.2/24", "fd77::2/64", "fe80::78/64")
        return self

    def __exit__(self, *_):
        _call("setns", self.before, CLONE_NEWNET)
        for fd in (self.before, self.near, self.far):
            os.close(fd)

    @staticmethod
    def _addresses(name, v4, *v6):
        _ip("addr", "add", v4, "dev", name)
        for address in v6:
            _ip("-6", "addr", "add", address, "dev", name, "nodad")
        _ip("link", "set", name, "up")

    @contextlib.contextmanager
    def elsewhere(self):
        _call("setns", self.far, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", self.near, CLONE_NEWNET)
