"""The arguments of the method, read and checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moecap.errors import BadInputError
from moecap.tasks.arguments import number_argument, truth_argument
from moecap.tasks.moicl.datasets import Form, form
from moecap.tasks.moicl.draw import Perturbation

__all__ = ["ARGUMENTS", "MOST_ANSWER_TOKENS", "SIZES", "Settings"]

MOST_ANSWER_TOKENS = 12
"""Tokens of a generated answer at most; the right answers of NQ-Open are short."""

ARGUMENTS = (
    "data",
    "demos",
    "experts",
    "train",
    "test",
    "keep",
    "perturb",
    "seeds",
    "weight_l2",
    "search",
    "concat_train",
    "latency",
    "labels",
    "longest",
    "normalisation",
)

_COMMON = {"perturb": "none", "weight_l2": "0", "concat_train": "true", "normalisation": "labels"}
SIZES: Mapping[str, Mapping[str, str]] = {
    "default": {
        **_COMMON,
        "data": "movies",
        "demos": "10",
        "experts": "1,3,10",
        "train": "16",
        "test": "30",
        "keep": "3",
        "seeds": "1",
        "search": "2",
        "latency": "2",
    },
    "ci": {
        **_COMMON,
        "data": "movies",
        "demos": "3",
        "experts": "1,3",
        "train": "6",
        "test": "8",
        "keep": "2",
        "seeds": "1",
        "search": "0",
        "concat_train": "false",
        "latency": "1",
    },
    "full": {
        **_COMMON,
        "data": "sst2",
        "demos": "30",
        "experts": "1,3,10,30",
        "train": "100",
        "test": "600",
        "keep": "5",
        "seeds": "3",
        "search": "10",
        "latency": "10",
    },
    "gpu": {
        **_COMMON,
        "data": "sst2",
        "demos": "30",
        "experts": "1,3,10,30",
        "train": "200",
        "test": "600",
        "keep": "5",
        "seeds": "5",
        "search": "20",
        "latency": "20",
    },
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run.

    Attributes:
        form: The data set.
        demos: Demonstrations of a seed.
        experts: Numbers of experts among which they are split, ascending.
        train: Labelled items on which weights are learned.
        test: Most test items.
        keep: Experts that the sparse mixture keeps, where there are more.
        perturbation: What is wrong with the demonstrations.
        seeds: Draws of demonstrations and training items.
        pull: Strength of the pull of weights to the uniform ones.
        search: Prompts that random search and LENS may each try; 0 leaves both out.
        concat_train: Whether the demonstrations with all training items before the query are tried too.
        latency: Test items whose prompts are each sent alone, to measure the time of one query.
        labels: The words of the labels.
        longest: Most characters of an item's text; ``None`` for the data set's own bound.
        vocabulary: Whether weights are learned with the mixture normalised over the whole vocabulary, which generated
            answers need.
    """

    form: Form
    demos: int
    experts: tuple[int, ...]
    train: int
    test: int
    keep: int
    perturbation: Perturbation
    seeds: int
    pull: float
    search: int
    concat_train: bool
    latency: int
    labels: tuple[str, ...]
    longest: int | None
    vocabulary: bool

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> Settings:
        """The settings that arguments in force give.

        Raises:
            BadInputError: If one is none, or they do not fit together.
        """
        demos = _number(arguments, "demos", 1)
        data = form(arguments["data"])
        normalisation = arguments["normalisation"]
        perturbation = Perturbation.parse(arguments["perturb"])
        if data.answers is not None and perturbation.kind not in ("none", "noise"):
            raise BadInputError(f"--task-arg perturb={arguments['perturb']}: answers of {data.name} have no classes")
        if normalisation not in ("labels", "vocabulary"):
            raise BadInputError(f"--task-arg normalisation={normalisation}: not labels or vocabulary")
        return cls(
            form=data,
            demos=demos,
            experts=_experts(arguments["experts"], demos),
            train=_number(arguments, "train", 2),
            test=_number(arguments, "test", 1),
            keep=_number(arguments, "keep", 1),
            perturbation=perturbation,
            seeds=_number(arguments, "seeds", 1),
            pull=_strength(arguments["weight_l2"]),
            search=_number(arguments, "search", 0),
            concat_train=bool(truth_argument(arguments, "concat_train")),
            latency=_number(arguments, "latency", 0),
            labels=_labels(arguments.get("labels"), data),
            longest=number_argument(arguments, "longest", 1),
            vocabulary=normalisation == "vocabulary" or data.answers is not None,
        )


def _number(arguments: Mapping[str, str], name: str, least: int) -> int:
    found = number_argument(arguments, name, least)
    assert found is not None, f"no size gives {name}"
    return found


def _experts(text: str, demos: int) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part) <= demos for part in parts):
        raise BadInputError(f"--task-arg experts={text}: not whole numbers from 1 to the {demos} demonstrations")
    return tuple(sorted({1, *map(int, parts)}))


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadInputError(f"--task-arg weight_l2={text}: not a number from 0 on")
    return value


def _labels(text: str | None, data: Form) -> tuple[str, ...]:
    if text is None:
        return data.labels
    if data.answers is not None:
        raise BadInputError(f"--task-arg labels={text}: the answers of {data.name} are generated; leave it out")
    words = tuple(f" {word.strip()}" for word in text.split("|"))
    if len(words) != len(data.labels) or len(set(words)) < len(words) or " " in words:
        raise BadInputError(
            f"--task-arg labels={text}: {len(data.labels)} different words are needed, with | between, for"
            f"{','.join(data.labels)}"
        )
    return words
