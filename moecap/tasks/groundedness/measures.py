"""The numbers of the method, from its tables: groundedness by class and language, rankings, controls, experts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.errors import BadInputError
from moecap.metrics.bootstrap import interval
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.schema import Phase
from moecap.tasks.groundedness.digits import CLASSES as TEMPLATE
from moecap.tasks.groundedness.expert_load import expert_measures
from moecap.tasks.groundedness.ranking import AGREEMENTS
from moecap.tasks.groundedness.words import CLASSES, OPEN, Words, word_surprisals
from moecap.tasks.method import Passes, Tables

__all__ = ["DIGIT_KEYS", "LEAST_WORDS", "OCCURRENCES", "bits", "groundedness_measures"]

Floats = npt.NDArray[np.float64]

NAT = "nat"
LEAST_WORDS = 10
"""Words of a class in a language below which the class has no number."""
OCCURRENCES = 50
"""Occurrences from which on a word type has a mean of its own."""
DIGIT_KEYS = ("an", "a", "eight", "num", "adj", "verb", "noun", "sentence")
"""What is told of the captions of digits: three words, four classes, the sum over the caption."""
DIGIT_CONDITIONS = ("captioner", "shuffled", "black", "mean")


def bits(nats: float) -> float:
    """The same information in bits."""
    return nats / math.log(2)


def groundedness_measures(tables: Tables, passes: Passes | None) -> dict[str, Metric]:
    """Every number of the method by its name.

    Args:
        tables: The tables.
        passes: The engine's passes, from which the experts of each token are read.

    Raises:
        BadInputError: If the tables contradict themselves.
    """
    found: dict[str, Metric] = {}
    if len(tables["tokens"]):
        words = word_surprisals(tables["words"], tables["tokens"])
        found["corrected"] = measured(words.corrected, "1", len(tables["tokens"]))
        found["words_without_tokens"] = measured(1 - len(words.table) / words.words, "1", words.words)
        for condition in words.conditions[1:]:
            end = "" if condition == "context" else f"_{condition}"
            found |= _means(words, *words.difference(condition, "null"), end)
        if "shuffled" in words.conditions:
            found |= _means(words, *words.difference("context", "shuffled"), "_net")
            found |= _agreement(words, "context", "shuffled", "_net")
        found |= _types(words)
        found |= _agreement(words, "context", "null", "")
        found |= expert_measures(words, passes, LEAST_WORDS)
        found["tokens_per_second"] = _rate(tables["tokens"]["continuation"].to_numpy(), passes)
    if len(tables["digits"]):
        found |= _digits(tables["digits"])
    return found


def _means(words: Words, value: Floats, whole: Floats, end: str) -> dict[str, Metric]:
    """Means of whole captions, of each class in each language, and of each class over the languages.

    Args:
        words: The words.
        value: A value of each, [words].
        whole: The value of each caption, [captions].
        end: End of the metrics' names.
    """
    found = {f"sentence{end}": _mean(whole, words.sentences["picture"].to_numpy())}
    languages = sorted(words.table["language"].unique())
    for upos in (upos for upos in CLASSES if (words.table["upos"] == upos).any()):
        means = []
        for language in languages:
            chosen = ((words.table["language"] == language) & (words.table["upos"] == upos)).to_numpy()
            if chosen.sum() >= LEAST_WORDS:
                metric = _mean(value[chosen], words.table["picture"].to_numpy()[chosen])
                found[f"{language}_{upos.lower()}{end}"] = metric
                means.append(metric)
        found |= _over_languages(f"{upos.lower()}{end}", means)
    differences = list(_open_minus_closed(words, value, languages))
    return found | _over_languages(f"open_minus_closed{end}", differences)


def _mean(values: Floats, picture: npt.NDArray[np.integer]) -> Metric:
    """The mean over words or captions; its interval by resampling pictures, since those of one are not independent."""
    _, row = np.unique(picture, return_inverse=True)
    pairs = np.stack([np.bincount(row, values), np.bincount(row)], -1).astype(np.float64)
    return measured(values.mean(), NAT, len(values), *interval(pairs, _ratio))


def _ratio(pairs: Floats) -> Floats:
    return np.asarray(pairs[..., 0].sum(-1) / pairs[..., 1].sum(-1))


def _over_languages(name: str, of_languages: list[Metric]) -> dict[str, Metric]:
    """The mean over languages with their standard deviation; that of one language keeps its interval."""
    if not of_languages:
        return {name: absent(NAT, f"no language has {LEAST_WORDS} words of the class")}
    if len(of_languages) == 1:
        return {name: of_languages[0]}
    values = [metric.value or 0.0 for metric in of_languages]
    return {
        name: measured(np.mean(values), NAT, len(values)),
        f"{name}_spread": measured(np.std(values, ddof=1), NAT, len(values)),
    }


def _open_minus_closed(words: Words, value: Floats, languages: list[str]) -> Iterator[Metric]:
    upos = words.table["upos"].to_numpy()
    analysed, is_open = np.isin(upos, CLASSES), np.isin(upos, list(OPEN))
    for language in languages:
        own = analysed & (words.table["language"] == language).to_numpy()
        if (own & is_open).sum() >= LEAST_WORDS and (own & ~is_open).sum() >= LEAST_WORDS:
            yield _difference(value[own], is_open[own], words.table["picture"].to_numpy()[own])


def _difference(value: Floats, is_open: npt.NDArray[np.bool_], picture: npt.NDArray[np.integer]) -> Metric:
    _, row = np.unique(picture, return_inverse=True)
    sums = [np.bincount(row, side * weight) for side in (is_open, ~is_open) for weight in (value, np.ones(len(value)))]

    def difference(drawn: Floats) -> Floats:
        totals = np.maximum(drawn.sum(-2), [-np.inf, 1, -np.inf, 1])
        return np.asarray(totals[..., 0] / totals[..., 1] - totals[..., 2] / totals[..., 3])

    items = np.stack(sums, -1).astype(np.float64)
    return measured(difference(items), NAT, len(value), *interval(items, difference))


def _types(words: Words) -> dict[str, Metric]:
    """Means over word types that are frequent enough."""
    frame = words.table.assign(value=words.difference("context", "null")[0])
    types = (
        frame[frame["upos"].isin(CLASSES)]
        .groupby("type")
        .agg(upos=("upos", "first"), classes=("upos", "nunique"), value=("value", "mean"), n=("value", "size"))
    )
    if (types["classes"] > 1).any():
        raise BadInputError("groundedness.words.parquet: column type gives words of two classes one number")
    frequent = types[types["n"] >= OCCURRENCES]
    found = {"types": measured(len(frequent), "1", len(types))}
    for upos in CLASSES:
        own = frequent["value"][frequent["upos"] == upos]
        if len(own):
            found[f"type_{upos.lower()}"] = measured(own.mean(), NAT, len(own))
    return found


def _agreement(words: Words, one_condition: str, other_condition: str, end: str) -> dict[str, Metric]:
    """How alike the languages rank the classes: the mean over all pairs of languages with three classes in common.

    Args:
        words: The words.
        one_condition: By how much less surprising words are in this one ...
        other_condition: ... than in this one the classes are ranked.
        end: End of the metrics' names.
    """
    frame = words.table.assign(value=words.difference(one_condition, other_condition)[0])
    frame = frame[frame["upos"].isin(CLASSES)]
    by_class = frame.groupby(["language", "upos"])["value"]
    means = by_class.mean()[by_class.size() >= LEAST_WORDS].unstack("language") if len(frame) else pd.DataFrame()
    values: dict[str, list[float]] = {name: [] for name in AGREEMENTS}
    for one, other in combinations(means.columns, 2):
        both = means[[one, other]].dropna()
        for name, function in AGREEMENTS.items():
            if len(both) >= 3 and (value := function(both[one].to_numpy(), both[other].to_numpy())) is not None:
                values[name].append(value)
    return {
        f"{name}{end}": measured(np.mean(found), "1", len(found))
        if found
        else absent("1", f"no two languages have three classes of {LEAST_WORDS} words in common")
        for name, found in values.items()
    }


def _rate(continuation: npt.NDArray[np.integer], passes: Passes | None) -> Metric:
    """Tokens that were fed for the captions, texts before them included, a second of the engine's passes."""
    if passes is None:
        return absent("tokens/s", "the engine records no passes")
    steps = passes.steps
    own = (steps.seq_phase.values == Phase.SCORE) & np.isin(steps.seq_request.values, continuation)
    used = np.unique(np.repeat(np.arange(len(steps)), steps.seq_new.lengths())[own])
    seconds = float(steps.duration_ns[used].sum()) / 1e9
    if not seconds:
        return absent("tokens/s", "no pass of the engine fed a caption")
    return measured(steps.seq_new.values[own].sum() / seconds, "tokens/s", len(used))


