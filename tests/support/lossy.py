"""A TCP relay between a client and an agent that loses connections where a test wants it.

    with Lossy(agent.port, [Rule(down=100_000)]) as relay:      the first connection is cut after 100,000 bytes of answers
        ... http://127.0.0.1:{relay.port} ...

One rule for each connection, in the order in which they come; further ones pass everything. Only connections that carry a request matching
`match` (bytes of its head) use up a rule.
"""
import socket
import threading


class Rule:
    def __init__(self, down=None, up=None, drop_reply=False, then=None):
        """down, up: cut after so many bytes to the client, to the agent. drop_reply: the agent's whole reply is read and thrown away.
        then: called when the connection is cut."""
        self.down, self.up, self.drop_reply, self.then = down, up, drop_reply, then


class Lossy:
    def __init__(self, port, rules, match=b"/files/"):
        self.target, self.rules, self.match, self.lock = port, list(rules), match, threading.Lock()
        self.heads, self.cut = [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for s in self.open:
            s.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self.open += [near, far]
            state = {"rule": None}
            threading.Thread(target=self._up, args=(near, far, state), daemon=True).start()
            threading.Thread(target=self._down, args=(near, far, state), daemon=True).start()

    def _cut(self, near, far, rule):
        self.cut += 1
        if rule.then is not None:
            rule.then()
        for s in (near, far):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _pick(self, state, data):
        if data[:4] in (b"GET ", b"PUT ", b"POST", b"DELE"):
            with self.lock:
                line = data.split(b"\r\n", 1)[0]
                self.heads.append(data.split(b"\r\n\r\n", 1)[0])
                state["rule"] = self.rules.pop(0) if self.match in line and self.rules else None
                state["up"] = state["down"] = 0

    def _up(self, near, far, state):
        try:
            while data := near.recv(1 << 16):
                self._pick(state, data)
                rule = state["rule"]
                if rule is not None and rule.up is not None and state["up"] + len(data) > rule.up:
                    far.sendall(data[: rule.up - state["up"]])
                    self._cut(near, far, rule)
                    return
                state["up"] = state.get("up", 0) + len(data)
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _down(self, near, far, state):
        try:
            while data := far.recv(1 << 16):
                rule = state["rule"]
                if rule is not None and rule.drop_reply:
                    self._cut(near, far, rule)
                    return
                if rule is not None and rule.down is not None and state["down"] + len(data) > rule.down:
                    near.sendall(data[: rule.down - state["down"]])
                    self._cut(near, far, rule)
                    return
                state["down"] = state.get("down", 0) + len(data)
                near.sendall(data)
            near.shutdown(socket.SHUT_WR)
        except OSError:
            pass
