"""The native proxy as the Hub drives it: commands over a Unix socket, each answered at once (proxy_control.c)."""
import socket
import subprocess
import threading


class Proxy:
    def __init__(self, program, directory):
        self.lock = threading.Lock()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen([program, str(directory)], stdin=theirs, start_new_session=True)
        self.socket.settimeout(20)

    def command(self, *words, descriptor=None):
        message = "\t".join(map(str, words)).encode()
        with self.lock:
            if descriptor is None:
                self.socket.send(message)
            else:
                socket.send_fds(self.socket, [message], [descriptor])
            answer = self.socket.recv(1 << 16).decode()
        if not answer.startswith("ok"):
            raise RuntimeError(f"hub-proxy: {words[0]}: {answer or 'it has ended'}")
        return answer.split("\t")[1:]

    def listen(self, listener, tls):
        """Takes connections on this socket, which may be closed here afterwards."""
        self.command("listen", "tls" if tls else "plain", descriptor=listener.fileno())

    def stats(self):
        """connections (open now), opened (to jobs, so far), and the hits of each fault by its name."""
        return {key: int(value) for key, value in (word.split("=") for word in self.command("stats"))}

    def hits(self, fault):
        return self.stats().get(fault.name, 0)

    def close(self):
        """The proxy ends, and removes the Hub's directory."""
        with self.lock:
            self.socket.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        if self.process.returncode != 0:
            raise RuntimeError(f"hub-proxy ended with status {self.process.returncode}")
