"""MMLU-Pro (Wang et al. 2024, arXiv 2406.01574): questions with up to ten choices in 14 categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.data.multiple_choice import MultipleChoice
from moecap.data.published import published_rows
from moecap.errors import BadInputError, NotAvailableError

__all__ = ["SOURCE", "ReasonedChoice", "load_mmlu_pro"]

SOURCE = "TIGER-Lab/MMLU-Pro"
_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class ReasonedChoice:
    """A question with its category and, in the validation split, the reasoning that leads to its answer."""

    choice: MultipleChoice
    category: str
    reasoning: str


def load_mmlu_pro(split: str, data: Path | None) -> tuple[ReasonedChoice, ...]:
    """Return the questions of one split in the published order.

    Args:
        split: ``test`` (12,032 questions) or ``validation`` (70, five a category, with reasoning).
        data: A folder with the data set in its published format.

    Raises:
        NotAvailableError: No folder is given, or it does not hold the split.
        BadInputError: A row is malformed; it is named.
    """
    if data is None:
        raise NotAvailableError(f"MMLU-Pro is in no package; give the folder of {SOURCE} with --data")
    return tuple(_question(where, row) for where, row in published_rows(data, SOURCE, "default", split))


def _question(where: str, row: Mapping[str, Any]) -> ReasonedChoice:
    try:
        options = tuple(map(str, row["options"]))
        index = row["answer_index"]
        choice = MultipleChoice(
            str(row["question_id"]), str(row["question"]), options, tuple(_LETTERS[: len(options)]), index
        )
        category = str(row["category"])
    except (KeyError, TypeError) as error:
        raise BadInputError(
            f"{where}: no question_id, question, options, answer_index and category ({error!r}); use the published "
            "format"
        ) from error
    if not 2 <= len(options) <= len(_LETTERS) or not isinstance(index, int) or not 0 <= index < len(options):
        raise BadInputError(f"{where}: answer {index!r} of {len(options)} options; use the published format")
    return ReasonedChoice(choice, category, str(row.get("cot_content") or ""))
