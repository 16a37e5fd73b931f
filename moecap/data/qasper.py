"""QASPER's papers (Dasigi et al. 2021, arXiv 2105.03011) with the questions about them that are answered yes or no.

The data set on the hub, ``allenai/qasper-yesno``, has one row a question with the whole paper in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moecap.data.documents import Document, joined
from moecap.data.multiple_choice import MultipleChoice
from moecap.data.progress import Progress
from moecap.data.published import parsed
from moecap.data.rows import data_set_rows

__all__ = ["load_qasper"]

CHOICES = ("Yes", "No")


def load_qasper(data: Path | None = None, *, progress: Progress | None = None) -> tuple[Document, ...]:
    """Return the 260 papers with their 319 questions, in the published order.

    A paper's text is its title, its abstract and its sections, each with its name before it.

    Args:
        data: A folder with the data set in its published format, instead of the package.
        progress: Hears of the download; None draws it on stderr.

    Raises:
        NotAvailableError: The data is not in the folder, or cannot be fetched.
        BadInputError: A row is malformed; it is named.
    """
    rows = list(data_set_rows("qasper_yesno", "train", data=data, progress=progress))
    papers = parsed(rows, _paper, "a question of QASPER yes/no")
    return joined(zip((where for where, _ in rows), papers, strict=True))


def _paper(_number: int, row: Mapping[str, Any]) -> Document:
    identifier, number = row["id"].rsplit("_", 1)[0], row["question_id"]
    full = row["full_text"]
    sections = [
        "\n".join(_texts([name or "", *paragraphs]))
        for name, paragraphs in zip(full["section_name"], full["paragraphs"], strict=True)
    ]
    text = "\n\n".join(_texts([row["title"], row["abstract"], *sections]))
    (question,) = _texts([row["question"].strip()])
    answer = CHOICES.index(row["answer"])
    return Document(identifier, text, (MultipleChoice(str(number), question, CHOICES, ("A", "B"), answer),))


def _texts(parts: list[str]) -> list[str]:
    """The parts that are not empty."""
    if not all(isinstance(part, str) for part in parts):
        raise TypeError("a part of the paper is no text")
    return [part for part in parts if part.strip()]
