"""Places of a system on the axes of the CAP radar, and its label PA, PC or CA; all constants stand in ``cap.yaml``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from moecap.metrics.accuracy import graded
from moecap.metrics.value import Metric, absent, measured

__all__ = ["Axis", "CapRule", "Label", "Place", "axis_metric", "cap_label", "cap_rule", "place", "places"]


class Axis(BaseModel):
    """One axis of the radar.

    Attributes:
        key: Its name in code.
        name: Its name on the figure.
        metric: The metric that it shows; ``accuracy`` is the mean over the run's tasks.
        unit: What its numbers are, in words.
        scale: Linear in the value or in its logarithm.
        start: The value at the centre.
        end: The value at the rim; outer is better, so it may be below ``start``.
        from_text: ``start`` as printed.
        to_text: ``end`` as printed.
        reason: Why these bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    name: str
    metric: str
    unit: str
    scale: Literal["linear", "log"]
    start: Annotated[float, Field(alias="from")]
    end: Annotated[float, Field(alias="to")]
    from_text: str
    to_text: str
    reason: str


class LabelRule(BaseModel):
    """The rule of the label; see ``cap.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    axes: dict[str, str]
    margin: float
    reason: str
    tie: str
    missing: str


class CapRule(BaseModel):
    """The content of ``cap.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    axes: tuple[Axis, ...]
    label: LabelRule


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies on an axis.

    Attributes:
        axis: The axis.
        metric: The value, or the reason why there is none.
        share: 0 at the centre, 1 at the rim, ``None`` without a value.
        beyond: Whether the value lies outside the bounds and was drawn at the nearest one.
    """

    axis: Axis
    metric: Metric
    share: float | None
    beyond: bool


@dataclass(frozen=True, slots=True)
class Label:
    """``text`` is PA, PC, CA or ``None``; ``reason`` says why."""

    text: str | None
    reason: str


@cache
def cap_rule() -> CapRule:
    """The axes and the rule, from the package's data file."""
    import yaml

    text = files("moecap.report").joinpath("cap.yaml").read_text(encoding="utf-8")
    return CapRule.model_validate(yaml.safe_load(text))


def axis_metric(axis: Axis, metrics: Mapping[str, Metric], tasks: tuple[str, ...]) -> Metric:
    """The metric that an axis shows of a result.

    Args:
        axis: The axis.
        metrics: The metrics of the result.
        tasks: Names of the tasks that ran.
    """
    if axis.metric != "accuracy":
        return metrics.get(axis.metric, absent("1", f"this result has no metric {axis.metric}"))
    tasks = graded(tasks, metrics)
    if not tasks:
        return absent("1", "no accuracy task was run")
    found = [metrics.get(f"accuracy.{task}") for task in tasks]
    values = [m for m in found if m is not None and m.value is not None]
    if len(values) < len(tasks):
        why = next((m.reason for m in found if m is not None and m.reason), None)
        return absent("1", why or "an accuracy task did not finish")
    if len(values) == 1:
        return values[0]
    return measured(sum(m.value or 0.0 for m in values) / len(values), "1", sum(m.n or 0 for m in values))


def place(axis: Axis, metric: Metric) -> Place:
    """Where a metric lies on an axis."""
    value = metric.value
    if value is None:
        return Place(axis, metric, None, False)
    if axis.scale == "linear":
        share = (value - axis.start) / (axis.end - axis.start)
    elif value <= 0:  # its logarithm has no bottom: it lies beyond whichever bound is the smaller
        share = -1.0 if axis.start < axis.end else 2.0
    else:
        share = math.log(value / axis.start) / math.log(axis.end / axis.start)
    return Place(axis, metric, min(1.0, max(0.0, share)), not 0.0 <= share <= 1.0)


def places(metrics: Mapping[str, Metric], tasks: tuple[str, ...]) -> tuple[Place, ...]:
    """The places of a result on every axis, in the order in which they are drawn."""
    return tuple(place(axis, axis_metric(axis, metrics, tasks)) for axis in cap_rule().axes)


def cap_label(found: tuple[Place, ...]) -> Label:
    """Which two of performance, cost and accuracy a system optimises, and why."""
    rule = cap_rule().label
    by_key = {p.axis.key: p for p in found}
    shares = {letter: by_key[key].share for letter, key in rule.axes.items()}
    missing = [rule.axes[letter] for letter, share in shares.items() if share is None]
    if missing:
        return Label(None, rule.missing.format(names=" and ".join(missing)))
    ordered = sorted((share, letter) for letter, share in shares.items() if share is not None)
    (lowest, given_up), (second, _), _ = ordered
    if second - lowest < rule.margin:
        near = ", ".join(f"{rule.axes[letter]} {share:.2f}" for share, letter in ordered[:2])
        return Label(None, rule.tie.format(lowest=near, margin=rule.margin))
    kept = {letter for _, letter in ordered[1:]}
    text = next(label for label in ("PA", "PC", "CA") if set(label) == kept)
    axes = ", ".join(f"{rule.axes[letter]} {share:.2f}" for share, letter in reversed(ordered))
    return Label(text, f"{rule.axes[given_up]} stands nearest to the centre ({axes})")
