"""Readers of the two forms in which process output travels: NDJSON events and binary frames."""
import json
import struct

FRAME_TYPE = "application/x-hfsandbox-frames"
NAMES = {1: "start", 2: "stdout", 3: "stderr", 4: "gap", 5: "ping", 6: "exit", 7: "held"}
FRAME_MAX = 256 * 1024


def ndjson_events(pieces):
    """Events of an NDJSON body, given in any pieces. `data` stays text."""
    held = b""
    for piece in pieces:
        held += piece
        while b"\n" in held:
            line, held = held.split(b"\n", 1)
            yield json.loads(line)
    assert held == b"", f"the stream ends inside a line: {held[:200]!r}"


def frame_events(pieces):
    """Events of a frame body in the shape of NDJSON ones: `data` is bytes and stands beside its `offset`."""
    held = b""
    for piece in pieces:
        held += piece
        while len(held) >= 16:
            kind, reserved, length, offset = struct.unpack("<B3sIQ", held[:16])
            assert kind in NAMES and reserved == b"\0\0\0" and length <= FRAME_MAX, f"no frame header: {held[:16]!r}"
            if len(held) < 16 + length:
                break
            payload, held = held[16:16 + length], held[16 + length:]
            event = {"event": NAMES[kind]}
            if kind in (2, 3):
                event.update(data=payload, offset=offset)
            elif kind == 4:
                assert length == 9
                event.update(stream=NAMES[payload[0]], offset=offset, dropped=struct.unpack("<Q", payload[1:])[0])
            elif kind in (1, 6, 7):
                event.update(json.loads(payload))
            else:
                assert length == 0
            yield event
    assert held == b"", f"the stream ends inside a frame: {held[:40]!r}"


class Output:
    """What a whole stream of events amounts to."""

    def __init__(self, events):
        self.start = self.exit = self.held = None
        self.events, self.gaps = [], []
        stdout, stderr = [], []
        for event in events:
            kind = event["event"]
            assert self.exit is None and self.held is None, f"an event after the last one: {event}"
            if kind in ("stdout", "stderr"):
                data = event["data"]
                (stdout if kind == "stdout" else stderr).append(data.encode() if isinstance(data, str) else data)
            elif kind == "start":
                assert self.start is None
                self.start = event
            elif kind == "exit":
                self.exit = event
            elif kind == "held":
                self.held = event
            elif kind == "gap":
                self.gaps.append(event)
            if kind != "stdout" and kind != "stderr":
                self.events.append(event)
        self.stdout, self.stderr = b"".join(stdout), b"".join(stderr)

    @property
    def id(self):
        return self.start["id"]

    @property
    def exit_code(self):
        assert self.exit is not None, "the stream ended without an exit event"
        return self.exit["exit_code"]
