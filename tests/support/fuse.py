"""A FUSE file system of one file, which the test can stop from answering. Needs root.

    with FuseFile(data, directory) as f:
        f.path                the file; its pages stay in the kernel's cache, but each read asks whether they are still true
        f.stall()             from here on every request waits
        f.asked.wait(5)       one does
        f.go_on()             they are answered
"""
import ctypes
import errno
import os
import stat
import struct
import threading

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, ACCESS, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 17, 18, 25, 26, 34, 36, 42
KEEP_CACHE = 2
AUTO_INVALIDATE = 1 << 12  # every read asks for the attributes, whatever is cached
NODE = 2
libc = ctypes.CDLL(None, use_errno=True)


class FuseFile:
    def __init__(self, data, directory):
        self.data, self.directory = data, str(directory)
        self.path = f"{directory}/file"
        self.asked, self.going = threading.Event(), threading.Event()
        self.going.set()
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"test", self.directory.encode(), b"fuse.test", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go_on()
        libc.umount2(self.directory.encode(), 3)  # MNT_FORCE | MNT_DETACH: ends the serving thread, too
        self.thread.join(10)
        os.close(self.device)
        assert not self.thread.is_alive()

    def stall(self):
        self.asked.clear()
        self.going.clear()

    def go_on(self):
        self.going.set()

    def _attributes(self, node):
        size, mode = (len(self.data), stat.S_IFREG | 0o644) if node == NODE else (0, stat.S_IFDIR | 0o755)
        return struct.pack("<6Q10I", node, size, (size + 511) // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _answer(self, opcode, node, body):
        if opcode == INIT:
            _, minor, readahead = struct.unpack_from("<3I", body)
            return struct.pack("<4IHHIIHHI28x", 7, min(minor, 31), readahead, AUTO_INVALIDATE, 16, 12, 1 << 20, 1, 256, 0, 0)
        if opcode == LOOKUP:
            if body.split(b"\0")[0] != b"file":
                return errno.ENOENT
            return struct.pack("<4Q2I", NODE, 1, 0, 0, 0, 0) + self._attributes(NODE)
        if opcode == GETATTR:
            return struct.pack("<Q2I", 0, 0, 0) + self._attributes(node)
        if opcode == OPEN:
            return struct.pack("<Q2I", 1, KEEP_CACHE, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.data[offset : offset + size]
        if opcode == STATFS:
            return struct.pack("<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 100, 50, 4096, 255, 4096, 0)
        return b"" if opcode in (RELEASE, FLUSH, ACCESS) else errno.ENOSYS

    def _serve(self):
        while True:
            try:
                request = os.read(self.device, (1 << 20) + 65536)
            except OSError as e:
                if e.errno == errno.ENODEV:
                    return
                continue
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            if not self.going.is_set():
                self.asked.set()
                self.going.wait()
            answer = self._answer(opcode, node, request[40:])
            error, answer = (answer, b"") if isinstance(answer, int) else (0, answer)
            try:
                os.write(self.device, struct.pack("<IiQ", 16 + len(answer), -error, unique) + answer)
            except OSError:
                pass  # the request was given up
