"""Runs that are killed at one file operation after the other: ``python killed_runs.py FOLDER``.

``FOLDER/1`` is the directory of a run that was killed right before its first operation there, ``FOLDER/2`` before its
second, and so on; the last one is that of a run that came to its end. ``python killed_runs.py --read RUN`` reads a run
whose files are to be put in place, and is killed before its second operation, until a reading comes to its end.
"""

import os
import signal
import sys
from pathlib import Path

from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings

CHANGES = ("open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir")
LOAD = {"num_requests": 4, "concurrency": 2, "input_len": 20, "output_len": 4}


def kill_before(number, directory):
    """Kill this process right before its so-manieth change in a directory."""
    changes = 0

    def count(event, arguments):
        nonlocal changes
        if event not in CHANGES or not str(arguments[0]).startswith(str(directory)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        changes += 1
        if changes == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def survives(number, directory, work):
    """Whether work on a directory comes to its end in a process that is killed before its so-manieth change of it."""
    if child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), status
        return status == 0
    ended = 1
    try:
        kill_before(number, directory)
        work(directory)
        ended = 0
    finally:
        os._exit(ended)


def project(directory):
    options = {"model": "mixtral", "hw": "a100", "task": ["none"], "output": str(directory)}
    outcome = run(with_settings(options | LOAD, ()), Reporter(quiet=True))
    assert outcome.error is None


def main():
    if sys.argv[1] == "--read":
        directory = Path(sys.argv[2])
        while not survives(2, directory, read_result):
            pass
        return
    number, ended = 0, False
    while not ended:
        number += 1
        directory = Path(sys.argv[1], str(number))
        ended = survives(number, directory, project)


if __name__ == "__main__":
    main()
