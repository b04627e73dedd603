"""The local Hub from the command line; tests/hub/run.sh starts it.

    python -m localhub [--tls] [--port N] [dial=value ...] [-- command ...]

With a command it runs that with the Hub's names and variables, and ends with it. Without one it prints the variables as export lines and
serves until it is interrupted.
"""
import argparse
import ast
import os
import shlex
import signal
import subprocess
import sys

from . import Hub
from .accounts import Accounts
from .dials import describe


def parse_value(text):
    if text == "inf":
        return float("inf")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parse(argv):
    command = []
    if "--" in argv:
        place = argv.index("--")
        argv, command = argv[:place], argv[place + 1:]
    parser = argparse.ArgumentParser(prog="tests/hub/run.sh", description="A local Hugging Face Hub.",
                                     epilog="-- COMMAND runs a command with it")
    parser.add_argument("--tls", action="store_true", help="TLS with a private CA, and real host names for commands after --")
    parser.add_argument("--port", type=int, default=0, help="of the API, without TLS")
    parser.add_argument("--build", help="the build directory with hub-proxy, hub-job and hfsandbox-agent")
    parser.add_argument("--agent", help="the program that the Hub publishes, if not hfsandbox-agent")
    parser.add_argument("--dials", action="store_true", help="list the dials and end")
    parser.add_argument("dial", nargs="*", help="name=value, as --dials lists them")
    options = parser.parse_args(argv)
    for dial in options.dial:
        if "=" not in dial:
            parser.error(f"{dial!r} is no name=value")
    return options, command


def export_lines(hub):
    lines = [f"export {key}={shlex.quote(value)}" for key, value in hub.env().items()]
    return "\n".join(lines + [f"# other tokens: {Accounts.ALICE_READ} (alice, read), {Accounts.BOB} (bob), {Accounts.MALLORY} (mallory)",
                              f"# controls: {hub.endpoint}/_hub/dials (see localhub/admin.py)"])


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    options, command = parse(sys.argv[1:])
    if options.dials:
        print(describe())
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    dials = {name: parse_value(value) for name, _, value in (dial.partition("=") for dial in options.dial)}
    try:
        with Hub(tls=options.tls, port=options.port, build=options.build, agent=options.agent, **dials) as hub:
            if command:
                return subprocess.run(hub.command(command), env={**os.environ, **hub.env()}).returncode
            print(export_lines(hub), flush=True)
            if hub.tls:
                print("# the names are known only to what is started by: tests/hub/run.sh --tls -- COMMAND, or by", flush=True)
                print(f"# unshare --mount sh -c 'mount --bind {hub.directory}/hosts /etc/hosts && exec sh'", flush=True)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return 130
    except (ValueError, RuntimeError) as error:
        print(f"localhub: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
