"""MMLU (Hendrycks et al. 2021, arXiv 2009.03300): questions with four choices in 57 subjects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moecap.data.multiple_choice import MultipleChoice, number_of_choice
from moecap.data.published import parsed
from moecap.data.rows import data_set_rows
from moecap.data.sets import data_set
from moecap.errors import UnknownNameError

__all__ = ["LABELS", "load_mmlu", "mmlu_subjects"]

LABELS = ("A", "B", "C", "D")


def mmlu_subjects(asked: str | None = None) -> tuple[str, ...]:
    """The subjects in the order of their names, or those that are asked for, separated by commas, each once.

    Raises:
        UnknownNameError: One is no subject.
    """
    known = data_set("mmlu").configs
    if asked is None:
        return known
    names = tuple(dict.fromkeys(asked.split(",")))
    for name in names:
        if name not in known:
            raise UnknownNameError("subject of MMLU", name, known)
    return names


def load_mmlu(subject: str, split: str = "test", *, data: Path | None = None) -> tuple[MultipleChoice, ...]:
    """Return the questions of one subject in the published order.

    Args:
        subject: One of ``mmlu_subjects()``.
        split: ``test``, ``validation`` or ``dev`` (five examples a subject).
        data: A folder with the data set in its published format, instead of the package.

    Raises:
        NotAvailableError: The split is not there or cannot be fetched.
        BadInputError: A row is malformed; it is named.
    """
    rows = data_set_rows("mmlu", split, config=subject, data=data)
    return tuple(parsed(rows, lambda number, row: _question(f"{subject}/{number}", row), "a question of MMLU"))


def _question(name: str, row: Mapping[str, Any]) -> MultipleChoice:
    choices = tuple(map(str, row["choices"]))
    if len(choices) != len(LABELS):
        raise ValueError(f"{len(choices)} choices")
    return MultipleChoice(name, str(row["question"]), choices, LABELS, number_of_choice(row["answer"], choices))
