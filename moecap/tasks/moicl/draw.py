"""Draws demonstrations, training items and test items, and disturbs the demonstrations as asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moecap.errors import BadInputError
from moecap.tasks.moicl.datasets import Example

__all__ = [
    "PERTURBATIONS",
    "Demonstration",
    "Draw",
    "Perturbation",
    "draw",
    "partition",
    "seeded",
    "shown",
    "split_off",
]

SEEDS = 2**32

PERTURBATIONS = ("none", "noise", "ood", "imbalance")


@dataclass(frozen=True, slots=True)
class Perturbation:
    """What is wrong with the demonstrations.

    Attributes:
        kind: ``none``; ``noise``, wrong labels; ``ood``, examples of another data set with that one's own labels; or
            ``imbalance``, one class above the others.
        share: The share of the demonstrations that it concerns.
    """

    kind: str = "none"
    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Perturbation:
        """``none``, ``noise:0.5``, ``ood:0.7`` or ``imbalance:0.9``.

        Raises:
            BadInputError: If it is none of these.
        """
        kind, colon, share = text.partition(":")
        try:
            value = float(share) if colon else 0.0
        except ValueError:
            value = -1.0
        if kind not in PERTURBATIONS or not 0 <= value <= 1 or bool(colon) == (kind == "none"):
            raise BadInputError(
                f"--task-arg perturb={text}: not none, noise:SHARE, ood:SHARE or imbalance:SHARE with a share up to 1"
            )
        return cls(kind, value)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A solved example.

    Attributes:
        text: The text before its label.
        label: The label that is shown, with its leading space.
        shown: The class that is shown; its number in its own data set.
        changed: Whether that is not its right one.
        foreign: Whether it is of another data set.
    """

    text: str
    label: str
    shown: int
    changed: bool = False
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Draw:
    """What one seed drew: demonstrations, and labelled items that are none of them."""

    seed: int
    demonstrations: tuple[Demonstration, ...]
    train: tuple[Example, ...]


def seeded(*seeds: int) -> np.random.RandomState:
    """A generator that draws alike in every version of NumPy, since a verification draws the same items again."""
    return np.random.RandomState([seed % SEEDS for seed in seeds])


def split_off(pool: Sequence[Example], count: int, seed: int) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Test items that every seed shares, and the rest of the data.

    Args:
        pool: All items of a data set.
        count: How many test items.
        seed: Seed of the run.
    """
    order = seeded(seed).permutation(len(pool))
    return tuple(pool[i] for i in order[:count]), tuple(pool[i] for i in order[count:])


def draw(
    rest: Sequence[Example],
    foreign: Sequence[Example],
    labels: tuple[tuple[str, ...], tuple[str, ...]],
    count: int,
    train: int,
    perturbation: Perturbation,
    seed: int,
) -> Draw:
    """Demonstrations with as many of each class as can be, in random order, and training items.

    Args:
        rest: Items that are not tested.
        foreign: Items of another data set.
        labels: The words of the classes of both.
        count: Demonstrations.
        train: Training items.
        perturbation: What is wrong with the demonstrations.
        seed: Seed of the draw.

    Raises:
        BadInputError: If the data has too few items, of a class or in all.
    """
    random = seeded(seed)
    left = [rest[i] for i in random.permutation(len(rest))]
    concerned = round(perturbation.share * count)
    outside = concerned if perturbation.kind == "ood" else 0
    chosen = _of_classes(left, _quotas(max(1, len(labels[0])), count - outside, perturbation, concerned))
    taken = {example.id for example in chosen}
    left = [example for example in left if example.id not in taken]
    if len(left) < train + concerned:
        raise BadInputError(f"{train} training items are asked for and {len(left)} are left; ask for fewer")
    wrong = set(random.permutation(count)[:concerned].tolist()) if perturbation.kind == "noise" else set()
    shown = []
    for number, example in enumerate(chosen):
        if example.answers:
            source = left[-1 - number] if number in wrong else example  # the answer to a question that is not shown
            shown.append(Demonstration(example.text, f" {source.answers[0]}", 0, changed=number in wrong))
            continue
        gold = (example.gold + 1) % len(labels[0]) if number in wrong else example.gold
        shown.append(Demonstration(example.text, labels[0][gold], gold, changed=number in wrong))
    for i in random.permutation(len(foreign))[:outside]:
        shown.append(Demonstration(foreign[i].text, labels[1][foreign[i].gold], foreign[i].gold, foreign=True))
    if len(shown) < count:
        raise BadInputError(f"{outside} examples of another data set are asked for and it has {len(foreign)}")
    order = random.permutation(count)
    return Draw(seed, tuple(shown[i] for i in order), tuple(left[:train]))


def partition(count: int, parts: int, seed: int) -> list[list[int]]:
    """Disjoint random subsets of demonstrations, of sizes that differ by 1 at most.

    Args:
        count: Demonstrations.
        parts: Subsets; one keeps the order in which the demonstrations were drawn.
        seed: Seed of the partition.
    """
    order = np.arange(count) if parts == 1 else seeded(seed, parts).permutation(count)
    return [part.tolist() for part in np.array_split(order, parts)]


def shown(demonstrations: Sequence[Demonstration]) -> str:
    """Demonstrations as text, each with its label, an empty line after each."""
    return "".join(f"{one.text}{one.label}\n\n" for one in demonstrations)


def _quotas(classes: int, count: int, perturbation: Perturbation, concerned: int) -> list[int]:
    """Demonstrations of each class; of an imbalance the last class has the given share."""
    if perturbation.kind != "imbalance":
        return [len(part) for part in np.array_split(np.arange(count), classes)]
    others = [len(part) for part in np.array_split(np.arange(count - concerned), classes - 1)]
    return [*others, concerned]


def _of_classes(examples: Sequence[Example], quotas: Sequence[int]) -> list[Example]:
    chosen = []
    for gold, quota in enumerate(quotas):
        own = [example for example in examples if example.gold == gold][:quota]
        if len(own) < quota:
            raise BadInputError(f"{quota} demonstrations of class {gold} are asked for and the data has {len(own)}")
        chosen += own
    return chosen
