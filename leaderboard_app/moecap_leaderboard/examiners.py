"""Processes that examine submissions: files that crash, hang or fill memory end their process and not the service."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import resource
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError, MoecapError, NotAvailableError
from moecap_leaderboard.examination import Examination, examine

__all__ = ["Examiners"]

_SPAWN = multiprocessing.get_context("spawn")

_TASKS_EACH = 200
"""Examinations after which a process is replaced, so that what a library keeps does not grow."""


class Examiners:
    """A fixed number of processes, started when they are first needed.

    Args:
        count: How many examine at once.
        seconds: The longest examination.
        memory_bytes: Address space of each process.
        waiting: How many submissions may wait for a process before the next one is turned away.

    Attributes:
        places: How many submissions are examined or wait at most; each holds a thread.
    """

    def __init__(
        self, count: int = 1, seconds: float = 120.0, memory_bytes: int = 8_000_000_000, waiting: int = 32
    ) -> None:
        self._idle: queue.Queue[_Examiner | None] = queue.Queue()
        for _ in range(count):
            self._idle.put(None)
        self._seconds, self._memory = seconds, memory_bytes
        self.places = count + waiting
        self._free = threading.BoundedSemaphore(self.places)

    def start(self) -> None:
        """Let the processes load what they need before the first submission comes."""
        for _ in range(self._idle.qsize()):
            self._idle.put(self._idle.get() or _Examiner(self._memory))

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places of those who wait for an examination or have one.

        Raises:
            NotAvailableError: If all are taken.
        """
        if not self._free.acquire(blocking=False):
            raise NotAvailableError("too many submissions wait to be checked; try again in a minute")
        try:
            yield
        finally:
            self._free.release()

    def examine(self, folder: Path, sent: Sequence[str]) -> Examination:
        """Examine a folder in one of the processes.

        Raises:
            BadInputError: If the result does not fit its schema, or the files crash, stall or overfill their process.
        """
        examiner = self._idle.get()
        try:
            if examiner is not None and examiner.worn:
                examiner.end()
                examiner = None
            examiner = examiner or _Examiner(self._memory)
            answer = examiner.ask(folder, sent, self._seconds)
            if answer is None:
                examiner.end()
                examiner = None
                raise BadInputError(
                    f"the files cannot be examined in {self._seconds:.0f} s and the memory that is allowed"
                )
        finally:
            self._idle.put(examiner)
        if isinstance(answer, str):
            raise BadInputError(answer)
        return answer

    def close(self) -> None:
        """End every process that is idle."""
        with contextlib.suppress(queue.Empty):
            while True:
                examiner = self._idle.get_nowait()
                if examiner is not None:
                    examiner.end()


class _Examiner:
    """One process, which answers one question at a time."""

    def __init__(self, memory_bytes: int) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, memory_bytes), daemon=True)
        self._process.start()
        theirs.close()
        self._asked = 0

    @property
    def worn(self) -> bool:
        """Whether the process has done its share or has ended."""
        return self._asked >= _TASKS_EACH or not self._process.is_alive()

    def ask(self, folder: Path, sent: Sequence[str], seconds: float) -> Examination | str | None:
        """What was found, what is wrong with the result, or ``None`` where no answer came."""
        self._asked += 1
        try:
            self._pipe.send((folder, tuple(sent)))
            if not self._pipe.poll(seconds):
                return None
            answer: Any = self._pipe.recv()
        except (EOFError, OSError):
            return None
        return answer if isinstance(answer, dict) else str(answer)

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, memory_bytes: int) -> None:
    """Answer questions until the other end is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # no Linux; where memory ends, this process goes and not the service
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    while True:
        try:
            folder, sent = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer: Examination | str = examine(folder, sent)
        except MoecapError as error:
            answer = str(error)
        except MemoryError:
            answer = "the files need more memory than is allowed"
        except Exception as error:  # whatever a stranger's files break; the process goes on
            answer = f"the files cannot be examined ({type(error).__name__})"
        pipe.send(answer)
