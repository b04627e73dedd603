"""The programs (pool_actor.py) that carry out what pool_model.py tells them: one that was killed is replaced by another.

    with Crew(hub, off=None) as crew:
        crew.ask({0: op, 2: op})           an op for each of some programs, and their answers
"""
import json
import os
import select
import time

CALLS = 90        # seconds in which every call returns


class Broken(AssertionError):
    pass


class Crew:
    """The programs; one that was killed is replaced by another."""

    def __init__(self, hub, programs=3, off=None):
        self.hub, self.off, self.count = hub, off, programs
        self.processes, self.buffers, self.tags = [None] * programs, [b""] * programs, 0

    def __enter__(self):
        for number in range(self.count):
            self.start(number)
        return self

    def __exit__(self, kind, *_):
        for number in range(self.count):
            self.stop(number, gently=kind is None)

    def start(self, number):
        self.processes[number] = self.hub.program.start("import pool_actor\npool_actor.main()\n", off=self.off)
        self.buffers[number] = b""

    def stop(self, number, gently=False):
        process = self.processes[number]
        if not gently:
            process.kill()
        out, err = process.communicate(timeout=60)
        if "Sanitizer" in err or "runtime error:" in err or (gently and process.returncode != 0):
            raise Broken(f"program {number} ended with {process.returncode}:\n{err}")

    def send(self, number, op):
        self.tags += 1
        try:
            self.processes[number].stdin.write(json.dumps({**op, "tag": self.tags}) + "\n")
            self.processes[number].stdin.flush()
        except BrokenPipeError:
            pass  # gather tells why
        return self.tags

    def gather(self, waiting, until, killed=()):
        """The answers to these {tag: number of the program}, without those of programs that the test has killed."""
        answers = {}
        while waiting := {tag: n for tag, n in waiting.items() if tag not in answers and n not in killed}:
            files = {self.processes[n].stdout.fileno(): n for n in waiting.values()}
            ready, _, _ = select.select(list(files), [], [], max(0, until - time.monotonic()))
            if not ready:
                return answers, waiting
            for fd in ready:
                number, data = files[fd], os.read(fd, 1 << 16)
                if not data:
                    raise Broken(f"program {number} has ended: {self.processes[number].communicate(timeout=20)[1]}")
                *lines, self.buffers[number] = (self.buffers[number] + data).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    answers[answer["tag"]] = answer
        return answers, {}

    def ask(self, ops):
        """One op for each of some programs: {number: op} gives {number: answer}."""
        tags = {self.send(number, op): number for number, op in ops.items()}
        answers, late = self.gather(tags, time.monotonic() + CALLS)
        if late:
            raise Broken(f"calls do not return: {ops}")
        return {number: answers[tag] for tag, number in tags.items()}
