"""A program that uses the library on a local Hub, told by a test what to do: one process for a whole table of cases.

    with Driver(hub) as driver:
        done = driver.ask("value = client.create(timeout_ms=args[0]).id", 5000)
        done.name, done.message, done.seconds, done.value        "OK", or the name and text of the sbx.Error that the code ended with

Each task has a client of its own, which is given back afterwards with everything that was made; done.closing says how long that took.
"""
import json
import threading

LOOP = """
import json, os, sys, threading, time, traceback
import sbx
hooks = []  # a client may outlive its task by what it still does in the background
for line in sys.stdin:
    task = json.loads(line)
    events = []
    @sbx.LOG_HOOK
    def hook(user, level, event, fields, count):
        events.append({"event": event.decode(), **{fields[i].name.decode(): (fields[i].value or b"").decode("utf-8", "replace")
                                                   for i in range(count)}})
    hooks.append(hook)
    answer = {"name": "OK", "message": "", "status": 0}
    space = {"sbx": sbx, "json": json, "os": os, "time": time, "threading": threading, "args": task["args"], "events": events}
    begin = time.monotonic()
    try:
        space["client"] = sbx.Client(log=hook, **task["client"])
        begin = time.monotonic()
        exec(task["text"], space)
    except sbx.Error as error:
        answer.update(name=error.name.removeprefix("ERROR_"), message=error.message, status=error.http_status)
    except BaseException:
        answer.update(name="FAILED", message=traceback.format_exc())
    answer["seconds"] = time.monotonic() - begin
    begin = time.monotonic()
    handles = [thing for thing in space.values() if isinstance(thing, sbx.Handle) and thing.handle is not None]
    for thing in sorted(handles, key=lambda h: ("Process", "Sandbox", "Pool", "Cancel", "Client", "Queue").index(type(h).__name__)):
        thing.close()
    answer.update(value=space.get("value"), events=events, closing=time.monotonic() - begin)
    print(json.dumps(answer), flush=True)
"""


class Done:
    def __init__(self, answer):
        self.__dict__.update(answer)

    def __repr__(self):
        return f"{self.name} after {self.seconds:.2f} s: {self.message}"


class Driver:
    def __init__(self, hub, off=None, **env):
        self.hub, self.off, self.env = hub, off, env

    def __enter__(self):
        self.process = self.hub.program.start(LOOP, off=self.off, **self.env)
        return self

    def __exit__(self, kind, *_):
        out, err = self.process.communicate(timeout=60)
        assert kind is not None or (self.process.returncode == 0 and "Sanitizer" not in err and "runtime error:" not in err), (self.process.returncode, err)

    def ask(self, text, *args, client=None):
        self.process.stdin.write(json.dumps({"text": text, "args": args, "client": client or {}}) + "\n")
        self.process.stdin.flush()
        watchdog = threading.Timer(60, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        assert line, f"the program has ended:\n{self.process.communicate(timeout=20)}"
        done = Done(json.loads(line))
        assert done.name != "FAILED", done.message
        return done
