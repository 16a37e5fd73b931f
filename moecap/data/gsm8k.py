"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168): 1,319 problems of grade-school arithmetic in its test split.

Eight solved examples come with them: those of chain-of-thought prompting (Wei et al. 2022, arXiv 2201.11903), which
stand before each question of the evaluation requests in the package.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.data.packages import fetch
from moecap.data.progress import Progress
from moecap.data.published import parsed
from moecap.data.rows import data_set_rows
from moecap.data.sets import data_set
from moecap.errors import BadInputError

__all__ = ["WordProblem", "gsm8k_examples", "load_gsm8k"]

_QUESTION, _ANSWER, _MARK = "Question: ", "\nAnswer: ", "####"


@dataclass(frozen=True, slots=True)
class WordProblem:
    """One problem.

    Attributes:
        id: Number of its row in the split, from 0.
        question: Its text, unchanged.
        solution: The steps and, after ``####``, the answer, as published.
        answer: The number that is right, as published.
    """

    id: str
    question: str
    solution: str
    answer: str


def load_gsm8k(
    split: str = "test", *, data: Path | None = None, progress: Progress | None = None
) -> tuple[WordProblem, ...]:
    """Return the problems of a split in the published order.

    Args:
        split: ``test``; ``train`` only from ``data``.
        data: A folder with the data set in its published format, instead of the package.
        progress: Hears of the download; None draws it on stderr.

    Raises:
        NotAvailableError: The split is not in the package or the folder, or cannot be fetched.
        BadInputError: A file is malformed; the line is named.
    """
    rows = data_set_rows("gsm8k", split, config="main", data=data, progress=progress)
    return tuple(parsed(rows, _problem, f"a question with an answer that ends in {_MARK} and a number"))


def gsm8k_examples(*, progress: Progress | None = None) -> tuple[tuple[str, str], ...]:
    """The eight solved examples: question, and answer in words that ends in ``So the answer is N.``.

    Args:
        progress: Hears of the download; None draws it on stderr.

    Raises:
        NotAvailableError: They are not here and cannot be fetched.
        BadInputError: The file is malformed.
    """
    known = data_set("gsm8k")
    member = known.splits["test"].member
    path = fetch(known.files, [member], progress=progress) / member
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            context = json.loads(next(iter(file)))["request"]["context"]
        *solved, _ = context.split("\n\n")
        pairs = [text.removeprefix(_QUESTION).split(_ANSWER) for text in solved]
        return tuple((question, answer) for question, answer in pairs)
    except (EOFError, OSError, StopIteration, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(f"{path}, line 1: no solved examples ({error!r}); fetch it again") from error


def _problem(number: int, row: Mapping[str, Any]) -> WordProblem:
    question, solution = row["question"], row["answer"]
    _, mark, answer = solution.rpartition(_MARK)
    if not isinstance(question, str) or not mark:
        raise ValueError(f"the answer has no {_MARK}" if not mark else "the question is no text")
    return WordProblem(str(number), question, solution, answer.strip())
