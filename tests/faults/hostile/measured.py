"""Reads files in processes of their own, one each, and tells what came of it and how much memory it took.

Run as a program it loads every reader once; each line of its input, a reader's name and a file, is then answered by a
copy of it that ends with the file.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

from hostile import all_parsers
from hostile.parser import Parser

SECONDS = 120
ADDRESSES = 3_000_000_000
"""Bytes of address space that a reader may take beside what is loaded: a guard of the machine, no measure."""


class Measured:
    """The process that has every reader loaded.

    Args:
        run: A valid run directory.
    """

    def __init__(self, run: Path) -> None:
        words = [sys.executable, __file__, str(run)]
        variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)

    def read(self, name: str, path: Path) -> tuple[str, str, int]:
        """What came of a file: ``read``, the name of an error, or how the process ended; its text; bytes at most."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, str(path)]) + "\n")
        self._process.stdin.flush()
        outcome, text, taken = json.loads(self._process.stdout.readline())
        return outcome, text, taken

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        with self._process:
            self._process.stdin.close()


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


def _attempt(parser: Parser, path: Path, answer: int) -> None:
    """Read a file and write what came of it."""
    from moecap.errors import MoecapError

    signal.alarm(SECONDS)
    limit = _status("VmSize") + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    Path("/proc/self/clear_refs").write_text("5")  # the most so far counts from here
    before = _status("VmRSS")
    try:
        parser.read(path)
        outcome, text = "read", ""
    except MoecapError as error:
        outcome, text = "refused", str(error)
    except BaseException as error:
        outcome, text = type(error).__name__, str(error)[:500]
    os.write(answer, json.dumps([outcome, text, _status("VmHWM") - before]).encode())


def main() -> None:
    """Answer each line."""
    parsers = {parser.name: parser for parser in all_parsers(Path(sys.argv[1]))}
    for line in sys.stdin:
        name, path = json.loads(line)
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            _attempt(parsers[name], Path(path), writes)
            os._exit(0)
        os.close(writes)
        with os.fdopen(reads) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        sys.stdout.write((said or json.dumps([f"ended with status {status}", "", 0])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
