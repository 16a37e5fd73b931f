"""Progress of a download or a conversion, told on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["SILENT", "Progress", "shown"]


class Progress(Protocol):
    """Whoever wants to know how far a long piece of work is."""

    def advance(self, label: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` bytes of the work called ``label`` are finished."""

    def say(self, text: str) -> None:
        """Say one line that is no amount: what is being waited for, what went wrong and is tried again."""


class _Silent:
    """Tells nobody."""

    def advance(self, label: str, done: int, total: int) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""


class _Lines:
    """A line at the start of each piece of work, and one at each quarter of it."""

    def __init__(self) -> None:
        self._quarters: dict[str, int] = {}

    def advance(self, label: str, done: int, total: int) -> None:
        """Write a line if the work has entered another quarter."""
        quarter = 4 * done // max(total, 1)
        if quarter > self._quarters.get(label, -1):
            self._quarters[label] = quarter
            self.say(f"{label}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

    def say(self, text: str) -> None:
        """Write the line."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class _Bars:
    """One bar a piece of work, with bytes, speed and the time that is left."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def advance(self, label: str, done: int, total: int) -> None:
        """Move the bar of this piece of work; the first call draws it."""
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total)
        self._bars.update(self._tasks[label], completed=done, total=total)

    def say(self, text: str) -> None:
        """Write the line above the bars."""
        self._bars.console.print(text, markup=False, highlight=False)


SILENT: Progress = _Silent()


@contextlib.contextmanager
def shown(progress: Progress | None) -> Iterator[Progress]:
    """Give the caller's progress, or, for ``None``, one that is drawn on stderr until the block ends.

    Args:
        progress: A progress that the caller shows, ``SILENT``, or ``None``.
    """
    if progress is not None:
        yield progress
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        from rich import progress as rich_progress
        from rich.console import Console

        columns = (
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
            rich_progress.TimeRemainingColumn(),
        )
        with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            yield _Bars(bars)
