"""Questions about a document: the items of the task, what is asked in each setting, and how answers are scored.

An answer is the option with the highest log-likelihood a token after the question; the options are not shown. The
prompts are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from moecap.backend import Continuation
from moecap.data.documents import Document
from moecap.data.multiple_choice import MultipleChoice
from moecap.tasks.knowledge_module.texts import asked
from moecap.tokenizer import Tokenizer

__all__ = ["SETTINGS", "Item", "Setting", "asked_settings", "best_option", "continuations", "ordered", "prompt"]

ASKED = (
    "Answer the following question. Give only the answer, and no extra commentary, formatting, or chattiness. "
    "Question: {question}"
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to ask.

    Attributes:
        title: What it is, for a reader.
        context: What stands before the question: nothing, the document, or retrieved passages.
        module: Whether the document's module is switched on.
        extractor: Whether the extractor is.
    """

    title: str
    context: Literal["nothing", "document", "passages"]
    module: bool = False
    extractor: bool = False


SETTINGS: Mapping[str, Setting] = {
    "base": Setting("closed book", "nothing"),
    "icl": Setting("document in context", "document"),
    "rag": Setting("retrieved passages", "passages"),
    "km": Setting("knowledge module", "nothing", module=True),
    "rag_km": Setting("passages + module", "passages", module=True),
    "km_ke": Setting("module + extractor", "nothing", module=True, extractor=True),
    "rag_ke": Setting("passages + extractor", "passages", extractor=True),
    "rag_km_ke": Setting("passages + module + extractor", "passages", module=True, extractor=True),
}
"""By the names under which they are reported."""


def asked_settings(compare: Sequence[str], *, extractor: bool) -> tuple[str, ...]:
    """The settings in which a run asks: those beside the module that are compared, and those with what was trained.

    Args:
        compare: Names of the settings without a module.
        extractor: Whether an extractor is trained.
    """
    return tuple(
        name
        for name, setting in SETTINGS.items()
        if (
            (setting.context != "passages" or "rag" in compare) and (extractor or not setting.extractor)
            if setting.module or setting.extractor
            else name in compare
        )
    )


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its document.

    Attributes:
        id: The question's id.
        document: The document.
        question: The question.
    """

    id: str
    document: Document
    question: MultipleChoice


def ordered(documents: Sequence[Document]) -> list[Document]:
    """The documents that have questions, those with the most questions for their length first."""
    asked_about = [document for document in documents if document.questions]
    return sorted(asked_about, key=lambda document: len(document.text) / len(document.questions))


def prompt(question: str, setting: Setting, document: str, passages: Sequence[str]) -> str:
    """The text that is asked.

    Args:
        question: The question.
        setting: How it is asked.
        document: The document.
        passages: The retrieved passages, the most similar first; it is shown last.
    """
    text = ASKED.format(question=question)
    if setting.context == "document":
        return f"Consider the following paragraph:\n{document}\n{text}"
    if setting.context == "passages":
        shown = "\n".join(f"Passage {number}: {passage}" for number, passage in enumerate(reversed(passages), 1))
        return f"Consider the following passages:\n{shown}\n{text}"
    return text


def continuations(tokenizer: Tokenizer, name: str, text: str, options: Sequence[str]) -> list[Continuation]:
    """The options as answers to a prompt, each encoded by itself."""
    context = asked(tokenizer, text)
    return [
        Continuation(f"{name}#{number}", context, tokenizer.encode(option)) for number, option in enumerate(options)
    ]


def best_option(log_likelihoods: Sequence[float], tokens: Sequence[int]) -> int:
    """Number of the option with the highest log-likelihood a token; of equal ones the first."""
    return max(range(len(tokens)), key=lambda number: log_likelihoods[number] / tokens[number])
