"""``moecap validate``: the error of the projection on published points."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moecap.projection.validation import Validation

__all__ = ["validate"]

_COLUMNS = ("rows", "metric", "n", "median error", "90th percentile", "in the 80 % interval")


def validate(*, points: Path, json: bool = False) -> None:
    """Error of the projection on published points: |projected / published - 1|.

    Args:
        points: File of published points (JSON with a list under points).
        json: Print JSON, with the errors by model, hardware and engine and every row that is not projected.
    """
    from moecap.cli.output import print_json, print_line, print_table
    from moecap.projection.validation import validate_points

    found = validate_points(points)
    if json:
        print_json(found.as_json())
        return
    splits = sorted({point.split for point in found.points}) or [""]
    rows = [row for split in splits for row in _rows(found, split)]
    print_table(_COLUMNS, rows, title=f"{len(found.points)} of {found.rows} rows are projected", right=_COLUMNS[2:])
    _groups(found, "validation" if "validation" in splits else None)
    for reason, count in Counter(item.reason for item in found.skipped).most_common():
        print_line(f"{count} rows are not projected: {reason}")


def _rows(found: Validation, split: str) -> list[tuple[str, ...]]:
    table = found.table(lambda point: point.metric, split)
    return [(split or "all", *_cells(metric, record)) for metric, record in table.items()]


def _groups(found: Validation, split: str | None) -> None:
    """The errors by model, chip and engine; only of the rows that nothing was fitted on, where the file marks them."""
    from moecap.cli.output import print_table

    table = found.table(lambda p: f"{p.model} on {p.deployment.hardware.id}, {p.engine}\t{p.metric}", split)
    rows = [(*key.split("\t"), *_cells("", record)[1:]) for key, record in table.items()]
    columns = ("model, chip, engine", *_COLUMNS[1:])
    print_table(columns, rows, title=f"by model, chip and engine, {split or 'all'} rows", right=columns[2:])


def _cells(name: str, record: dict[str, float | int]) -> tuple[str, ...]:
    return (
        name,
        str(record["n"]),
        f"{record['median_abs_error']:.1%}",
        f"{record['p90_abs_error']:.1%}",
        f"{record['interval_coverage']:.0%}",
    )
