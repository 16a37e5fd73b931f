"""The data sets: how an item is shown, and the words of its labels or its right answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.data.published import parsed
from moecap.data.rows import data_set_rows
from moecap.data.sets import data_set
from moecap.errors import UnknownNameError

__all__ = ["DATA", "Example", "Form", "form", "load_examples"]

LEAST_VALENCE = 1.0
"""A snippet whose mean rating lies nearer to 0 is neither positive nor negative."""

LONGEST_SNIPPET, SHORTEST_SNIPPET = 75, 20
"""Characters of snippets, as in the small experiment; ``longest`` takes longer ones."""


@dataclass(frozen=True, slots=True)
class Example:
    """An item as it is shown.

    Attributes:
        id: Its name in the data set.
        text: The text before the label, which has no space at its end.
        gold: The number of its label; 0 where answers are generated.
        answers: The right answers, where they are generated.
    """

    id: str
    text: str
    gold: int
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """A data set, to be classified or answered.

    Attributes:
        name: Its name here.
        data: Its name in ``moecap data list``.
        config: Its configuration there; ``None`` for the only one.
        split: The split that is used.
        labels: What follows the text, by the number of the class; none where answers are generated.
        show: The text of a row before the label.
        gold: The class of a row; ``None`` leaves the row out.
        other: The data set whose examples are out of its domain.
        longest: Most characters of an item's text, where there is a bound by default.
        answers: The right answers of a row, where they are generated.
    """

    name: str
    data: str
    config: str | None
    split: str
    labels: tuple[str, ...]
    show: Callable[[Mapping[str, Any]], str]
    gold: Callable[[Mapping[str, Any]], int | None]
    other: str
    longest: int | None = None
    answers: Callable[[Mapping[str, Any]], tuple[str, ...]] | None = None


def form(name: str) -> Form:
    """The data set of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in DATA:
        raise UnknownNameError("data set of moicl", name, DATA)
    return DATA[name]


def load_examples(of: Form, folder: Path | None, longest: int | None) -> list[Example]:
    """Every item of a data set that has a class, in the order of the data set.

    Args:
        of: The data set.
        folder: A folder of the user's with it in its published format; ``None`` for the package.
        longest: Most characters of a text; ``None`` for the data set's own bound.

    Raises:
        UsageError: If the data is not here, or a row is malformed; it is named.
    """
    bound = longest or of.longest

    def example(number: int, row: Mapping[str, Any]) -> Example | None:
        gold = of.gold(row)
        text = of.show(row)
        if gold is None or (bound is not None and len(text) > bound + len(of.show(_Blank()))):
            return None
        if of.answers is not None:
            return Example(str(row.get("id", number)), text, 0, of.answers(row))
        if not 0 <= gold < len(of.labels):
            raise ValueError(f"class {gold} of {len(of.labels)}")
        return Example(str(row.get("id", number)), text, gold)

    rows = data_set_rows(of.data, of.split, config=of.config, data=folder)
    found = parsed(rows, example, f"a row of {data_set(of.data).source}")
    return [one for one in found if one is not None]


class _Blank(dict[str, Any]):
    """A row whose every column is empty, to count the characters of the template alone."""

    def __missing__(self, key: str) -> str:
        return ""


def _valence(row: Mapping[str, Any]) -> int | None:
    short = len(row["text"]) < SHORTEST_SNIPPET
    return None if short or abs(row["valence"]) < LEAST_VALENCE else int(row["valence"] > 0)


def _whole(row: Mapping[str, Any], column: str) -> int:
    if type(row[column]) is not int:
        raise TypeError(f"{column} {row[column]!r} is no whole number")
    return int(row[column])


def _answers(row: Mapping[str, Any]) -> tuple[str, ...]:
    found = tuple(row["answer"])
    if not found or not all(isinstance(one, str) and one.strip() for one in found):
        raise ValueError(f"answer {row['answer']!r} is no list of texts")
    return found


def _snippets(domain: str, word: str, other: str) -> Form:
    return Form(
        domain,
        "vader_snippets",
        domain,
        "all",
        (" negative", " positive"),
        lambda row: f"{word}: {row['text']}\nSentiment:",
        _valence,
        other,
        LONGEST_SNIPPET,
    )


_FORMS = (
    Form(
        "sst2",
        "sst2",
        None,
        "validation",
        (" negative", " positive"),
        lambda row: f"Review: {row['sentence'].strip()}\nSentiment:",
        lambda row: _whole(row, "label"),
        "tweets",
    ),
    Form(
        "boolq",
        "boolq",
        None,
        "validation",
        (" no", " yes"),
        lambda row: f"Passage: {row['passage']}\nQuestion: {row['question']}?\nAnswer:",
        lambda row: int(bool(row["answer"])),
        "sst2",
    ),
    Form(
        "rte",
        "rte",
        None,
        "validation",
        (" yes", " no"),
        lambda row: f"Premise: {row['sentence1']}\nHypothesis: {row['sentence2']}\nDoes it follow:",
        lambda row: _whole(row, "label"),
        "sst2",
    ),
    Form(
        "nq_open",
        "nq_open",
        None,
        "validation",
        (),
        lambda row: f"Question: {row['question']}?\nAnswer:",
        lambda row: 0,
        "nq_open",
        answers=_answers,
    ),
    _snippets("movies", "Review", "tweets"),
    _snippets("tweets", "Tweet", "movies"),
    _snippets("products", "Review", "tweets"),
    _snippets("editorials", "Text", "movies"),
)
DATA: Mapping[str, Form] = {known.name: known for known in _FORMS}
