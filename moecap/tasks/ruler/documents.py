"""RULER's question answering: SQuAD or HotpotQA with documents that do not help, as many as fit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moecap.errors import BadInputError, NotAvailableError
from moecap.tasks.ruler.puzzle import Puzzle, seeded

__all__ = ["Documents", "document_puzzle", "essay_words", "read_documents"]

Kind = Literal["squad", "hotpotqa"]
TELL = "Answer the question based on the given documents. Only give me the answer and do not output any other words."


@dataclass(frozen=True, slots=True)
class Documents:
    """Questions and all documents.

    Attributes:
        texts: Every document.
        questions: Each question with its answers and the numbers of its own documents and of related ones.
    """

    texts: tuple[str, ...]
    questions: tuple[tuple[str, tuple[str, ...], tuple[int, ...], tuple[int, ...]], ...]


def essay_words(data: Path | None) -> list[str]:
    """Words of the essays in ``PaulGrahamEssays.json``, as RULER's own script fetches it.

    Raises:
        NotAvailableError: The file is not there.
        BadInputError: It is malformed.
    """
    content = _json(data, "PaulGrahamEssays.json")
    words = str(content.get("text", "")).split() if isinstance(content, dict) else []
    if not words:
        raise BadInputError("PaulGrahamEssays.json: no text in it; fetch it with RULER's script")
    return words


def read_documents(kind: Kind, data: Path | None) -> Documents:
    """The questions and documents of SQuAD 2.0's or HotpotQA's development set.

    Args:
        kind: Which.
        data: Folder with ``squad.json`` or ``hotpotqa.json``, as RULER's own script fetches them.

    Raises:
        NotAvailableError: The file is not there.
        BadInputError: It is malformed.
    """
    content = _json(data, f"{kind}.json")
    try:
        return _squad(content) if kind == "squad" else _hotpotqa(content)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{kind}.json: not in its published format ({error!r})") from error


def document_puzzle(documents: Documents, number: int, *seed: object) -> Puzzle:
    """Question ``number`` with its own documents among others: related ones first, then any.

    Args:
        documents: The questions.
        number: Which of them; after the last one comes the first again.
        seed: What tells this question from all others.
    """
    question, golds, own, related = documents.questions[number % len(documents.questions)]
    others = [place for place in range(len(documents.texts)) if place not in {*own, *related}]
    rng = seeded(*seed, "documents")
    order = [*own, *rng.sample(related, len(related)), *rng.sample(others, len(others))]

    def prompt(size: int) -> str:
        chosen = order[:size]
        seeded(*seed, "places").shuffle(chosen)
        context = "\n\n".join(f"Document {n}:\n{documents.texts[place]}" for n, place in enumerate(chosen, 1))
        return f"{TELL}\n\nThe following are given documents.\n\n{context}\n\n{TELL}\n\nQuestion: {question} Answer:"

    return Puzzle(golds, prompt, least=len(own), most=len(order))


def _squad(content: Any) -> Documents:
    articles = content["data"]
    texts = sorted({paragraph["context"] for article in articles for paragraph in article["paragraphs"]})
    place = {text: number for number, text in enumerate(texts)}
    questions = []
    for article in articles:
        all_of_it = tuple(dict.fromkeys(place[paragraph["context"]] for paragraph in article["paragraphs"]))
        for paragraph in article["paragraphs"]:
            own = place[paragraph["context"]]
            related = tuple(number for number in all_of_it if number != own)
            for asked in paragraph["qas"]:
                if not asked.get("is_impossible", False):
                    golds = tuple(answer["text"] for answer in asked["answers"])
                    questions.append((asked["question"], golds, (own,), related))
    return Documents(tuple(texts), tuple(questions))


def _hotpotqa(content: Any) -> Documents:
    def text(title: str, sentences: list[str]) -> str:
        return f"{title}\n{''.join(sentences)}"

    texts = sorted({text(*document) for entry in content for document in entry["context"]})
    place = {text: number for number, text in enumerate(texts)}
    questions = [
        (entry["question"], (entry["answer"],), tuple(dict.fromkeys(place[text(*d)] for d in entry["context"])), ())
        for entry in content
    ]
    return Documents(tuple(texts), tuple(questions))


def _json(data: Path | None, name: str) -> Any:
    path = None if data is None else next((p for p in (data / name, data / "json" / name) if p.is_file()), None)
    if path is None:
        raise NotAvailableError(
            f"RULER needs {name}, which its repository fetches (scripts/data/synthetic/json); give that folder with "
            "--data, or take the tasks that need no data: --task-arg tasks=synthetic"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); fetch it again") from error
