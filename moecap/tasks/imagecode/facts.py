"""The tables of a run while they fill."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from moecap.observations.recorder import RequestRecord
from moecap.tasks.imagecode.questions import Question
from moecap.tasks.imagecode.tables import NO_PICK, TABLES, UNKNOWN
from moecap.tasks.table_rows import TableRows

__all__ = ["Facts"]


class Facts(TableRows):
    """Rows of every table."""

    def __init__(self) -> None:
        super().__init__(TABLES)

    def describe(self, question: Question) -> None:
        """Leave what a question is."""
        self.add(
            "questions",
            item=question.id,
            set=question.set,
            kind=question.kind,
            source=question.source,
            group=question.group,
            gold=UNKNOWN if question.gold is None else question.gold,
        )
        for tag in question.tags:
            self.add("tags", item=question.id, tag=tag)

    def picked(self, variant: str, seed: int, question: Question, pick: int | None) -> None:
        """Leave the place that was picked; ``None`` where there is no answer."""
        self.add("picks", variant=variant, seed=seed, item=question.id, pick=NO_PICK if pick is None else pick)

    def scored(self, variant: str, seed: int, question: Question, scores: Sequence[float]) -> None:
        """Leave the scores of the ten images."""
        for image, score in enumerate(scores):
            self.add("scores", variant=variant, seed=seed, item=question.id, image=image, score=score)

    def ranked(self, variant: str, seed: int, asked: Sequence[Question], scores: np.ndarray) -> None:
        """Leave scores, [questions, 10], with the picks that follow: the largest, of equal ones the first."""
        for question, own in zip(asked, scores.tolist(), strict=True):
            self.picked(variant, seed, question, int(np.argmax(own)))
            self.scored(variant, seed, question, own)

    def requested(self, question: Question, image: int, record: RequestRecord) -> None:
        """Leave what a request took.

        Args:
            question: Of which it was one.
            image: The place that it showed alone; -1 where it showed all ten.
            record: The request, which has ended.
        """
        assert record.ended_ns is not None
        seconds = (record.ended_ns - record.sent_ns) / 1e9
        self.add("requests", item=question.id, image=image, status=record.status, seconds=seconds)
        if record.input_tokens is not None and record.output_tokens is not None:
            of = {"input_tokens": record.input_tokens, "output_tokens": record.output_tokens}
            self.add("tokens", item=question.id, image=image, **of)

    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables so far, with their columns' types."""
        found = {}
        for name, schema in TABLES.items():
            empty: pd.DataFrame = schema.empty_table().to_pandas()
            found[name] = pd.DataFrame(self.columns[name]).astype(empty.dtypes.to_dict())
        return found
