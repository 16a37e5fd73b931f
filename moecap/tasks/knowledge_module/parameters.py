"""The arguments of the method, read and checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.arguments import number_argument

__all__ = ["ARGUMENTS", "COMPARED", "OBJECTIVES", "SIZES", "Parameters"]

OBJECTIVES = ("sdcd", "ddcd", "lm", "pit")
"""What a module is trained on: ``texts.lessons`` says how each is made."""

RETRIEVERS = ("minilm", "tfidf")
COMPARED = ("base", "icl", "rag")
TARGETS = ("attention", "linear")
EXTRACTORS = ("off", "fixed", "learned")

_DEFAULT = {
    "data": "qasper",
    "documents": "1",
    "objective": "sdcd",
    "chunk": "768",
    "summaries": "4",
    "summary_tokens": "96",
    "window": "256",
    "targets": "attention",
    "rank": "16",
    "steps": "48",
    "batch": "2",
    "learning_rate": "1e-3",
    "every": "12",
    "compare": "base,icl,rag",
    "retriever": "minilm",
    "passages": "2",
    "passage_tokens": "256",
    "extractor": "off",
    "train_documents": "4",
    "extractor_steps": "40",
    "extractor_rate": "1e-4",
    "teacher_gb": "1",
}
_PAPER = {
    "chunk": "2048",
    "summaries": "16",
    "summary_tokens": "768",
    "window": "2048",
    "rank": "16",
    "steps": "1500",
    "batch": "8",
    "every": "50",
    "targets": "linear",
    "passages": "5",
    "extractor_steps": "500",
    "teacher_gb": "32",
}

SIZES: Mapping[str, Mapping[str, str]] = {
    "default": _DEFAULT,
    "ci": {
        **_DEFAULT,
        "chunk": "128",
        "chunks": "1",
        "summaries": "3",
        "summary_tokens": "20",
        "steps": "6",
        "every": "6",
        "compare": "base,rag",
        "retriever": "tfidf",
        "passages": "1",
        "passage_tokens": "64",
    },
    "full": {**_DEFAULT, "documents": "all"},
    "gpu": {
        **_DEFAULT,
        **_PAPER,
        "data": "quality",
        "documents": "all",
        "extractor": "fixed",
        "train_documents": "150",
    },
}
"""``ci`` teaches only the beginning of the paper and never shows the whole of it; ``gpu`` has the numbers of section 4
and of the authors' code."""

ARGUMENTS = (*_DEFAULT, "document", "chunks", "adapters")


@dataclass(frozen=True, slots=True)
class Parameters:
    """How the method is run.

    Attributes:
        data: ``qasper`` or ``quality``.
        documents: How many documents, those with the most questions for their length first; ``None`` for all.
        document: Their ids, where the user names them.
        objective: One of ``OBJECTIVES``.
        chunk: Most tokens of a chunk.
        chunks: Most chunks of a document that are taught; ``None`` for all.
        summaries: Summaries of each chunk.
        summary_tokens: Most tokens of a summary.
        window: Tokens of a window of the document, for ``ddcd`` and ``lm``.
        targets: Which matrices get an adapter.
        rank: Rank of an adapter; alpha is the same.
        steps: Updates of a module.
        batch: Lessons of an update.
        learning_rate: Of a module, at its highest.
        every: Updates between two looks at the held-out lessons.
        compare: What is asked beside the module.
        retriever: What finds passages.
        passages: Passages in a prompt.
        passage_tokens: Tokens of each.
        extractor: ``off``, or how its merge weights are found.
        train_documents: Documents on which it is trained.
        extractor_steps: Updates of the extractor.
        extractor_rate: Its learning rate.
        teacher_bytes: Memory for what the teacher says.
        adapters: Folder into which the adapters are saved; ``None`` where they are not.
    """

    data: str
    documents: int | None
    document: tuple[str, ...]
    objective: str
    chunk: int
    chunks: int | None
    summaries: int
    summary_tokens: int
    window: int
    targets: str
    rank: int
    steps: int
    batch: int
    learning_rate: float
    every: int
    compare: tuple[str, ...]
    retriever: str
    passages: int
    passage_tokens: int
    extractor: str
    train_documents: int
    extractor_steps: int
    extractor_rate: float
    teacher_bytes: int
    adapters: Path | None

    @classmethod
    def read(cls, arguments: Mapping[str, str]) -> Parameters:
        """The arguments in force, checked.

        Raises:
            BadInputError: If one is not what it must be.
        """

        def number(name: str, least: int = 1) -> int:
            found = number_argument(arguments, name, least)
            assert found is not None, f"no size lacks {name}"
            return found

        return cls(
            data=_one_of(arguments, "data", ("qasper", "quality")),
            documents=None if arguments["documents"] == "all" else number("documents"),
            document=tuple(arguments["document"].split(",")) if "document" in arguments else (),
            objective=_one_of(arguments, "objective", OBJECTIVES),
            chunk=number("chunk", 16),
            chunks=number_argument(arguments, "chunks", 1),
            summaries=number("summaries", 2),
            summary_tokens=number("summary_tokens", 8),
            window=number("window", 16),
            targets=_one_of(arguments, "targets", TARGETS),
            rank=number("rank"),
            steps=number("steps"),
            batch=number("batch"),
            learning_rate=_rate(arguments, "learning_rate"),
            every=number("every"),
            compare=_compared(arguments["compare"]),
            retriever=_one_of(arguments, "retriever", RETRIEVERS),
            passages=number("passages"),
            passage_tokens=number("passage_tokens", 8),
            extractor=_one_of(arguments, "extractor", EXTRACTORS),
            train_documents=number("train_documents"),
            extractor_steps=number("extractor_steps"),
            extractor_rate=_rate(arguments, "extractor_rate"),
            teacher_bytes=number("teacher_gb", 0) * 10**9,
            adapters=Path(arguments["adapters"]).expanduser() if arguments.get("adapters") else None,
        )


def _one_of(arguments: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    if arguments[name] not in known:
        raise UnknownNameError(f"value of --task-arg {name}", arguments[name], known)
    return arguments[name]


def _rate(arguments: Mapping[str, str], name: str) -> float:
    try:
        value = float(arguments[name])
    except ValueError:
        value = 0.0
    if not (isfinite(value) and value > 0):
        raise BadInputError(f"--task-arg {name}={arguments[name]}: not a number above 0")
    return value


def _compared(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    for name in names:
        if name not in COMPARED:
            raise UnknownNameError("value of --task-arg compare", name, COMPARED)
    return tuple(name for name in COMPARED if name in names)
