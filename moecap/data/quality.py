"""QuALITY (Pang et al. 2022, arXiv 2112.08608): long articles with questions of four options.

A split is one file, ``QuALITY.v1.0.1.htmlstripped.dev`` and so on, with one JSON object a line: an article with a set
of questions about it. An article has several lines, and the number of the right option counts from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moecap.data.documents import Document, joined
from moecap.data.multiple_choice import MultipleChoice, number_of_choice
from moecap.data.published import json_lines, parsed
from moecap.errors import NotAvailableError

__all__ = ["load_quality"]

LABELS = ("1", "2", "3", "4")


def load_quality(data: Path, split: str = "dev") -> tuple[Document, ...]:
    """Return the articles of a split with their questions, in the published order.

    Args:
        data: The file, or the folder with the published files; of these the one without HTML is taken.
        split: ``train`` or ``dev``; ``test`` is published without answers.

    Raises:
        NotAvailableError: The folder has no file of that split.
        BadInputError: A line is malformed; it is named.
    """
    rows = list(json_lines(_file(data, split)))
    articles = parsed(rows, _article, "an article of QuALITY")
    return joined(zip((where for where, _ in rows), articles, strict=True))


def _file(data: Path, split: str) -> Path:
    if data.is_file():
        return data
    for pattern in (f"*.htmlstripped.{split}", f"QuALITY*.{split}", f"{split}.jsonl"):
        if found := sorted(data.glob(pattern)):
            return found[-1]
    raise NotAvailableError(
        f"{data} holds no {split} split of QuALITY; it needs QuALITY.v1.0.1.htmlstripped.{split} or {split}.jsonl"
    )


def _article(_number: int, row: Mapping[str, Any]) -> Document:
    title, article = row["title"], row["article"]
    if not isinstance(title, str) or not isinstance(article, str) or not article.strip():
        raise TypeError("title and article must be text")
    return Document(str(row["article_id"]), f"{title}\n\n{article}", tuple(map(_question, row["questions"])))


def _question(row: Mapping[str, Any]) -> MultipleChoice:
    options, label = tuple(row["options"]), row["gold_label"]
    if len(options) != len(LABELS) or not all(isinstance(text, str) for text in (row["question"], *options)):
        raise ValueError("a question needs its text and four options")
    answer = number_of_choice(label - 1, options)
    return MultipleChoice(str(row["question_unique_id"]), row["question"].strip(), options, LABELS, answer)
