"""A serving system as a process: started, waited for, and ended on every path."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from moecap.errors import RunError

__all__ = ["ServerProcess", "free_port"]

POLL_SECONDS = 0.1
STOP_SECONDS = 30.0
ENDING_SECONDS = 20.0
TAIL_LINES = 200
COMPLAINT = re.compile(r"error|exception|not found|no such|refused|cannot|failed", re.IGNORECASE)
ABOVE = re.compile(r"see root cause above|received sigquit from a child process", re.IGNORECASE)
"""What the servers of vLLM and SGLang say where a process of their own has ended with an error that it has logged."""
OUT_OF_MEMORY = ", which the system sends where memory runs out"
EXCEPTION = re.compile(r"[A-Za-z_.]*(Error|Exception): .")
PREFIX = re.compile(r"^(\([^)]*\)\s*)?(\x1b\[[0-9;]*m)*([A-Z]+ \d\d-\d\d \S+ (\[[^\]]*\] )?)?")


def free_port() -> int:
    """A port of the loopback interface on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A server that ends with this object, with this process, and with an error.

    Args:
        name: The engine's name, for messages.
        command: What to run.
        variables: Environment variables in addition to this process's own.
        log: File for what the server prints.
        health: URL that answers 200 when the server is ready.
        deadline: Seconds that it may take to be ready.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        variables: Mapping[str, str],
        log: Path,
        health: str,
        deadline: float,
    ) -> None:
        self._name, self._log, self._health, self._deadline = name, log, health, deadline
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moecap_backends.guardian", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
            )

    def wait_until_ready(self, progress: Callable[[str], None]) -> None:
        """Wait for the server to answer.

        Raises:
            RunError: With the server's own words if it ends, or if it is not ready in time.
        """
        progress(f"starting {self._name}; it writes to {self._log.name}")
        begin = time.monotonic()
        while not self._answers():
            if self.ended:
                raise RunError(f"{self._name} ended {self.end} while starting: {self.complaint()}")
            if time.monotonic() - begin > self._deadline:
                self.stop()
                raise RunError(
                    f"{self._name} was not ready within {self._deadline:.0f} s; the last it said: {self.complaint()}"
                )
            time.sleep(POLL_SECONDS)

    @property
    def ended(self) -> bool:
        """Whether the server is gone."""
        return self._process.poll() is not None

    @property
    def end(self) -> str:
        """How the server ended, in words: the status, and the signal that killed it."""
        status = self._process.poll()
        number = 0 if status is None else -status if status < 0 else status - 128  # as shells and the guardian tell it
        try:
            name = signal.Signals(number).name
        except ValueError:
            return f"with status {status}"
        return f"with status {status} ({name}{OUT_OF_MEMORY if number == signal.SIGKILL else ''})"

    @property
    def ending(self) -> bool:
        """Whether the server is gone, or answers no more and is gone a moment later, when all of it has ended."""
        if not self.ended and not self._answers():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDING_SECONDS)
        return self.ended

    def complaint(self) -> str:
        """The last line of the log that complains, or the last line."""
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 200_000))
            lines = deque(file.read().decode("utf-8", "replace").splitlines(), maxlen=TAIL_LINES)
            said = [text for line in lines if (text := PREFIX.sub("", line).strip())]
            complaints = [line for line in said if COMPLAINT.search(line)]
            if complaints and ABOVE.search(complaints[-1]):
                above = [line for line in complaints if EXCEPTION.match(line) and not ABOVE.search(line)]
                complaints = above or complaints
            if said:
                return (complaints or said)[-1][:300]
        return "nothing"

    def stop(self) -> None:
        """End the server and everything that it has started."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self._health, timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError, ValueError):
            return False
