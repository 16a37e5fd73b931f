"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["Reporter"]


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
    def bar(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar on a terminal; elsewhere a line at the start and at the end.

        Args:
            text: What is being done.
            total: How many there are.

        Yields:
            A function that takes how many are done.
        """
        if not sys.stderr.isatty():
            self.say(f"{text}: {total}")
            yield lambda _done: None
            return
        columns = (TextColumn("         {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(text, total=total)
            yield lambda done: progress.update(task, completed=done)
        self.say(f"{text}: {total}")
