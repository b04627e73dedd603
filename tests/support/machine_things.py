"""What a machine has that its sandboxes must not reach, made by root on this machine or in a job's container:

    python3 machine_things.py FILE      says in FILE (JSON) where everything is, and removes it at its end
"""
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

IPC_KEY = 0x5B0C1000


def file(path, text, mode):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def listener(address):
    s = socket.socket(socket.AF_UNIX)
    s.bind(address)
    s.listen(100)
    return s


def make(name, things, removed, kept):
    for place in ("/tmp", "/var/tmp", "/run"):
        path = tempfile.mkdtemp(prefix="sbx-machine-", dir=place)
        removed.append(path)
        os.chmod(path, 0o777)
        file(f"{path}/open", "open\n", 0o644)
        things[place.replace("/", "")] = path
    os.mkdir(f"{things['tmp']}/closed", 0o700)
    os.mkdir(f"{things['tmp']}/mount")
    kept += [listener(f"{things['tmp']}/closed/socket"), listener(f"{things['tmp']}/socket"), listener(f"\0{name}")]
    os.chmod(f"{things['tmp']}/closed/socket", 0o777)
    os.chmod(f"{things['tmp']}/socket", 0o777)
    things["root"] = file(f"/root/{name}", "root\n", 0o644)
    things["shm"] = file(f"/dev/shm/{name}", "shm\n", 0o600)
    removed += [things["root"], things["shm"]]
    libc = ctypes.CDLL(None, use_errno=True)
    things["ipc"] = IPC_KEY + os.getpid()
    segment = libc.shmget(things["ipc"], 4096, 0o1000 | 0o666)  # IPC_CREAT
    assert segment >= 0, ctypes.get_errno()
    removed.append(lambda: libc.shmctl(segment, 0, None))
    victim = subprocess.Popen(["sleep", "3600"], env={"PATH": os.environ["PATH"], "VICTIM_SECRET": "1"})
    things["victim"] = victim.pid
    removed.append(lambda: (victim.kill(), victim.wait()))
    things["abstract"] = name


def main():
    name, things, removed, kept = f"sbx-machine-{os.getpid()}", {}, [], []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        make(name, things, removed, kept)
        with open(sys.argv[1] + ".new", "w") as f:
            json.dump(things, f)
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        signal.pause()
    finally:
        for thing in removed:
            if callable(thing):
                thing()
            elif os.path.isdir(thing):
                shutil.rmtree(thing)
            else:
                os.unlink(thing)


if __name__ == "__main__":
    main()
