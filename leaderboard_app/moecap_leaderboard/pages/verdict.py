"""The answer to a question in words: the best configurations, how sure that is, and which rows it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moecap.report.figures import NO_VALUE, display_value
from moecap_leaderboard.pages.between import between, tied
from moecap_leaderboard.pages.measures import QUANTITIES, Measure, measure
from moecap_leaderboard.pages.naming import configuration_name, hardware_name, listed, load_key, load_name, plural
from moecap_leaderboard.pages.pricing import is_rented
from moecap_leaderboard.pages.question import ANY, BOUNDS, SHAPES, Question, in_scope

__all__ = ["Candidate", "Verdict", "in_words", "judged", "shown"]

_KINDS = {
    "measured": ("row measured with moecap", "rows measured with moecap"),
    "imported": ("figure published by others", "figures published by others"),
    "projected": ("projection", "projections"),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration with the row of it that does best.

    Attributes:
        item: The row.
        measures: What it says of each quantity.
        rows: Rows of this configuration that were looked at.
    """

    item: dict[str, Any]
    measures: dict[str, Measure]
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer.

    Attributes:
        sentence: The answer in words.
        basis: What it rests on, a sentence each.
        best: The best configurations, at most three, the best first.
        enough: Whether two configurations could be compared at all.
    """

    sentence: str
    basis: tuple[str, ...]
    best: tuple[Candidate, ...]
    enough: bool


def judged(items: Sequence[dict[str, Any]], question: Question, prices: Mapping[str, float]) -> Verdict:
    """Answer a question.

    Configurations (hardware, devices, engine, number format) are compared by their best row. Those that cannot be told
    from the best one (:func:`~moecap_leaderboard.pages.between.tied`) are ordered by what matters next. Scores are
    compared of the same tasks alone.

    Args:
        items: Rows of the question's model, of every kind.
        question: What is asked.
        prices: Dollars an hour of one device by id of the hardware, in place of what is known.
    """
    ranked = [item for item in items if item["ranked"]]
    scope = in_scope(ranked, question)
    basis = [_counted(scope)]
    if len(ranked) < len(items):
        basis.append(f"Left out: {plural(len(items) - len(ranked), 'row')} outside the main ranking.")
    if not scope:
        return Verdict(_nothing(ranked, question), tuple(basis), (), False)
    kept, words = _within(scope, question)
    basis += words
    if not kept:
        aside = judged(items, replace(question, tpot=""), prices)
        sentence = f"{_no_bound(scope, question)} Leaving that bound aside: {aside.sentence}"
        return Verdict(sentence, aside.basis, aside.best, False)
    order, words = _ordered(kept, question, prices)
    basis += words
    quantity = QUANTITIES[question.care]
    if not order:
        text = f"Too little data: no row in question can be compared by {quantity.name}."
        return Verdict(text, tuple(basis), (), False)
    basis += _footing(order[:3], question)
    return Verdict(_sentence(order, question, prices), tuple(basis), tuple(order[:3]), len(order) > 1)


def _counted(items: Sequence[dict[str, Any]]) -> str:
    kinds = Counter(item["kind"] for item in items)
    words = [plural(count, *_KINDS[kind]) for kind, count in sorted(kinds.items())]
    return f"In question: {listed(words) or 'no row'}."


def _nothing(items: Sequence[dict[str, Any]], question: Question) -> str:
    """Why no row is in question, and where there are some."""
    if not items:
        return f"The board has no result of {question.model or 'any model'} yet."
    asked = [SHAPES[question.shape]] if question.shape != ANY else []
    asked += [f"{question.at} requests at once"] if question.at != ANY else []
    asked += [hardware_name(question.hw, question.hw)] if question.hw != ANY else []
    asked += [f"up to {question.gpus} devices"] if question.gpus != ANY else []
    kinds = in_scope(items, Question(model=question.model, by=question.by))
    if not kinds:
        there = listed([plural(c, *_KINDS[k]) for k, c in Counter(item["kind"] for item in items).items()])
        return f"No such row of this model is on the board; there are {there}."
    places = Counter(hardware_name(item["hardware"]["id"], item["hardware"]["name"]) for item in kinds)
    known = listed([f"{name} ({count})" for name, count in places.most_common(4)])
    return f"None of the {plural(len(kinds), 'row')} of this model is of {listed(asked)}. There are rows of {known}."


def _within(scope: Sequence[dict[str, Any]], question: Question) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that keep within the bound, and what was left out for it."""
    bound = question.bound
    if bound is None:
        return list(scope), []
    stated = [(item, measure(item, "latency", {}).value) for item in scope]
    kept = [item for item, value in stated if value is not None and value <= bound]
    over = sum(value is not None and value > bound for _, value in stated)
    unknown = sum(value is None for _, value in stated)
    words = [f"{plural(over, 'row')} above {BOUNDS[question.tpot]} a token"] if over else []
    words += [f"{plural(unknown, 'row')} that state no time per token"] if unknown else []
    return kept, [f"Left out: {listed(words)}."] if words else []


