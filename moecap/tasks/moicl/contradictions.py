"""What does not hold between the method's samples and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from moecap.tasks.answers.overlap import exact_match
from moecap.tasks.moicl.experiment import headline
from moecap.tasks.moicl.tables import Found

__all__ = ["classified_problem", "generated_problem"]

NEAR = 1e-6
"""Nats by which a log-likelihood may differ that another machine computes again."""


def classified_problem(found: Found, samples: Sequence[Mapping[str, Any]]) -> str:
    """The first sample that the tables of the first draw do not give; empty where they give all."""
    logs, gold = headline(found), found.gold[0, "test"]
    if sorted(sample["item"] for sample in samples) != list(range(len(gold))):
        return "the items are not those of moicl.items.parquet"
    for sample in samples:
        row, right = logs[sample["item"]], int(gold[sample["item"]])
        best = int(row.argmax())
        if not np.allclose(row, sample["log_likelihoods"], rtol=0, atol=NEAR):
            return f"the log-likelihoods of {sample['id']!r} are not those of the mixture"
        if (sample["answer"], sample["gold"]) != (sample["answers"][best], right):
            return f"answer or gold of {sample['id']!r} is not that of the tables"
        if sample["scores"] != {"accuracy": int(best == right)}:
            return f"the score of {sample['id']!r} does not follow"
    return ""


def generated_problem(answers: pd.DataFrame, samples: Sequence[Mapping[str, Any]]) -> str:
    """The first sample whose answer is graded otherwise, in it or in the tables; empty where there is none."""
    first = answers[(answers["seed"] == 0) & answers["method"].isin(["scalar", "concat"])]
    most = max(first["arrangement"], key=lambda name: int(name[1:]))
    graded = first[first["arrangement"] == most].set_index("item")["right"]
    if sorted(sample["item"] for sample in samples) != sorted(graded.index):
        return "the items are not those of moicl.answers.parquet"
    for sample in samples:
        right = exact_match(sample["answer"], sample["gold"])
        if sample["scores"] != {"accuracy": right} or bool(graded[sample["item"]]) != bool(right):
            return f"the score of {sample['id']!r} is not what grading its answer gives"
    return ""
