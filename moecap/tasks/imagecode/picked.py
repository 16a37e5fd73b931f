"""Picks with the images that were meant, read from tables that may be anyone's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from moecap.errors import BadInputError
from moecap.observations.task_tables import task_table_file
from moecap.tasks.imagecode.questions import IMAGES, STATIC, VIDEO
from moecap.tasks.imagecode.tables import NO_PICK, UNKNOWN
from moecap.tasks.imagecode.variants import VARIANTS
from moecap.tasks.method import Tables

__all__ = ["CHATS", "GIVEN", "NAME", "Picked", "headline", "picked", "refuse"]

NAME = "imagecode"

CHATS = ("chat", "pairs")
"""Who picked where a model was asked: with all ten images in one request, or with one at a time."""

GIVEN = "given"
"""Who picked what a file of predictions says."""

_TAG = re.compile(r"[a-z0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Picked:
    """What one variant with one seed picked.

    Attributes:
        variant: Who picked.
        seed: With which seed.
        items: Ids of the questions, [n].
        kinds: ``video`` or ``static``, [n].
        sources: Where their images come from, [n].
        groups: What those whose images are alike have in common, [n].
        golds: Places that are meant; -1 where that is not known, [n].
        picks: Places that were picked; -1 for no answer, [n].
        scores: Scores of the ten images, [n, 10]; ``None`` where there are none.
    """

    variant: str
    seed: int
    items: np.ndarray
    kinds: np.ndarray
    sources: np.ndarray
    groups: np.ndarray
    golds: np.ndarray
    picks: np.ndarray
    scores: np.ndarray | None

    @property
    def right(self) -> np.ndarray:
        """Whether each pick is the image that is meant, of questions where that is known, [n]."""
        found: np.ndarray = self.picks == self.golds
        return found

    @property
    def ranks(self) -> np.ndarray:
        """Rank of the image that is meant, from 1 on, of equal scores the first place before others, [n]."""
        assert self.scores is not None
        own = self.scores[np.arange(len(self.golds)), self.golds][:, None]
        before = (self.scores == own) & (np.arange(IMAGES) < self.golds[:, None])
        found: np.ndarray = 1 + ((self.scores > own) | before).sum(-1)
        return found


def picked(tables: Tables) -> Iterator[Picked]:
    """What the tables hold, by variant in the paper's order and by seed.

    Raises:
        BadInputError: If they contradict themselves; the file is named.
    """
    questions, picks, scores = (tables[name] for name in ("questions", "picks", "scores"))
    refuse(bool(questions["item"].duplicated().any()), "questions", "a question comes twice")
    refuse(not questions["kind"].isin([VIDEO, STATIC]).all(), "questions", f"column kind is not {VIDEO} or {STATIC}")
    refuse(not questions["gold"].between(UNKNOWN, IMAGES - 1).all(), "questions", "column gold is no place of ten")
    refuse(not picks["pick"].between(NO_PICK, IMAGES - 1).all(), "picks", "column pick is no place of ten")
    refuse(not picks["variant"].isin([*VARIANTS, *CHATS, GIVEN]).all(), "picks", "a variant that is not known")
    refuse(not tables["tags"]["tag"].map(lambda tag: bool(_TAG.fullmatch(tag))).all(), "tags", "column tag is no tag")
    by_item = questions.set_index("item")
    of_scores = dict(_groups(scores))
    refuse(bool(set(of_scores) - {key for key, _ in _groups(picks)}), "scores", "a variant that picks nothing")
    order = {variant: place for place, variant in enumerate((*VARIANTS, *CHATS, GIVEN))}
    groups = {(str(key[0]), int(key[1])): rows for key, rows in _groups(picks)}
    for (variant, seed), rows in sorted(groups.items(), key=lambda one: (order[one[0][0]], one[0][1])):
        refuse(bool(rows["item"].duplicated().any()), "picks", f"{variant} picks twice for a question")
        refuse(not rows["item"].isin(by_item.index).all(), "picks", f"{variant} picks for a question that is not there")
        about = by_item.loc[rows["item"]]
        own = of_scores.get((variant, seed))
        yield Picked(
            variant,
            seed,
            rows["item"].to_numpy(str),
            about["kind"].to_numpy(str),
            about["source"].to_numpy(str),
            about["group"].to_numpy(str),
            about["gold"].to_numpy(np.int64),
            rows["pick"].to_numpy(np.int64),
            None if own is None else _scores(rows, own),
        )


def headline(tables: Tables) -> dict[str, tuple[int, int]]:
    """Pick and the place that is meant of each question, of the last variant with its first seed."""
    found: dict[str, tuple[int, int]] = {}
    last = ""
    for one in picked(tables):
        if one.variant != last:
            last = one.variant
            found = {
                str(item): (int(pick), int(gold))
                for item, pick, gold in zip(one.items, one.picks, one.golds, strict=True)
            }
    return found


def refuse(wrong: bool, table: str, what: str) -> None:
    """Refuse a table that no run leaves.

    Raises:
        BadInputError: With its file.
    """
    if wrong:
        raise BadInputError(f"{task_table_file(NAME, table)}: {what}; the run has to be repeated")


def _groups(table: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    return list(table.groupby(["variant", "seed"]))


def _scores(rows: pd.DataFrame, own: pd.DataFrame) -> np.ndarray | None:
    """Scores in the order of the picks, [n, 10]; ``None`` where a question has none."""
    refuse(bool(own.duplicated(["item", "image"]).any()), "scores", "an image has two scores")
    refuse(not own["image"].between(0, IMAGES - 1).all(), "scores", "column image is no place of ten")
    wide = own.pivot(index="item", columns="image", values="score")
    refuse(wide.shape[1] < IMAGES or bool(wide.isna().any(axis=None)), "scores", "a question has not ten scores")
    answered = rows[rows["pick"] != NO_PICK]
    refuse(not set(wide.index) <= set(answered["item"]), "scores", "scores of a question without an answer")
    in_order = wide.to_numpy()
    own_picks = answered.set_index("item").loc[wide.index, "pick"].to_numpy()
    largest = in_order[np.arange(len(in_order)), own_picks] == in_order.max(-1)
    refuse(not largest.all(), "picks", "a pick that has not the largest score")
    return wide.loc[rows["item"]].to_numpy() if len(wide) == len(rows) else None