def _no_bound(scope: Sequence[dict[str, Any]], question: Question) -> str:
    values = [value for item in scope if (value := measure(item, "latency", {}).value) is not None]
    rows = plural(len(scope), "row")
    if not values:
        return (
            f"Too little data: none of the {rows} in question states a time per token, so nothing on the board says "
            f"which of them keep within {BOUNDS[question.tpot]}."
        )
    least = display_value(min(values), "s")
    return f"None of the {rows} in question keeps within {BOUNDS[question.tpot]} a token; the least stated is {least}."


def _ordered(
    kept: Sequence[dict[str, Any]], question: Question, prices: Mapping[str, float]
) -> tuple[list[Candidate], list[str]]:
    """One candidate a configuration, the best first, and which rows say nothing of what matters most."""
    care = question.care
    keys = dict.fromkeys((care, question.then or care, "latency", "speed", "cost"))
    every = [Candidate(item, {key: measure(item, key, prices) for key in keys}) for item in kept]
    told, words = _comparable(every, care)
    groups: dict[str, list[Candidate]] = {}
    for candidate in told:
        groups.setdefault(f"{configuration_name(candidate.item)} {candidate.item['kind']}", []).append(candidate)
    best = [replace(_first(group, care), rows=len(group)) for group in groups.values()]
    if care != "cost":
        return _by_care(best, question), words
    rents = [c for c in best if is_rented(c.item, prices)]
    others = [c for c in best if not is_rented(c.item, prices)]
    return _by_care(rents, question) + _by_care(others, question), words


def _comparable(every: Sequence[Candidate], key: str) -> tuple[list[Candidate], list[str]]:
    """The rows that can be compared by a quantity, and in words the others: scores are of the tasks that most ran."""
    name = QUANTITIES[key].name
    valued = [c for c in every if c.measures[key].value is not None]
    checked = [c for c in valued if not c.measures[key].unchecked]
    words = []
    if silent := len(every) - len(valued):
        words.append(f"{plural(silent, 'row')} of these state no {name} and nothing that gives it.")
    if aside := len(valued) - len(checked):
        words.append(f"Left out: {plural(aside, 'row')} whose {name} was not recomputed.")
    if key != "accuracy" or not checked:
        return checked, words
    tasks = Counter(c.measures[key].name for c in checked).most_common(1)[0][0]
    same = [c for c in checked if c.measures[key].name == tasks]
    if others := len(checked) - len(same):
        words.append(f"Left out: {plural(others, 'row')} of other tasks than {tasks}, whose scores do not compare.")
    return same, words


def _by_care(candidates: list[Candidate], question: Question) -> list[Candidate]:
    """The best first; of those that cannot be told from it, the one that does best in what matters next."""
    best = list(candidates)
    order: list[Candidate] = []
    while best:
        leader = _first(best, question.care)
        level = [c for c in best if c is leader or _tied(leader, c, question.care)]
        known = _comparable(level, question.then)[0] if question.then else []
        chosen = _first(known, question.then) if any(c is leader for c in known) else leader
        order.append(chosen)
        best.remove(chosen)
    return order


def _tied(a: Candidate, b: Candidate, key: str) -> bool:
    return tied(a.measures[key], b.measures[key], is_score=key == "accuracy")


def _first(candidates: Sequence[Candidate], key: str) -> Candidate:
    """The one that does best; where none can be compared, the first."""
    sign = -1.0 if QUANTITIES[key].better == "higher" else 1.0
    known, _ = _comparable(candidates, key)
    return min(known, key=lambda c: sign * (c.measures[key].value or 0.0)) if known else candidates[0]


def shown(measure: Measure) -> str:
    """A figure with what its ends are, in words: ``$0.43 ($0.40-$0.46, 95 % interval)``."""
    metric = measure.metric
    if metric.value is None:
        return "no value"
    text = display_value(metric.value, metric.unit)
    if metric.low is None or metric.high is None:
        return text
    ends = {
        "confidence": "95 % interval",
        "prediction": "80 % of predictions",
        "bounds": "bounds",
        "stated": "as stated",
    }
    low, high = (display_value(end, metric.unit) for end in (metric.low, metric.high))
    return f"{text} ({low}{NO_VALUE}{high}, {ends[measure.ends or 'stated']})"


