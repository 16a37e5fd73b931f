"""Asking a model that sees one image at a time: each is scored by how likely the answer yes is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from moecap.backend import Prompt
from moecap.errors import RunError
from moecap.observations.recorder import RequestRecord
from moecap.tasks.imagecode.chat import Asker, Said
from moecap.tasks.imagecode.questions import IMAGES, Question
from moecap.tokenizer import Tokenizer

__all__ = ["Pairs", "yes_logprob"]

TOP = 20
"""Tokens whose log-probabilities are asked for, the most that OpenAI's API gives."""

_INSTRUCTION = "Is this description of the image below?\n\n{description}\n\nAnswer with yes or no, and nothing else."


def yes_logprob(found: Mapping[str, float]) -> float | None:
    """Log-probability that an answer begins with yes, however it is written, nats; ``None`` where none is told.

    Where yes is not among the tokens that are told, it is at most as likely as the last of them, which stands for it.
    """
    if not found:
        return None
    said = [value for token, value in found.items() if token.strip(" \n\"'*.▁Ġ").lower() == "yes"]
    if not said:
        return min(found.values())
    return math.log(math.fsum(math.exp(value) for value in said))


class Pairs(Asker):
    """Asks ten times for each question, with one image in a request."""

    group: ClassVar[int] = 4

    def prompts(self, question: Question, tokenizer: Tokenizer) -> list[Prompt]:
        """A request for each image, in their own order."""
        text = _INSTRUCTION.format(description=question.text)
        tokens = tokenizer.encode_prompt(text)
        sampling = replace(self._sampling, temperature=0.0)
        return [
            Prompt(
                f"imagecode/{question.id}/{place}",
                tokens,
                1,
                sampling,
                messages=(("user", text),),
                attachments=(image,),
                top_logprobs=TOP,
            )
            for place, image in enumerate(self._questions.images(question.set))
        ]

    def said(self, question: Question, records: Sequence[RequestRecord], tokenizer: Tokenizer) -> Said:
        """The image of which yes is likeliest; of equal ones the first."""
        requests = list(enumerate(records))
        if any(record.status == "failed" for record in records):
            return Said(question, None, None, "failed", requests)
        told = [yes_logprob(record.first_logprobs) for record in records]
        scores = [value for value in told if value is not None]
        if not scores:
            raise RunError(
                "the server gives no log-probabilities of a chat's answer (logprobs and top_logprobs), which "
                "--task-arg pairs=true needs; leave it out"
            )
        if len(scores) < IMAGES:
            return Said(question, None, None, "unanswered", requests)
        pick = scores.index(max(scores))
        return Said(question, pick, str(pick), "answered", requests, scores)
