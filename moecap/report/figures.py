"""Numbers as people read them: three significant figures, a unit, prefixes only in print."""

from __future__ import annotations

from moecap.metrics.value import Metric

__all__ = ["display", "display_value", "with_prefix"]

NO_VALUE = "–"


def display(metric: Metric) -> str:
    """A metric's value with its unit, or a dash."""
    return NO_VALUE if metric.value is None else display_value(metric.value, metric.unit)


def display_value(value: float, unit: str) -> str:
    """A value in SI units as text.

    Args:
        value: The value.
        unit: Its unit; ``1`` is shown as a fraction, ``s`` with milli and micro, ``B`` with GB and MB.
    """
    if unit == "1":
        return f"{value:.3f}"
    if unit == "s":
        if value >= 1:
            return f"{_figures(value)} s"
        return f"{_figures(value * 1e3)} ms" if value >= 1e-3 else f"{_figures(value * 1e6)} µs"
    if unit == "B":
        return f"{_figures(value / 1e9)} GB" if value >= 1e9 else f"{_figures(value / 1e6)} MB"
    if unit.startswith("USD"):
        return f"${_figures(value)}"
    if unit in ("requests", "steps"):
        return f"{value:.0f}"
    return f"{_figures(value)} {unit}"


def _figures(value: float) -> str:
    """Three significant figures without an exponent between 0.001 and a million."""
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
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{_figures(value / factor)} {prefix}{unit}"
    return f"{_figures(value)} {unit}"
