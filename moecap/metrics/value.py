"""A number with what is needed to trust it, or the reason why there is none."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Metric", "absent", "measured"]


class Metric(BaseModel):
    """One metric of a result.

    Attributes:
        value: The number in SI units, or null.
        unit: ``s``, ``1`` (a fraction), ``1/s``, ``B``, ``USD``, ``nat/nat`` and so on.
        low: Lower end of the 95 % interval, null where none is given.
        high: Upper end.
        basis: ``prediction`` where ``low`` and ``high`` are the 80 % prediction interval of a projection, which says
            how far published measurements lay from it and nothing of this load's own spread; null otherwise.
        n: How many observations the number rests on.
        reason: Why there is no value; null when there is one.
        repeats: Its value in each repeat of the load; ``value`` is their mean (of a count their sum), and ``low`` and
            ``high`` of three or more Student's interval of that mean. Null where there is one repeat, or the metric is
            of the whole run. :func:`moecap.metrics.repeats.repeat_values` reads it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    n: int | None = None
    reason: str | None = None
    basis: Literal["prediction"] | None = None
    repeats: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _value_or_reason(self) -> Metric:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a metric has either a value or the reason why it has none")
        return self


def measured(value: Any, unit: str, n: int, low: Any = None, high: Any = None) -> Metric:
    """A metric with a value; NumPy scalars become plain floats."""
    return Metric(
        value=float(value),
        unit=unit,
        n=int(n),
        low=None if low is None else float(low),
        high=None if high is None else float(high),
    )


def absent(unit: str, reason: str, n: int = 0) -> Metric:
    """A metric that could not be made, with the reason."""
    return Metric(value=None, unit=unit, n=n, reason=reason)
