"""What a result rests on: its figures with what the leaderboard recomputed, the rules, its flags, and its tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moecap.metrics.value import Metric
from moecap.report.figures import NO_VALUE, display, display_value
from moecap.report.headline import validity
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap.report.section import metric_value
from moecap.result import Flag
from moecap_leaderboard.metrics import HEADLINES
from moecap_leaderboard.pages.measures import Measure, interval_kind, measure
from moecap_leaderboard.pages.naming import listed, plural
from moecap_leaderboard.states import TIER_TEXTS

__all__ = ["figures", "flags", "rules", "tiles", "trust"]

_TILES = {
    "speed": "Throughput",
    "latency": "Time per token",
    "ttft": "First token",
    "cost": "Million output tokens",
    "accuracy": "Accuracy",
}
_ENDS = {
    "confidence": "95 % interval",
    "prediction": "80 % interval of prediction",
    "bounds": "least and most by routing",
    "stated": "as its source states it",
}
_LEVELS = {
    "invalid": "bars the row from the main ranking",
    "warning": "casts doubt on some numbers",
    "info": "is worth knowing",
}
_OUTCOMES = {"failed": "broken", "flagged": "flagged", "skipped": "no subject here", "passed": "holds"}
_COUNTED = {"failed": "broken", "flagged": "flagged", "skipped": "without a subject here", "passed": "kept"}
_TEXTS = {headline.name: headline.text for headline in HEADLINES}


def figures(found: Mapping[str, Any]) -> Html:
    """The headline numbers and all others, each as stated and as the leaderboard recomputed it.

    Args:
        found: The row as ``GET /results/{id}`` gives it.
    """
    names = list(found["metrics"])
    every: dict[str, Any] = found["result"]["metrics"]
    rest = [name for name in every if name not in names]
    parts = [_table("Headline numbers", found, {name: found["metrics"][name] for name in names})]
    if rest:
        more = _table("Every other number", found, {name: every[name] for name in rest})
        parts.append(folded(f"{plural(len(rest), 'other number')}", more))
    return join(*parts)


def tiles(found: Mapping[str, Any]) -> Html:
    """What most people ask of a row, each with what it is and how it follows.

    Args:
        found: The row as ``GET /results/{id}`` gives it.
    """
    shown = [(_TILES[key], measure(found, key, {})) for key in _TILES]
    if s_mbu := found["metrics"].get("decode.s_mbu"):
        metric = Metric.model_validate(s_mbu)
        ends = interval_kind(found, "decode.s_mbu", metric)
        shown.insert(3, ("S-MBU of decode", Measure(metric, "share of the memory bandwidth", "", ends)))
    return element("dl", *(_tile(label, one) for label, one in shown), class_="tiles")


def _tile(label: str, one: Measure) -> Html:
    metric = one.metric
    missing = metric.value is None
    interval = ""
    if one.ends is not None and metric.low is not None and metric.high is not None:
        low, high = (display_value(end, metric.unit) for end in (metric.low, metric.high))
        interval = f"{low} to {high} ({_ENDS[one.ends]})"
    count = f"n = {metric.n:,}" if metric.n else ""
    small = metric.reason if missing else "; ".join(filter(None, (one.name, interval, count, one.how)))
    number = "no value" if missing else display(metric)
    return element(
        "div",
        element("dt", label),
        element("dd", number, class_="none" if missing else "value"),
        element("dd", small, class_="faint"),
    )


def _table(caption: str, found: Mapping[str, Any], metrics: Mapping[str, Any]) -> Html:
    compared: Mapping[str, Any] = found["recomputed_metrics"]
    heads: list[Child] = ["Metric", "Value", "Interval", "n"]
    if compared:
        heads += ["Recomputed here", "Difference"]
    rows = []
    for name, stated in metrics.items():
        metric = Metric.model_validate(stated)
        row: list[Child] = [
            join(element("code", name), element("small", _TEXTS[name]) if name in _TEXTS else None),
            _shown(name, metric),
            _interval(found, name, metric),
            f"{metric.n:,}" if metric.n else NO_VALUE,
        ]
        if compared:
            row += _recomputed(metric, compared.get(name))
        rows.append(row)
    return data_table(caption, heads, rows, numeric=(1, 3, 4, 5), class_="figures")


def _shown(name: str, metric: Metric) -> Html:
    value = metric_value(name, metric, reason=False)
    return value if metric.value is not None else join(value, element("small", metric.reason))


def _interval(found: Mapping[str, Any], name: str, metric: Metric) -> Child:
    kind = interval_kind(found, name, metric)
    if kind is None or metric.low is None or metric.high is None:
        return NO_VALUE
    low, high = (display_value(end, metric.unit) for end in (metric.low, metric.high))
    return join(f"{low} to {high}", element("small", _ENDS[kind]))


def _recomputed(metric: Metric, pair: Mapping[str, float | None] | None) -> list[Child]:
    if pair is None:
        return [element("span", "not recomputed", class_="none"), NO_VALUE]
    own, difference = pair["recomputed"], pair["difference"]
    if own is None:
        return ["no value either" if metric.value is None else "no value", NO_VALUE]
    return [
        element("data", display_value(own, metric.unit), value=repr(own)),
        NO_VALUE if difference is None else f"{difference:.1e}" if difference else "0",
    ]


def trust(found: Mapping[str, Any]) -> Html:
    """The tier in words, and how much of the result the leaderboard has recomputed."""
    tier = found["tier"]
    sentences = [TIER_TEXTS[tier]]
    compared: Mapping[str, Any] = found["recomputed_metrics"]
    if compared:
        most = max((_relative(pair) for pair in compared.values()), default=0.0)
        far = f"differ by at most {most:.1e}, relatively" if most else "are equal to the last digit"
        sentences.append(f"{plural(len(compared), 'number')} of {len(found['result']['metrics'])} {far}.")
    if found["withheld"]:
        sentences.append(f"Its submitter kept {listed(found['withheld'])}.")
    if compared and found["not_recomputed"]:
        rest = listed(found["not_recomputed"])
        sentences.append(f"So these stand as stated, and measured rows are not sorted by them: {rest}.")
    if found["kind"] == "imported":
        sentences.append("A figure that was published elsewhere is shown as its source gives it.")
    if tier == "reproduced":
        sentences.append(f"Repetitions of other owners within the margins: {found['reproduced_by']}.")
    signed = "Its signature belongs to its submitter." if found["signed"] else "It bears no signature that counts."
    return paragraph(" ".join((*sentences, signed)), class_="shows")


def _relative(pair: Mapping[str, float | None]) -> float:
    difference, stored = pair["difference"], pair["stored"]
    return abs(difference / stored) if difference and stored else abs(difference or 0.0)


def flags(found: Sequence[Mapping[str, str]]) -> Html:
    """The flags of validity, and what their levels mean."""
    levels = [level for level in _LEVELS if any(flag["level"] == level for flag in found)]
    meaning = "; ".join(f"{level} {_LEVELS[level]}" for level in levels)
    return join(
        validity(tuple(Flag.model_validate(flag) for flag in found)),
        paragraph(f"A flag of level {meaning}.", class_="faint") if levels else None,
    )


def rules(found: Sequence[Mapping[str, Any]], *, opened: bool = False) -> Html:
    """The report of the rules: those that are broken or flagged first, each with what was found.

    Args:
        found: Lines of the report.
        opened: Whether all lines are shown at once.
    """
    if not found:
        return paragraph("No rule was applied: there is nothing to recompute.", class_="missing")
    order = list(_OUTCOMES)
    ordered = sorted(found, key=lambda rule: order.index(rule["outcome"]))
    rows = [
        (
            element("code", rule["id"]),
            element("span", _OUTCOMES[rule["outcome"]], class_=f"outcome {rule['outcome']}"),
            join(rule["text"], element("small", rule["detail"]) if rule["detail"] else None, _differences(rule)),
        )
        for rule in ordered
    ]
    counts = {word: sum(rule["outcome"] == outcome for rule in found) for outcome, word in _COUNTED.items()}
    told = [f"{count} {word}" for word, count in counts.items() if count]
    table = data_table("Rules of the board", ("Rule", "Outcome", "What must hold, and what was found"), rows)
    return folded(f"{plural(len(found), 'rule')}: {', '.join(told)}", table, open=opened)


_SHOWN = 12


def _differences(rule: Mapping[str, Any]) -> Html | None:
    """The numbers that differ, as stated and as recomputed."""
    every = rule["differences"]
    if not every:
        return None
    rows = [
        (element("code", one["metric"]), _value(one["stored"]), _value(one["recomputed"])) for one in every[:_SHOWN]
    ]
    more = paragraph(f"and {len(every) - _SHOWN} more", class_="faint") if len(every) > _SHOWN else None
    return join(data_table("Numbers that differ", ("Number", "Stated", "Recomputed here"), rows, numeric=(1, 2)), more)


def _value(value: object) -> str:
    if value is None:
        return NO_VALUE
    return f"{value:.9g}" if isinstance(value, float) else str(value)
