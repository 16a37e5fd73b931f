"""MMLU-Pro (Wang et al. 2024, arXiv 2406.01574): questions with up to ten choices in 14 categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.data.hub import HubFiles
from moecap.data.multiple_choice import MultipleChoice, number_of_choice
from moecap.data.published import parsed, published_rows

__all__ = ["HUB", "ReasonedChoice", "load_mmlu_pro"]

HUB = HubFiles("TIGER-Lab/MMLU-Pro", ("data/test-*", "data/validation-*"))
_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class ReasonedChoice:
    """A question with its category and, in the validation split, the reasoning that leads to its answer."""

    choice: MultipleChoice
    category: str
    reasoning: str


def load_mmlu_pro(split: str, data: Path) -> tuple[ReasonedChoice, ...]:
    """Return the questions of one split in the published order.

    Args:
        split: ``test`` (12,032 questions) or ``validation`` (70, five a category, with reasoning).
        data: A folder with the data set in its published format.

    Raises:
        NotAvailableError: The folder does not hold the split.
        BadInputError: A row is malformed; it is named.
    """
    rows = published_rows(data, HUB.repository, "default", split)
    return tuple(parsed(rows, _question, "a question of MMLU-Pro"))


def _question(_number: int, row: Mapping[str, Any]) -> ReasonedChoice:
    options = tuple(map(str, row["options"]))
    if not 2 <= len(options) <= len(_LETTERS):
        raise ValueError(f"{len(options)} options")
    right = number_of_choice(row["answer_index"], options)
    labels = tuple(_LETTERS[: len(options)])
    choice = MultipleChoice(str(row["question_id"]), str(row["question"]), options, labels, right)
    return ReasonedChoice(choice, str(row["category"]), str(row.get("cot_content") or ""))
