"""What pool.c does, with the Hub's own client and a pool of threads: 64 of them, more are not faster."""
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from huggingface_hub import SandboxPool

THREADS = 64
pool, boxes, count = None, [], 0


def work(verb, *words):
    global pool, boxes, count
    if verb == "warm":
        count, hosts = int(words[1]), int(words[2])
        pool = SandboxPool(image=words[0], sandboxes_per_host=-(-count // hosts), max_hosts=hosts, warm_up=hosts)
    elif verb == "create":
        boxes = list(threads.map(lambda _: pool.create(), range(count)))
    elif verb == "exec":
        list(threads.map(lambda box: box.run(["true"]), boxes))
    elif verb == "kill":
        list(threads.map(lambda box: box.kill(), boxes))
    else:
        pool.close()


with ThreadPoolExecutor(THREADS) as threads:
    for line in sys.stdin:
        begun, cpu = time.monotonic(), time.process_time()
        work(*line.split())
        print(json.dumps({"wall": time.monotonic() - begun, "cpu": time.process_time() - cpu}), flush=True)
