"""Runs the loads of a search one after the other on one engine, each in its run directory, resumably."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from moecap.errors import BadInputError, MoecapError, RunError, UsageError
from moecap.files import write_text
from moecap.report.page import write_report
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.search.asked import Search
from moecap.search.bisection import answer, next_load
from moecap.search.points import Point, judged, missed
from moecap.search.record import csv_text, search_record
from moecap.sweep.folder import finished, make_way
from moecap.sweep.shared_engine import SharedEngine

__all__ = ["SEARCH_FILE", "TABLE_FILE", "Found", "run_search"]

SEARCH_FILE, TABLE_FILE = "search.json", "search.csv"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found so far.

    Attributes:
        search: What was asked for.
        points: The loads that were tried, in that order.
        ended: Why it ended; empty while it goes on.
        opened: How many engines were opened for it.
    """

    search: Search
    points: tuple[Point, ...]
    ended: str = ""
    opened: int = 0

    @property
    def best(self) -> Point | None:
        """The point of the largest load that holds."""
        load = answer({point.load: point.holds for point in self.points})
        return next((point for point in self.points if point.holds and point.load == load), None)

    @property
    def beyond(self) -> Point | None:
        """The point of the smallest load above it that does not hold."""
        low = self.best.load if self.best else -1.0
        over = [point for point in self.points if not point.holds and point.load > low]
        return min(over, key=lambda point: point.load, default=None)

    @property
    def interrupted(self) -> bool:
        """Whether the user ended it."""
        return any(point.status == "interrupted" for point in self.points)


def run_search(search: Search, reporter: Reporter) -> Found:
    """Try loads until the largest that holds is known, or the user interrupts.

    A run that is in the folder already is not made again. A load whose run fails or is refused does not hold.

    Args:
        search: The search, whose folder is held.
        reporter: Hears how far it is.

    Raises:
        UsageError: If nothing could be started for the first load.
        RunError: If the run of the first load failed.
    """
    points: list[Point] = []
    engine = SharedEngine([search.coming])
    ended = ""
    try:
        while not ended:
            load = next_load(search.axis, {point.load: point.holds for point in points})
            if load is None:
                ended = _ended(search, points)
                break
            point = _tried(search, load, reporter, engine, first=not points)
            points.append(point)
            ended = "interrupted" if point.status == "interrupted" else ""
            verdict = "holds" if point.holds else point.reason
            reporter.say(f"{search.axis.name} {load:g}: {verdict}")
            _write(Found(search, tuple(points), ended, engine.opened))
    finally:
        engine.close()
    found = Found(search, tuple(points), ended, engine.opened)
    _write(found)
    return found


def _tried(search: Search, load: float, reporter: Reporter, engine: SharedEngine, *, first: bool) -> Point:
    try:
        cell = search.cell(load)
        done = finished(search.sweep, cell)
        if done is not None and done.result is not None:
            return judged(search, load, cell.name, done.result)
        place = make_way(search.sweep, cell)
        made = run(cell.config.model_copy(update={"output": place}), reporter, engine)
        write_report(made.directory)
    except KeyboardInterrupt:
        return missed(load, "", "interrupted", "interrupted before anything was started")
    except UsageError as error:
        if first:
            raise
        return missed(load, "", "refused", str(error))
    except MoecapError as error:
        return missed(load, "", "failed", str(error))
    if made.error is None:
        return judged(search, load, cell.name, made.result)
    if first and made.result.status == "failed":
        raise RunError(f"{search.axis.name} {load:g} failed: {made.problem}; {made.directory} has what was observed")
    return missed(load, cell.name, made.result.status, made.problem or "", made.result)


def _ended(search: Search, points: Sequence[Point]) -> str:
    """Why there is no load to try next."""
    low = answer({point.load: point.holds for point in points})
    if low is None:
        return f"no {search.axis.name} down to {min(point.load for point in points):g} holds"
    high = min((point.load for point in points if not point.holds and point.load > low), default=None)
    if high is None:
        return f"the largest {search.axis.name} that was to be tried holds"
    return f"{low:g} holds and {high:g} does not"


def _write(found: Found) -> None:
    """Write ``search.json`` and ``search.csv`` atomically.

    Raises:
        BadInputError: If they cannot be written.
    """
    folder = found.search.folder
    try:
        text = json.dumps(search_record(found), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(folder / SEARCH_FILE, text + "\n")
        write_text(folder / TABLE_FILE, csv_text(found))
    except OSError as error:
        raise BadInputError(f"{folder}: cannot be written ({error.strerror}); make room, then give --resume") from None
