"""The error table of the projection on a file of published points: what ``moecap validate`` answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.projection.coefficients import Coefficients, calibrated
from moecap.projection.evaluation import errors_by, group_points, projected_values
from moecap.projection.points import Point, Skipped, read_points, resolve

__all__ = ["Validation", "validate_points"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Published points beside what is projected for them.

    Attributes:
        rows: Rows in the file.
        points: The points that are projected.
        projected: Their projected values, in the units of the points, float64 [n].
        low: Lower ends of the 80 % intervals, float64 [n].
        high: Upper ends, float64 [n].
        skipped: The rows that are not projected, with the reasons.
    """

    rows: int
    points: tuple[Point, ...]
    projected: Floats
    low: Floats
    high: Floats
    skipped: tuple[Skipped, ...]

    @property
    def published(self) -> Floats:
        """The published values, float64 [n]."""
        return np.array([point.value for point in self.points], np.float64)

    def table(self, key: Callable[[Point], str], split: str | None = None) -> dict[str, dict[str, float | int]]:
        """Errors by a key of the points, of one split or of all."""
        kept = np.array([split is None or point.split == split for point in self.points], np.bool_)
        names = [key(point) for point, keep in zip(self.points, kept, strict=True) if keep]
        return errors_by(names, self.published[kept], self.projected[kept], self.low[kept], self.high[kept])

    def as_json(self) -> dict[str, Any]:
        """The record; errors are |projected / published - 1|.

        ``by_model``, ``by_hardware`` and ``by_engine`` pool all metrics, and have each under ``by_metric``.
        """
        splits = sorted({point.split for point in self.points} - {""})
        answer: dict[str, Any] = {
            "n": self.rows,
            "n_projected": len(self.points),
            "skipped": [{"id": s.id, "reason": s.reason} for s in self.skipped],
            "by_metric": self.table(_metric),
            "by_split": {split: self.table(_metric, split) for split in splits},
        }
        for name, key in (("by_model", _model), ("by_hardware", _hardware), ("by_engine", _engine)):
            answer[name] = {k: {**v, "by_metric": {}} for k, v in self.table(key).items()}
            for both, record in self.table(_both(key)).items():
                value, metric = both.split(_BETWEEN)
                answer[name][value]["by_metric"][metric] = record
        return answer


_BETWEEN = "\t"


def _metric(point: Point) -> str:
    return point.metric


def _model(point: Point) -> str:
    return point.model


def _hardware(point: Point) -> str:
    return point.deployment.hardware.id


def _engine(point: Point) -> str:
    return point.engine


def _both(key: Callable[[Point], str]) -> Callable[[Point], str]:
    return lambda point: f"{key(point)}{_BETWEEN}{point.metric}"


def validate_points(path: Path, coefficients: Coefficients | None = None) -> Validation:
    """Project every row of a file that can be projected.

    Args:
        path: The file of published points.
        coefficients: Those of the package where not given.

    Raises:
        BadInputError: If it is no such file.
    """
    chosen = coefficients or calibrated()
    rows = read_points(path)
    resolved = [resolve(row) for row in rows]
    groups = group_points(item for item in resolved if isinstance(item, Point))
    points = [point for group in groups for point in group.points]
    values = projected_values(groups, chosen)
    skipped = [item for item in resolved if isinstance(item, Skipped)]
    skipped += [_too_large(p) for p, v in zip(points, values, strict=True) if not np.isfinite(v)]
    order = {str(row.get("id", "?")): place for place, row in enumerate(rows)}
    kept = [(p, v) for p, v in zip(points, values, strict=True) if np.isfinite(v)]
    kept.sort(key=lambda pair: order[pair[0].id])
    projected = np.array([v for _, v in kept], np.float64)
    spread = _spread([p for p, _ in kept], chosen)
    return Validation(
        rows=len(rows),
        points=tuple(p for p, _ in kept),
        projected=projected,
        low=projected / spread,
        high=projected * spread,
        skipped=tuple(sorted(skipped, key=lambda s: order.get(s.id, len(rows)))),
    )


def _spread(points: Sequence[Point], coefficients: Coefficients) -> Floats:
    return np.array([coefficients.interval(point.metric, point.deployment.hardware) for point in points], np.float64)


def _too_large(point: Point) -> Skipped:
    d = point.deployment
    held = f"{point.input_tokens:.0f} + {point.output_tokens:.0f} tokens"
    return Skipped(point.id, f"{d.spec.name} and one sequence of {held} do not fit in {d.devices} of {d.hardware.id}")
