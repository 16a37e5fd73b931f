"""A comparison in words: values, what lies between them, and what it says, for tables in a terminal and in a page."""

from __future__ import annotations

import math

from moecap.comparison.comparison import Comparison
from moecap.comparison.lines import Line
from moecap.metrics.accuracy import is_score
from moecap.metrics.difference import Estimate
from moecap.report.figures import NO_VALUE, TIMES, display_value, significant

__all__ = ["between", "difference_text", "effect_text", "headlines", "said", "sentence"]

HEADLINES = (
    *("output_tokens_per_second", "output_tokens_per_second_per_device", "output_tokens_per_second_whole_run"),
    *("requests_per_second", "requests_per_second_whole_run", "ttft.p50", "ttft.p99", "ttft.mean"),
    *("tpot.p50", "tpot.p99", "tpot.mean", "itl.p50", "itl.p99", "itl.mean", "e2e.p50", "e2e.p99", "e2e.mean"),
    *("decode.s_mbu", "decode.s_mfu", "prefill.s_mbu", "prefill.s_mfu"),
    *("cost_per_million_output_tokens", "cost_per_million_tokens", "energy_per_output_token", "failed_requests"),
)
"""What is shown without being asked for, where one side has it; every score of a task follows."""


def headlines(lines: tuple[Line, ...]) -> list[Line]:
    """The lines that are shown without being asked for."""
    by_name = {line.name: line for line in lines}
    scores = [line for line in lines if line.is_score and is_score(line.name)]
    return [by_name[name] for name in HEADLINES if name in by_name] + scores


def between(line: Line) -> str:
    """What lies between the two: of scores the difference, else the ratio, with its interval."""
    found = line.difference if line.is_score else line.ratio
    if found is None:
        return NO_VALUE
    if line.is_score:
        if isinstance(found, Estimate):
            return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        return f"{found:+.3f}"
    if isinstance(found, Estimate):
        high = "no bound" if math.isinf(found.high) else f"{found.high:.3g}"
        return f"{TIMES} {found.value:.3g} ({found.low:.3g} to {high})"
    return f"{TIMES} {found:.3g}"


def difference_text(line: Line) -> str:
    """The difference in the unit of both, with its interval."""
    found = line.difference
    if found is None:
        return NO_VALUE
    unit = line.a.unit
    if isinstance(found, Estimate):
        return f"{_signed(found.value, unit)} ({_signed(found.low, unit)} to {_signed(found.high, unit)})"
    return _signed(found, unit)


def _signed(value: float, unit: str) -> str:
    if unit in ("requests", "steps"):
        return f"{value:+.3g}"
    if not math.isfinite(value):
        return "no bound"
    sign = "-" if value < 0 else "+"
    return f"{sign}{display_value(abs(value), unit)}"


def effect_text(line: Line) -> str:
    """How large the difference is beside the spread."""
    if line.effect is None:
        return ""
    p = "" if line.p is None else f", p {significant(line.p)}"
    return f"{line.effect.name} {line.effect.value:+.2f}{p}"


def said(line: Line) -> str:
    """The verdict, with what it rests on, or why there is none."""
    if line.verdict is None:
        return f"not said: {line.why}"
    return f"{line.verdict} ({line.method})"


def sentence(found: Comparison) -> str:
    """The comparison in one sentence, with how many metrics it rests on."""
    shown = headlines(found.lines)
    judged = [line for line in shown if line.verdict is not None]
    if not judged:
        return f"None of {len(shown)} metrics has an interval, so that nothing says what is more than noise."
    parts = []
    for verdict in ("better", "worse"):
        names = [line.name for line in judged if line.verdict == verdict]
        if names:
            parts.append(f"{verdict} in {', '.join(names)}")
    rest = sum(line.verdict == "no difference shown" for line in judged)
    if rest:
        parts.append(f"no difference shown in {rest}")
    return f"Of {len(judged)} metrics with an interval, B is {'; '.join(parts)}."
