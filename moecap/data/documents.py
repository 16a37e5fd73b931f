"""A document with questions about it, as data sets publish them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moecap.data.multiple_choice import MultipleChoice
from moecap.errors import BadInputError

__all__ = ["Document", "joined"]


@dataclass(frozen=True, slots=True)
class Document:
    """One document.

    Attributes:
        id: The data set's own identifier.
        text: The whole text, its title first.
        questions: Questions that the document answers, in the data set's order.
    """

    id: str
    text: str
    questions: tuple[MultipleChoice, ...]


def joined(rows: Iterable[tuple[str, Document]]) -> tuple[Document, ...]:
    """The documents of rows that each hold some questions of one, in the order of each one's first row.

    Args:
        rows: Where each row stands, and what it holds.

    Raises:
        BadInputError: A document stands in two rows with two texts, or a question stands there twice.
    """
    texts: dict[str, str] = {}
    questions: dict[str, dict[str, MultipleChoice]] = {}
    for where, part in rows:
        if texts.setdefault(part.id, part.text) != part.text:
            raise BadInputError(f"{where}: the document {part.id!r} has another text than before; mend the row")
        for question in part.questions:
            if question.id in questions.setdefault(part.id, {}):
                raise BadInputError(f"{where}: the question {question.id!r} stands there twice; remove one")
            questions[part.id][question.id] = question
    return tuple(Document(name, text, tuple(questions[name].values())) for name, text in texts.items())
