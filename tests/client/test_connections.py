"""Connections to local agents are used again, belong to one sandbox each, and leave nothing in the file system."""
import os

import sbx


def test_connections_are_used_again(tmp_path):
    sbx.script("""
import os, threading, sbx
client = sbx.Client()
box = client.create()
box.run("true")
before = sbx.descriptors()
for _ in range(30): box.run("true")
box.processes(); box.info()
with box.start("cat", input_open=1) as process:
    process.input(b"x", end=1)
    assert len(list(process)) == 2
assert sbx.descriptors() <= before + 1, (before, sbx.descriptors())  # one more while input went in beside the output
threads = [threading.Thread(target=lambda: [box.run("true") for _ in range(10)]) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert sbx.descriptors() <= before + 8
""", env={"XDG_RUNTIME_DIR": tmp_path, "TMPDIR": tmp_path})
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_many_sandboxes_do_not_mix():
    sbx.script("""
import threading, sbx
client = sbx.Client()
boxes = [client.create(env=[f"ME={n}"]) for n in range(6)]
wrong = []
def work(n):
    for _ in range(15):
        out = boxes[n].run("echo $ME").out
        if out != b"%d\\n" % n: wrong.append((n, out))
threads = [threading.Thread(target=work, args=(n,)) for n in list(range(6)) * 2]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong, wrong
queue = sbx.Queue(client)
for n in range(60):
    sbx.check("run", None, boxes[n % 6].handle, sbx._command("echo $ME", {}), sbx.call(queue=queue, user=n + 1))
for _ in range(60):
    done = queue.next(20000)
    assert sbx.Result(done.result).out == b"%d\\n" % ((done.user - 1) % 6)
""")