def _digits(table: pd.DataFrame) -> dict[str, Metric]:
    """Measured groundedness in the captions of digits beside the closed form and the controls."""
    if not table["word"].between(0, len(TEMPLATE) - 1).all() or table.duplicated(["picture", "word"]).any():
        raise BadInputError(f"groundedness.digits.parquet: column word does not count {len(TEMPLATE)} words a picture")
    found = {}
    for key in DIGIT_KEYS:
        rows = table if key == "sentence" else table[_is_key(table, key)]
        if rows.empty:
            raise BadInputError(f"groundedness.digits.parquet: column form holds no {key!r}")
        for condition in DIGIT_CONDITIONS:
            value = rows["language_model"] - rows[condition]
            name = f"digits_{key}" + ("" if condition == "captioner" else f"_{condition}")
            found[name] = _digit_mean(value, rows["picture"], whole=key == "sentence")
        form = _digit_mean(rows["closed_form"], rows["picture"], whole=key == "sentence")
        found[f"digits_{key}_closed_form"] = form.model_copy(update={"low": None, "high": None})
    return found


def _is_key(table: pd.DataFrame, key: str) -> pd.Series[bool]:
    if key in ("an", "a", "eight"):
        return table["form"] == key
    return table["word"].isin([place for place, upos in enumerate(TEMPLATE) if upos.lower() == key])


def _digit_mean(value: pd.Series[float], picture: pd.Series[int], *, whole: bool) -> Metric:
    items: Floats = np.asarray(value.groupby(picture).sum() if whole else value, np.float64)
    return measured(items.mean(), NAT, len(items), *interval(items, lambda drawn: drawn.mean(-1)))
