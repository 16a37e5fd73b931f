"""Processes that examine submissions and draw reports: files that crash, hang or fill memory end them alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError, MoecapError, NotAvailableError
from moecap.report.page import run_page
from moecap.report.reported_run import read_run
from moecap_leaderboard.examination import Examination, examine

__all__ = ["Examiners"]

_SPAWN = multiprocessing.get_context("spawn")

_TRIES = 2
"""Processes that try an examination where the first one is killed under it."""

_NICE = 10
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
        places: How many submissions and drawings are worked on or wait at most; each holds a thread.
    """

    def __init__(
        self, count: int = 1, seconds: float = 120.0, memory_bytes: int = 8_000_000_000, waiting: int = 32
    ) -> None:
        self._idle: queue.Queue[_Examiner | None] = queue.Queue()
        for _ in range(count):
            self._idle.put(None)
        self._seconds, self._memory = seconds, memory_bytes
        self._ended = threading.Event()
        self.places = count + waiting
        self._free = threading.BoundedSemaphore(self.places)
        self._drawings = threading.BoundedSemaphore(max(1, waiting // 2))

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

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Hold a place for a drawing, of which there are so few that readers leave room for those who submit.

        Raises:
            NotAvailableError: If all are taken.
        """
        if not self._drawings.acquire(blocking=False):
            raise NotAvailableError("too many charts wait to be drawn; try again in a minute")
        try:
            with self.place():
                yield
        finally:
            self._drawings.release()

    def examine(self, folder: Path, sent: Sequence[str]) -> Examination:
        """Examine a folder in one of the processes.

        Raises:
            BadInputError: If the result does not fit its schema, or the files crash, stall or overfill their process.
            NotAvailableError: If the service ends before there is an answer.
        """
        found: Examination = self._worked(examine, folder, tuple(sent))
        return found

    def draw(self, folder: Path) -> str:
        """The report of a run directory as HTML, drawn in one of the processes.

        Raises:
            BadInputError, NotAvailableError: As :meth:`examine`.
        """
        page: str = self._worked(draw, folder)
        return page

    def work(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of some module gives in one of the processes; arguments and answer are pickled.

        Raises:
            BadInputError, NotAvailableError: As :meth:`examine`.
        """
        return self._worked(task, *arguments)

    def _worked(self, work: Callable[..., Any], *arguments: Any) -> Any:
        examiner, answer = self._idle.get(), None
        try:
            for _ in range(_TRIES):
                self._require_service()
                if examiner is not None and examiner.worn:
                    examiner.end()
                    examiner = None
                examiner = examiner or _Examiner(self._memory)
                with contextlib.suppress(EOFError, OSError):  # killed, by what the files do to it or by something else
                    answer = examiner.ask(work, arguments, self._seconds)
                    break
                examiner.end()
                examiner = None
            self._require_service()
            if answer is None:
                if examiner is not None:
                    examiner.end()
                    examiner = None
                raise BadInputError(
                    f"the files cannot be examined in {self._seconds:.0f} s and the memory that is allowed"
                )
        finally:
            self._idle.put(examiner)
        good, content = answer
        if not good:
            raise BadInputError(content)
        return content

    def close(self) -> None:
        """End every process that is idle; what the others give, whose files may go now, is no answer any more."""
        self._ended.set()
        idle: list[_Examiner | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for examiner in idle:
            if examiner is not None:
                examiner.end()
            self._idle.put(None)  # whoever waits is told

    def _require_service(self) -> None:
        if self._ended.is_set():
            raise NotAvailableError("the service ends, and what it has received is checked when it starts; ask then")


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

    def ask(self, work: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> tuple[bool, Any] | None:
        """True and what the work gave, false and what is wrong with the files, or ``None`` where no answer comes.

        Raises:
            EOFError, OSError: If the process has ended.
        """
        self._asked += 1
        self._pipe.send((work, arguments))
        if not self._pipe.poll(seconds):
            return None
        answer: tuple[bool, Any] = self._pipe.recv()
        return answer

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def draw(folder: Path) -> str:
    """The report of a run directory."""
    return run_page(read_run(folder))


def _serve(pipe: Connection, memory_bytes: int) -> None:
    """Answer questions until the other end is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)  # those who read wait for an answer at once
    with contextlib.suppress(OSError):  # no Linux; where memory ends, this process goes and not the service
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            work, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer: tuple[bool, Any] = True, work(*arguments)
        except MoecapError as error:
            answer = False, str(error)
        except MemoryError:
            answer = False, "the files need more memory than is allowed"
        except Exception as error:  # whatever a stranger's files break; the process goes on
            answer = False, f"the files cannot be examined ({type(error).__name__})"
        pipe.send(answer)


def _end_with_parent() -> None:
    """Wait until the service has ended, which it does without a word where it is killed, and end in any work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
