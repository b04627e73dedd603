"""What worker.c does, with the Hub's own client."""
import json
import sys
import time

from huggingface_hub import Sandbox

box = None


def measure(call, count):
    took, cpu = [], time.process_time()
    for _ in range(count):
        start = time.monotonic()
        call()
        took.append(time.monotonic() - start)
    return {"cpu": time.process_time() - cpu, "took": took}


def work(verb, *words):
    global box
    if verb == "create":
        box = Sandbox.create(image=words[0])
        return {"id": box.id, "ready": time.time()}
    if verb == "kill":
        box.kill()
        return {}
    if verb == "exec":
        return measure(lambda: box.run(["true"]), int(words[0]))
    size, count = map(int, words)
    data = (bytes(i * 2654435761 >> 13 & 255 for i in range(4096)) * (size // 4096 + 1))[:size]
    if verb == "write":
        return measure(lambda: box.files.write("/tmp/bench", data), count)
    return measure(lambda: box.files.read("/tmp/bench"), count)


for line in sys.stdin:
    print(json.dumps(work(*line.split())), flush=True)
