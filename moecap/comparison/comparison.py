"""A comparison of one side with others: read, refused where it would mislead, and held against limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.comparison.comparable import obstacles, remarks
from moecap.comparison.imported import imported_side
from moecap.comparison.limits import Check, checked, read_limits
from moecap.comparison.lines import Line, compared
from moecap.comparison.side import Side, read_side
from moecap.errors import BadInputError
from moecap.importing.record import is_imported

__all__ = ["Comparison", "compare_runs"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides.

    Attributes:
        a: The baseline.
        b: What is held against it.
        lines: Every metric that one of them has.
        obstacles: Why they are not comparable, where it was asked for all the same.
        remarks: What has to be said beside the numbers.
        checks: What the limits found.
    """

    a: Side
    b: Side
    lines: tuple[Line, ...]
    obstacles: tuple[str, ...]
    remarks: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> bool:
        """Whether a limit was passed."""
        return any(check.failed for check in self.checks)

    def content(self) -> dict[str, Any]:
        """The comparison as JSON."""
        return {
            "b": {"path": self.b.name, "id": self.b.id, "title": self.b.title},
            "comparable": not self.obstacles,
            "obstacles": list(self.obstacles),
            "remarks": list(self.remarks),
            "metrics": {line.name: line.content() for line in self.lines},
            "fail_on": [
                {
                    "limit": check.limit.asked,
                    "metric": check.line.name,
                    "worse_by": check.worse,
                    "worse_at_most": check.most,
                    "failed": check.failed,
                    "text": check.text,
                }
                for check in self.checks
            ],
        }


def compare_runs(
    a: Path, others: Sequence[Path], fail_on: Sequence[str] = (), *, force: bool = False
) -> list[Comparison]:
    """Compare others with one.

    Args:
        a: Run directory or result file of the baseline.
        others: Those of what is held against it.
        fail_on: Limits such as ``tpot:5%``.
        force: Compare what is not comparable too.

    Raises:
        BadInputError: If one cannot be read, two are not comparable, or a limit names what cannot be limited.
    """
    limits = read_limits(fail_on)
    first = _side(a)
    found = []
    for path in others:
        second = _side(path)
        against = obstacles(first, second)
        if against and not force:
            raise BadInputError(
                f"{a} and {path} are not comparable: {'; '.join(against)}; --force compares all the same"
            )
        lines = compared(first, second)
        checks = checked(limits, {line.name: line for line in lines})
        found.append(
            Comparison(first, second, tuple(lines), tuple(against), tuple(remarks(first, second)), tuple(checks))
        )
    return found


def _side(path: Path) -> Side:
    return imported_side(path) if is_imported(path) else read_side(path)
