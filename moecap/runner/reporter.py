"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["Reporter"]

SHOWN_PER_SECOND = 2
TOLD_EVERY_SECONDS = 10.0
"""Time between two lines where there is no terminal."""


class Reporter:
    """Says what is going on.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._start = time.monotonic()
        self._warned: set[str] = set()

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        self._console.print(f"[dim]{time.monotonic() - self._start:6.1f} s[/dim]  {text}", soft_wrap=True)

    def warn(self, title: str, lines: Sequence[str]) -> None:
        """A framed warning that cannot be overlooked; the next time of the same title only its first line.

        Args:
            title: What it is about, in a few words.
            lines: What is to be known, a paragraph each.
        """
        if title in self._warned:
            self.say(f"{title}: {lines[0]}")
            return
        self._warned.add(title)
        text = Text("\n".join(lines))
        self._console.print(
            Panel(text, title=title, style="bold yellow", expand=False, width=min(100, self._console.width))
        )

    @contextmanager
    def bar(self, text: str, total: int, told: Callable[[], str] | None = None) -> Iterator[Callable[[int], None]]:
        """A progress bar on a terminal; elsewhere a line at the start, every ten seconds, and at the end.

        Args:
            text: What is being done.
            total: How many there are.
            told: Gives what else is known at the moment, in a line; asked on a thread of its own.

        Yields:
            A function that takes how many are done.
        """
        count = 0
        started = time.monotonic()

        def done(number: int) -> None:
            nonlocal count
            count = number

        if self._console.is_terminal:
            columns = (
                TextColumn("         {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            progress = Progress(*columns, console=self._console)
            task = progress.add_task(text, total=total)

            def picture() -> Group:
                progress.update(task, completed=count)
                words = told() if told is not None else ""
                return Group(progress, Text(f"         {words}", style="dim")) if words else Group(progress)

            with Live(
                get_renderable=picture, console=self._console, transient=True, refresh_per_second=SHOWN_PER_SECOND
            ):
                yield done
        else:
            self.say(f"{text}: {total}")

            def line() -> None:
                passed = time.monotonic() - started
                left = f", about {passed / count * (total - count):.0f} s left" if count else ""
                words = f"; {told()}" if told is not None and count else ""
                self.say(f"{text}: {count} of {total}{left}{words}")

            with repeated(line, TOLD_EVERY_SECONDS):
                yield done
        words = told() if told is not None else ""
        self.say(f"{text}: {count} of {total} in {time.monotonic() - started:.1f} s{'; ' + words if words else ''}")


@contextmanager
def repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do something again and again on a thread of its own until this is left.

    Args:
        action: What to do.
        seconds: Time before the first and between two.
    """
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            with suppress(OSError):  # whoever read it has gone; the run goes on
                action()

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
