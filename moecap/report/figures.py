"""Numbers as people read them: three significant figures, a unit, prefixes only in print."""

from __future__ import annotations

from textwrap import wrap

from moecap.metrics.value import Metric

__all__ = ["NO_VALUE", "TIMES", "display", "display_range", "display_value", "in_lines", "significant", "with_prefix"]

NO_VALUE = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
LABEL_WIDTH = 11
SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"))
LARGE = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def in_lines(text: str) -> str:
    """A label of an axis in lines of eleven characters, where its words allow, so that it stands upright on a phone."""
    return "<br>".join(wrap(text, LABEL_WIDTH, break_long_words=False, break_on_hyphens=False))


def display(metric: Metric) -> str:
    """A metric's value with its unit, or a dash."""
    return NO_VALUE if metric.value is None else display_value(metric.value, metric.unit)


def display_range(metric: Metric) -> str:
    """A metric's value with its interval or bounds behind it, where it has them."""
    if metric.value is None or metric.low is None or metric.high is None:
        return display(metric)
    low, high = (display_value(end, metric.unit) for end in (metric.low, metric.high))
    return f"{display(metric)} ({low}{NO_VALUE}{high})"


def display_value(value: float, unit: str) -> str:
    """A value in SI units as text.

    Args:
        value: The value.
        unit: Its unit; ``1`` is shown as a fraction, ``s`` with milli and micro, ``B`` with GB, MB and so on.
    """
    if unit == "1":
        return f"{value:.3f}"
    if unit == "s":
        factor, prefix = next(((f, p) for f, p in SMALL if abs(value) >= f), SMALL[-1])
        return f"{significant(value / factor)} {prefix}s"
    if unit == "B":
        return with_prefix(value, "B")
    if unit.startswith("USD"):
        return f"${value:.2f}" if 1 <= value < 100 else f"${significant(value)}"
    if unit in ("requests", "steps"):
        return f"{value:.0f}"
    return f"{significant(value)} {unit}"


def significant(value: float) -> str:
    """A number to three significant figures, without an exponent from 0.0001 up."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.4f}".rstrip("0") if "e" in text and abs(value) > 1e-4 else text


def with_prefix(value: float, unit: str) -> str:
    """A large value with a decimal prefix: ``30.4 GB/s``, ``207 GFLOP/s``.

    Args:
        value: The value, in ``unit``.
        unit: Unit without a prefix, such as ``B/s``.
    """
    for factor, prefix in LARGE:
        if abs(value) >= factor:
            return f"{significant(value / factor)} {prefix}{unit}"
    return f"{significant(value)} {unit}"
