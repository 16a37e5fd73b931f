"""The question of the first page: what is served, under which load, on what, and what matters, with its choices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moecap_leaderboard.pages.form import Choice
from moecap_leaderboard.pages.measures import QUANTITIES, measure
from moecap_leaderboard.pages.naming import hardware_name, plural

__all__ = ["ANY", "BOUNDS", "EVIDENCE", "LONG", "SHAPES", "Question", "choices", "in_scope", "read_question"]

ANY = "any"

LONG = 1024
"""Tokens up to which a prompt or an answer is short."""

SHAPES = {
    ANY: "prompts and answers of any length",
    "short-short": "short prompts, short answers",
    "long-short": "long prompts, short answers",
    "short-long": "short prompts, long answers",
    "long-long": "long prompts, long answers",
}

EVIDENCE = {
    "observed": "measured here or published by others",
    "measured": "measured with moecap alone",
    "projected": "projected",
}
"""Which rows answer; what was measured and what was projected is never in one answer."""

BOUNDS = {"": "as long as it takes", "10": "10 ms", "20": "20 ms", "50": "50 ms", "100": "100 ms", "200": "200 ms"}
"""Bounds of the time per output token, in ms."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; each field is a parameter of the page's address.

    Attributes:
        model: Id of a model.
        shape: A key of :data:`SHAPES`.
        at: Requests in flight, or any.
        hw: Id of hardware, or any.
        gpus: The most devices, or any.
        care: What matters most, a key of :data:`~moecap_leaderboard.pages.measures.QUANTITIES`.
        then: What matters next; empty for nothing.
        tpot: A key of :data:`BOUNDS`.
        by: A key of :data:`EVIDENCE`.
    """

    model: str = ""
    shape: str = ANY
    at: str = ANY
    hw: str = ANY
    gpus: str = ANY
    care: str = "cost"
    then: str = "latency"
    tpot: str = ""
    by: str = "observed"

    @property
    def bound(self) -> float | None:
        """The most seconds of an output token."""
        return float(self.tpot) / 1e3 if self.tpot else None


def read_question(given: Mapping[str, str], models: Iterable[str]) -> Question:
    """The question of an address; what it cannot mean is as if it were not there.

    Args:
        given: Values by the names of the fields.
        models: Ids of models that can be asked for; the first one is asked for where none is given.
    """
    known = list(models)
    question = Question(**{name: given[name] for name in Question.__dataclass_fields__ if given.get(name)})
    if question.model not in known:
        question = replace(question, model=_nearest(question.model, known))
    allowed: dict[str, Iterable[str]] = {
        "shape": SHAPES,
        "care": QUANTITIES,
        "tpot": BOUNDS,
        "by": EVIDENCE,
    }
    default = Question()
    wrong = {name: getattr(default, name) for name, values in allowed.items() if getattr(question, name) not in values}
    wrong |= {name: ANY for name in ("at", "gpus") if not _is_count(getattr(question, name))}
    if question.then not in QUANTITIES:
        wrong["then"] = ""
    return replace(question, **wrong)


def _is_count(text: str) -> bool:
    return text == ANY or (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0)


def _nearest(asked: str, known: Sequence[str]) -> str:
    """The first model whose id holds what is asked for, else the first of all."""
    inside = (model for model in known if asked and asked.lower() in model.lower())
    return next(inside, known[0] if known else "")


def shape_of(item: Mapping[str, Any]) -> str:
    """The shape of a row's load; any where it does not state both lengths."""
    lengths = (item["workload"]["input_len"], item["workload"]["output_len"])
    if None in lengths:
        return ANY
    return "-".join("long" if length > LONG else "short" for length in lengths)


def in_scope(
    items: Iterable[dict[str, Any]], question: Question, *, engines_only: bool = False
) -> list[dict[str, Any]]:
    """The rows that a question is about: its evidence, load, hardware and number of devices.

    Args:
        items: Rows of the question's model.
        question: What is asked.
        engines_only: Leave the kind of evidence aside.
    """
    kinds = {"observed": ("measured", "imported"), "measured": ("measured",), "projected": ("projected",)}[question.by]
    return [
        item
        for item in items
        if (engines_only or item["kind"] in kinds)
        and question.shape in (ANY, shape_of(item))
        and question.at in (ANY, str(item["workload"]["concurrency"]))
        and question.hw in (ANY, item["hardware"]["id"])
        and (question.gpus == ANY or item["hardware"]["count"] <= int(question.gpus))
    ]


def choices(
    items: Sequence[dict[str, Any]], question: Question, elsewhere: Mapping[str, str]
) -> dict[str, list[Choice]]:
    """What each field but the model can take, from the rows of the question's model; what is asked stays a choice.

    Args:
        items: Rows of the model, of every kind.
        question: What is asked now.
        elsewhere: Names of the hardware of all rows by id, that of other models too.
    """
    shapes = Counter(shape_of(item) for item in items)
    flights = Counter(item["workload"]["concurrency"] for item in items if item["workload"]["concurrency"])
    names = {item["hardware"]["id"]: hardware_name(item["hardware"]["id"], item["hardware"]["name"]) for item in items}
    hardware = Counter(item["hardware"]["id"] for item in items)
    counts = sorted({item["hardware"]["count"] for item in items})
    there = {key for key in QUANTITIES if any(measure(item, key, {}).value is not None for item in items)}
    found = {
        "shape": [
            Choice(key, text if key == ANY else f"{text} ({shapes[key]})")
            for key, text in SHAPES.items()
            if key == ANY or shapes[key]
        ],
        "at": [
            Choice(ANY, "any number"),
            *(Choice(str(number), f"{number:,} ({flights[number]})") for number in sorted(flights)),
        ],
        "hw": [
            Choice(ANY, "any hardware"),
            *(Choice(key, f"{names[key]} ({count})") for key, count in hardware.most_common()),
            *(
                Choice(key, hardware_name(key, name), "no result of this model")
                for key, name in elsewhere.items()
                if key not in hardware
            ),
        ],
        "gpus": [
            Choice(ANY, "any number of devices"),
            *(Choice(str(n), f"up to {plural(n, 'device')}") for n in counts),
        ],
        "care": [Choice(key, quantity.name) for key, quantity in QUANTITIES.items() if key in there],
        "then": [
            Choice("", "nothing else"),
            *(Choice(key, q.name) for key, q in QUANTITIES.items() if key in there and key != question.care),
        ],
        "tpot": [Choice(key, text) for key, text in BOUNDS.items()],
        "by": [Choice(key, text) for key, text in EVIDENCE.items()],
    }
    for name, known in found.items():
        asked = getattr(question, name)
        if asked and asked not in (choice.value for choice in known):
            known.append(Choice(asked, _asked(name, asked)))
    return found


def _asked(name: str, value: str) -> str:
    """A choice that no row of the model backs."""
    if name == "hw":
        return f"{hardware_name(value, value)} (0)"
    if name == "gpus":
        return f"up to {plural(int(value), 'device')}"
    if name in ("care", "then"):
        return QUANTITIES[value].name
    return f"{SHAPES.get(value, value)} (0)"
