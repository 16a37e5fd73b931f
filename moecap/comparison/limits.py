"""Limits that fail a comparison: which metric, how much worse it may be, and whether it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moecap.comparison.lines import Line
from moecap.errors import BadInputError, UnknownNameError
from moecap.metrics.difference import Estimate

__all__ = ["Check", "Limit", "checked", "read_limits"]

SHORT = {
    "ttft": "ttft.p50",
    "tpot": "tpot.p50",
    "itl": "itl.p50",
    "e2e": "e2e.p50",
    "throughput": "output_tokens_per_second",
    "cost": "cost_per_million_output_tokens",
    "energy": "energy_per_output_token",
    "s_mbu": "decode.s_mbu",
}
"""Names for what is most often limited; any metric can be named in full."""

_FORM = re.compile(r"(?P<name>[^:=<>]+):(?P<share>\d+(?:\.\d+)?)%")


@dataclass(frozen=True, slots=True)
class Limit:
    """How much worse a metric may be.

    Attributes:
        asked: As it was written.
        name: The metric, or ``accuracy`` for every score.
        share: The most by which it may be worse: of scores in points, of all else in parts of A's value.
    """

    asked: str
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Check:
    """What a limit found.

    Attributes:
        limit: The limit.
        line: The metric; of several scores the one that is furthest beyond.
        worse: By how much B is worse, negative where it is better; ``None`` where that is not known.
        most: By how much it could be worse: the end of the interval; ``None`` without one.
        failed: Whether the comparison fails by it.
        text: The finding in a line.
    """

    limit: Limit
    line: Line
    worse: float | None
    most: float | None
    failed: bool
    text: str


def read_limits(texts: Sequence[str]) -> list[Limit]:
    """Limits as they are written: ``tpot:5%``.

    Raises:
        BadInputError: If one is not NAME:SHARE%.
    """
    limits = []
    for text in texts:
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise BadInputError(f"--fail-on {text!r}: not METRIC:PERCENT%, for instance --fail-on tpot:5%")
        name = found["name"].strip()
        limits.append(Limit(text.strip(), SHORT.get(name, name), float(found["share"]) / 100))
    return limits


def checked(limits: Sequence[Limit], lines: Mapping[str, Line]) -> list[Check]:
    """Hold lines against limits.

    A limit fails if B is worse by more than it and the difference is shown. Where no interval can be given, the values
    alone decide. A metric that A has and B has not fails.

    Raises:
        BadInputError: If a metric is in neither result, A has no value of it, or no direction of it is better.
    """
    found = []
    for limit in limits:
        names = [limit.name]
        if limit.name == "accuracy":
            names = [
                n for n, line in lines.items() if line.is_score and line.better == "higher" and line.a.value is not None
            ]
            if not names:
                raise BadInputError(f"--fail-on {limit.asked}: neither result has an accuracy; leave it out")
        checks = [_check(limit, name, lines) for name in names]
        found.append(max(checks, key=lambda c: (c.failed, -math.inf if c.worse is None else c.worse)))
    return found


def _check(limit: Limit, name: str, lines: Mapping[str, Line]) -> Check:
    line = lines.get(name)
    if line is None:
        problem = UnknownNameError("metric with a value", name, [*lines, *SHORT, "accuracy"], "name one of the table")
        raise BadInputError(f"--fail-on {limit.asked}: {problem}")
    if line.better == "neither":
        raise BadInputError(f"--fail-on {limit.asked}: neither direction of {name} is better; limit another metric")
    if line.a.value is None:
        raise BadInputError(f"--fail-on {limit.asked}: A has no {name} ({line.a.reason}); limit another metric")
    if line.b.value is None:
        return Check(limit, line, None, None, True, f"{name}: B has no value ({line.b.reason})")
    between = line.difference if line.is_score else line.ratio
    shown = line.verdict == "worse" or line.verdict is None
    if between is None:
        worse = None if line.b.value == line.a.value else math.inf * _sign(line, line.b.value - line.a.value)
        text = f"{name}: {line.a.value:g} in A and {line.b.value:g} in B have no ratio"
        return Check(limit, line, None, None, worse == math.inf and shown, text)
    equal = 0.0 if line.is_score else 1.0
    value = between.value if isinstance(between, Estimate) else between
    worse = _sign(line, 1.0) * (value - equal)
    most = None
    if isinstance(between, Estimate):
        most = max(_sign(line, 1.0) * (end - equal) for end in (between.low, between.high))
    failed = worse > limit.share and shown
    return Check(limit, line, worse, most, failed, _text(limit, line, worse, most, failed))


def _sign(line: Line, towards: float) -> float:
    """1 where going that way is worse, -1 where it is better."""
    return math.copysign(1.0, towards) * (-1.0 if line.better == "higher" else 1.0)


def _text(limit: Limit, line: Line, worse: float, most: float | None, failed: bool) -> str:
    unit = " points" if line.is_score else " %"
    moved = f"{abs(worse) * 100:.3g}{unit} {'worse' if worse > 0 else 'better'}" if worse else "equal"
    beyond = f"{moved}, limit {limit.share * 100:g}{unit}"
    if line.verdict is None:
        return f"{line.name}: {beyond}; by the values alone, since {line.why}"
    if failed or worse <= 0:
        return f"{line.name}: {beyond}"
    if line.verdict == "no difference shown":
        assert most is not None
        return f"{line.name}: {beyond}; no difference shown, it could be {most * 100:.3g}{unit} worse"
    return f"{line.name}: {beyond}"
