"""A program of the model test of pools: does what it is told by lines of JSON, each op in a thread of its own, and says when it began and ended."""
import json
import os
import sys
import threading
import time

import pools
import sbx


class Actor:
    def __init__(self):
        self.clients, self.pools, self.boxes, self.settings = {}, {}, {}, {}
        self.lock = threading.Lock()

    def do_begin(self, op):
        """A new seed: nothing is left of the one before."""
        self.settings = op["pool"]
        os.environ["HF_HOME"] = op["home"]
        self.clients = {number: sbx.Client() for number in range(2)}

    def do_end(self, op):
        for handle in (*self.boxes.values(), *self.pools.values(), *self.clients.values()):
            handle.close()
        self.boxes, self.pools, self.clients = {}, {}, {}

    def do_open(self, op):
        client = self.clients[op["client"]]
        if op["how"] == "connect":
            self.pools[op["h"]] = pools.connect(client, self.settings["name"], spread=self.settings["spread"])
        else:
            self.pools[op["h"]] = pools.create(client, warm=op["warm"], **self.settings)

    def do_sandbox(self, op):
        cancel = sbx.Cancel() if "cancel" in op else None
        timer = threading.Timer(op["cancel"], cancel.now) if cancel else None
        if timer:
            timer.start()
        try:
            box = self.boxes[op["b"]] = self.pools[op["h"]].sandbox(timeout_ms=op.get("timeout_ms", 0), cancel=cancel, detached=op.get("detached", 0))
            return box.id
        finally:
            if timer:
                timer.cancel()
                timer.join()
                cancel.close()

    def do_kill(self, op):
        box = self.boxes.pop(op["b"])
        try:
            box.kill()
        finally:
            box.close()

    def do_close(self, op):
        self.boxes.pop(op["b"]).close()

    def do_kill_id(self, op):
        self.clients[0].kill(op["id"])

    def do_join(self, op):
        with self.clients[1].connect(op["id"]) as box:
            return [box.id, self.inside(box)]

    @staticmethod
    def inside(box):
        result = box.run("echo $SBX_SANDBOX_ID", call_timeout_ms=60000)
        if result.limit == "sandbox":
            return "ended"
        return result.out.decode().strip() if result.code == 0 else f"it ended with {result.code}, {result.signal}: {result.err}"

    def do_use(self, op):
        return self.inside(self.boxes[op["b"]])

    def do_uses(self, op):
        """Those boxes at the same time: what each says, or its error, and how long that took."""
        said = {}

        def use(name):
            begin = time.monotonic()
            try:
                said[name] = ["OK", self.inside(self.boxes[name])]
            except sbx.Error as error:
                said[name] = [error.name, error.message]
            said[name].append(time.monotonic() - begin)
        threads = [threading.Thread(target=use, args=(name,)) for name in op["boxes"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return said

    def do_drop(self, op):
        for name in op["boxes"]:
            self.boxes.pop(name).close()

    def do_warm(self, op):
        return self.pools[op["h"]].warm(op["hosts"])

    def do_info(self, op):
        return self.pools[op["h"]].info()

    def do_list(self, op):
        return [row["id"] for row in self.pools[op["h"]].sandboxes()]

    def do_shut(self, op):
        self.pools.pop(op["h"]).close()

    def do_delete(self, op):
        pool = self.pools.pop(op["h"])
        try:
            return pool.delete()
        finally:
            pool.close()

    def do_sweep(self, op):
        try:
            with pools.connect(self.clients[0], self.settings["name"]) as pool:
                return pool.delete()
        except sbx.Error as error:
            if error.code != sbx.NOT_FOUND:
                raise
            return 0

    def perform(self, op):
        time.sleep(op.get("at", 0))
        answer = {"tag": op["tag"], "begin": time.time(), "name": "OK", "message": ""}
        try:
            answer["value"] = getattr(self, "do_" + op["do"])(op)
        except sbx.Error as error:
            answer.update(name=error.name.removeprefix("ERROR_"), message=error.message)
        except Exception as error:  # noqa: BLE001: the test tells it
            answer.update(name="FAILED", message=repr(error))
        answer["end"] = time.time()
        with self.lock:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def main():
    actor, threads = Actor(), []
    for line in sys.stdin:
        threads = [thread for thread in threads if thread.is_alive()]
        threads.append(threading.Thread(target=actor.perform, args=(json.loads(line),)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    actor.do_end(None)
