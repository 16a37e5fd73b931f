"""The texts from which a knowledge module is trained, cut from a document or written by the model itself.

A lesson is a text S, what the teacher has before it and what the student has. Which texts there are depends on the
objective: the model's own summaries of each chunk (``sdcd``), the end of a window after its beginning (``ddcd``), the
document itself (``lm``), or a summary with its chunk (``pit``); the last two have no teacher.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from moecap.tokenizer import Tokenizer

__all__ = ["Lesson", "asked", "chunks", "lessons", "summary_request"]

SUMMARISE = "Summarize the preceding passage."
PIT = "Generate a summary and the corresponding full paragraph."
LABEL_SHARE = 0.23
"""Share of a ``ddcd`` window that is the text, with which its length is that of a summary (configuration of the
authors' code for QuALITY)."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One text to learn from, all as token ids.

    Attributes:
        teacher: What the teacher has before it; ``None`` where the text itself is the label.
        student: What the student has before it.
        target: The text S.
        chunk: The chunk of the document that it came from.
    """

    teacher: tuple[int, ...] | None
    student: tuple[int, ...]
    target: tuple[int, ...]
    chunk: int


def asked(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Token ids of a request, up to where the model is to answer: in its chat template if it has one."""
    if tokenizer.chat_template is None:
        return tokenizer.encode_prompt(f"{text}\n")
    return tokenizer.encode(tokenizer.chat([("user", text)]))


def chunks(tokenizer: Tokenizer, document: str, tokens: int, overlap: float = 0.1) -> list[tuple[int, ...]]:
    """A document cut into pieces of ``tokens`` at most, each of which begins with the end of the one before.

    Args:
        tokenizer: The model's tokenizer.
        document: The text.
        tokens: Tokens of a chunk.
        overlap: Share of a chunk that the next one repeats.
    """
    whole = tokenizer.encode(document)
    stride = tokens - int(overlap * tokens)
    last = max(len(whole) - int(overlap * tokens), 1)
    return [whole[first : first + tokens] for first in range(0, last, stride)]


def summary_request(tokenizer: Tokenizer, chunk: Sequence[int]) -> tuple[int, ...]:
    """The request for a summary of a quarter of a chunk's words, as token ids."""
    text = tokenizer.decode(chunk)
    words = max(len(text.split()) // 4, 1)
    return asked(
        tokenizer, f"{text}\n\nSummarize the passage above in about {words} words. Leave out none of its details."
    )


def lessons(
    objective: str,
    tokenizer: Tokenizer,
    pieces: Sequence[Sequence[int]],
    summaries: Sequence[Sequence[Sequence[int]]],
    window: int,
    seed: int,
) -> list[Lesson]:
    """Everything that one document has to teach.

    Args:
        objective: ``sdcd``, ``ddcd``, ``lm`` or ``pit``.
        tokenizer: The model's tokenizer.
        pieces: The chunks, token ids, [chunks].
        summaries: Token ids of the summaries of each chunk, [chunks][summaries]; only ``sdcd`` and ``pit`` need them.
        window: Tokens of a window of ``ddcd`` or ``lm``.
        seed: Of where the windows of ``ddcd`` begin.
    """
    if objective in ("sdcd", "pit"):
        made = _summarised if objective == "sdcd" else _paragraph
        chosen = enumerate(zip(pieces, summaries, strict=True))
        return [made(tokenizer, number, piece, summary) for number, (piece, own) in chosen for summary in own]
    if objective == "ddcd":
        drawn = random.Random(seed)
        return [lesson for number, piece in enumerate(pieces) for lesson in _continued(number, piece, window, drawn)]
    return [lesson for number, piece in enumerate(pieces) for lesson in _plain(number, piece, window)]


def _summarised(tokenizer: Tokenizer, number: int, piece: Sequence[int], summary: Sequence[int]) -> Lesson:
    return Lesson(
        asked(tokenizer, f"{tokenizer.decode(piece)}\n\n{SUMMARISE}"),
        asked(tokenizer, SUMMARISE),
        tuple(summary),
        number,
    )


def _paragraph(tokenizer: Tokenizer, number: int, piece: Sequence[int], summary: Sequence[int]) -> Lesson:
    text = f"Summary:\n{tokenizer.decode(summary)}\nDocument:\n{tokenizer.decode(piece)}"
    return Lesson(None, asked(tokenizer, PIT), tokenizer.encode(text), number)


def _continued(number: int, piece: Sequence[int], window: int, drawn: random.Random) -> list[Lesson]:
    """As many windows as the chunk is long, each at a place drawn at random; the end of each is its text.

    The first token of that end is given to teacher and student alike, for the student needs one to start from.
    """
    found = []
    for _ in range(max(len(piece) // window, 1)):
        first = drawn.randint(0, max(len(piece) - window, 0))
        cut = tuple(piece[first : first + window])
        border = len(cut) - int(LABEL_SHARE * len(cut))
        if 1 < border < len(cut):
            found.append(Lesson(cut[:border], cut[border - 1 : border], cut[border:], number))
    return found


def _plain(number: int, piece: Sequence[int], window: int) -> list[Lesson]:
    """The chunk in windows one after the other, each predicted from its first token on."""
    cut = [tuple(piece[first : first + window]) for first in range(0, len(piece), window)]
    return [Lesson(None, part[:1], part[1:], number) for part in cut if len(part) > 1]
