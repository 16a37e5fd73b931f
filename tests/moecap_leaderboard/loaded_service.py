"""Leaderboards that start at once: each is forked off this process, which has loaded the code and done nothing with it.

It reads one JSON list a line, the arguments of ``moecap`` and the environment of a service, and prints its process id.
A service is in a session of its own, and whoever asked for it ends it.
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path


def main():
    for name in ("app", "connections", "demo"):  # what takes seconds
        importlib.import_module(f"moecap_leaderboard.{name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends leaves no entry behind
    for line in sys.stdin:
        arguments, environment, log = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_serve(arguments, environment, Path(log)))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _serve(arguments, environment, log):
    from moecap.cli import main as moecap

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.environ.clear()
    os.environ.update(environment)
    return moecap(arguments)


if __name__ == "__main__":
    main()