def _sentence(order: Sequence[Candidate], question: Question, prices: Mapping[str, float]) -> str:
    quantity = QUANTITIES[question.care]
    best = order[0]
    figure = f"{shown(best.measures[question.care])}{_per(question.care)}"
    marked = {"measured": "", "imported": ", as published", "projected": ", projected and not measured"}
    text = (
        f"{configuration_name(best.item)} is the {quantity.best} of {plural(len(order), 'configuration')}: "
        f"{figure} at {load_name(best.item)}{marked[best.item['kind']]}."
    )
    if len(order) == 1:
        return f"Too little data to compare: {text}"
    rented = is_rented(best.item, prices)
    alike = [c for c in order if question.care != "cost" or is_rented(c.item, prices) == rented]
    ahead = _first([c for c in alike if c is best or _tied(best, c, question.care)], question.care)
    if ahead is not best:
        text += (
            f" {configuration_name(ahead.item)} has {shown(ahead.measures[question.care])}, which cannot be told from "
            f"it, so {QUANTITIES[question.then].name} decides."
        )
    others = [c for c in order[1:] if c is not ahead]
    return f"{text} {in_words(best, others[0], question.care)}" if others else text


def _per(key: str) -> str:
    return {
        "cost": " per million output tokens",
        "speed": " per device",
        "latency": " per output token",
        "ttft": " to the first token",
        "accuracy": " answered right",
    }.get(key, "")


def in_words(best: Candidate, other: Candidate, key: str) -> str:
    """How the second stands to the first, and whether that is more than noise."""
    a, b = best.measures[key], other.measures[key]
    assert a.value is not None and b.value is not None
    gap = b.value / a.value - 1 if a.value else 0.0
    size = f"{abs(gap):.0%} {'more' if gap > 0 else 'less'}" if abs(gap) >= 0.005 else "about as much"
    kinds = {"measured": ", measured with moecap", "imported": ", as published", "projected": ", projected"}
    kind = "" if other.item["kind"] == best.item["kind"] else kinds[other.item["kind"]]
    where = f"{configuration_name(other.item)} follows with {shown(b)}{kind}, {size}, at {_at(best.item, other.item)}"
    if a.ends == b.ends == "confidence":
        is_score = key == "accuracy"
        apart = between(a, b, is_score=is_score)
        if apart is None:
            return f"{where}."
        said = "they cannot be told apart" if _tied(best, other, key) else "they differ"
        what = f"difference {apart.value:+.3f}" if is_score else f"ratio {apart.value:.3g}"
        low, high = (f"{end:+.3f}" if is_score else f"{end:.3g}" for end in (apart.low, apart.high))
        return f"{where}: {said} ({what}, 95 % interval {low} to {high})."
    if a.ends == b.ends == "prediction":
        meet = "meet, so the order may be the other way round" if _tied(best, other, key) else "do not meet"
        return f"{where}; their 80 % prediction intervals {meet}."
    noise = "the error of the projections" if other.item["kind"] == "projected" else "noise"
    return f"{where}. Not both have an interval, so nothing says how much of that is {noise}."


def _at(best: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """How the loads of two rows stand to each other."""
    here, there = load_key(best), load_key(other)
    if here is None or there is None:
        return f"a load that not both state in full ({load_name(other)}), which may be part of the difference"
    if here == there:
        return "the same load"
    return f"another load ({load_name(other)}), which is part of the difference"


def _footing(best: Sequence[Candidate], question: Question) -> list[str]:
    """Where the figures of the best configurations come from."""
    found = []
    for candidate in best:
        item, figure = candidate.item, candidate.measures[question.care]
        words = [f"{configuration_name(item)}: {figure.name}"]
        words += [figure.how] if figure.how else ["as the row states it"]
        words.append(f"n = {figure.metric.n:,}" if figure.metric.n else "n not stated")
        words.append(f"the best of {plural(candidate.rows, 'row')}")
        words.append(item["tier"].replace("_", " "))
        found.append("; ".join(words) + ".")
    if any(not is_rented(c.item, {}) for c in best) and question.care == "cost":
        found.append(
            "What is priced at no rent but at what an operator pays for a device comes after all that is rented."
        )
    if any(c.item["kind"] == "projected" for c in best):
        found.append("Projected: nothing was measured; an interval says where 80 % of published measurements lay.")
    return found
