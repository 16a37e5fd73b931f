"""Asking a model that sees: one request with ten numbered images, or one image at a time."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from moecap.attachment import Attachment
from moecap.backend import Engine, Prompt, Sampling
from moecap.errors import RunError
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.tasks.answers.thinking import without_thinking
from moecap.tasks.imagecode.questions import IMAGES, Question, Questions
from moecap.tokenizer import Tokenizer

__all__ = ["Asker", "Chat", "Said", "asked_text", "order_of", "stated_image"]

_INSTRUCTION = (
    "Below are ten images, numbered from 1 to 10. Exactly one of them is the one that this description is of:\n\n"
    "{description}\n\nAnswer with the number of that image, from 1 to 10, and nothing else."
)
_OBJECT = re.compile(r"\{[^{}]*\"image\"[^{}]*\}")
_NUMBER = re.compile(r"(?<![\d.,])\d+(?![\d]|[.,]\d)")
_REFUSED = re.compile(r"HTTP 4\d\d: .*(image|multimodal|multi-modal|mm_)", re.IGNORECASE | re.DOTALL)


MOST_DIGITS = 9
"""Digits from which on a number in an answer is none of an image, whatever it begins with."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a question.

    Attributes:
        question: The question.
        pick: Place of the picked image in the set, from 0; ``None`` for none.
        answer: The model's words, or the picked place where it said none; ``None`` where there is no answer.
        outcome: ``answered``, ``unanswered`` or ``failed``.
        requests: Its requests, each with the place that it showed alone; -1 where it showed all ten.
        scores: Scores of the ten images, where there are some.
    """

    question: Question
    pick: int | None
    answer: str | None
    outcome: str
    requests: Sequence[tuple[int, RequestRecord]]
    scores: Sequence[float] = ()


def asked_text(description: str) -> str:
    """The words of a request, before the images."""
    return _INSTRUCTION.format(description=description)


def order_of(question: Question, seed: int | None) -> tuple[int, ...]:
    """The places of the set in the order in which they are shown: their own, or drawn for each question.

    Args:
        question: The question.
        seed: Seed of the orders; ``None`` for their own.
    """
    if seed is None:
        return tuple(range(IMAGES))
    key = [seed, *question.id.encode()]
    return tuple(int(place) for place in np.random.default_rng(key).permutation(IMAGES))


def stated_image(text: str) -> int | None:
    """The number of the image that an answer names, from 1 to 10: that of ``{"image": 3}``, else the first number."""
    text = without_thinking(text)
    if (found := _OBJECT.search(text)) is not None:
        try:
            value = json.loads(found[0])["image"]
        except (ValueError, KeyError):
            value = None
        if isinstance(value, str) and value.strip().isdecimal() and len(value.strip()) < MOST_DIGITS:
            value = int(value)
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if whole and 1 <= value <= IMAGES else None
    numbers = (int(number) for number in _NUMBER.findall(text) if len(number) < MOST_DIGITS)
    return next((number for number in numbers if 1 <= number <= IMAGES), None)


class Asker(ABC):
    """Asks questions with images of an engine whose model sees.

    Args:
        questions: The questions.
        sampling: How answers are drawn.
        max_tokens: Most tokens of an answer.
        concurrency: Requests in flight.
        order_seed: Seed of the orders in which images are shown; ``None`` for their own.
    """

    group: ClassVar[int]
    """Questions, for each request in flight, whose images are in memory at a time."""

    def __init__(
        self, questions: Questions, sampling: Sampling, max_tokens: int, concurrency: int, order_seed: int | None
    ) -> None:
        self._questions, self._max_tokens = questions, max_tokens
        self._sampling = replace(sampling, stop=(), n=1, exact=False)
        self._concurrency, self._order_seed = concurrency, order_seed

    @abstractmethod
    def prompts(self, question: Question, tokenizer: Tokenizer) -> list[Prompt]:
        """The requests of a question."""

    @abstractmethod
    def said(self, question: Question, records: Sequence[RequestRecord], tokenizer: Tokenizer) -> Said:
        """What came of a question whose requests have ended.

        Raises:
            RunError: If the server can give no answer to any question.
        """

    def ask(
        self,
        asked: Sequence[Question],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[list[Said]]:
        """What came of the questions, a group at a time.

        Raises:
            RunError: If the server can give no answer to any question.
        """
        size = self.group * self._concurrency
        for first in range(0, len(asked), size):
            group = asked[first : first + size]
            prompts = [self.prompts(question, tokenizer) for question in group]
            each = len(prompts[0])
            sent = len(recorder.requests)
            every = [prompt for of_one in prompts for prompt in of_one]
            engine.generate(every, self._concurrency, recorder, partial(_report, done, first, each))
            records = {record.prompt_id: record for record in recorder.requests[sent:]}
            _refuse_refusal(list(records.values()))
            yield [
                self.said(question, [records[prompt.id] for prompt in of_one], tokenizer)
                for question, of_one in zip(group, prompts, strict=True)
                if all(prompt.id in records and records[prompt.id].ended_ns is not None for prompt in of_one)
            ]


class Chat(Asker):
    """Asks with all ten images in a request."""

    group: ClassVar[int] = 8

    def prompts(self, question: Question, tokenizer: Tokenizer) -> list[Prompt]:
        """One request."""
        text = asked_text(question.text)
        images = self._questions.images(question.set)
        shown = tuple(
            Attachment(images[place].media_type, images[place].content, f"Image {number}:")
            for number, place in enumerate(order_of(question, self._order_seed), 1)
        )
        tokens = tokenizer.encode_prompt(text)
        name = f"imagecode/{question.id}"
        messages = (("user", text),)
        return [Prompt(name, tokens, self._max_tokens, self._sampling, messages=messages, attachments=shown)]

    def said(self, question: Question, records: Sequence[RequestRecord], tokenizer: Tokenizer) -> Said:
        """The image whose number the answer states."""
        (record,) = records
        requests = [(-1, record)]
        if record.status == "failed":
            return Said(question, None, None, "failed", requests)
        text = record.text if record.text is not None else tokenizer.decode(record.answer)
        number = stated_image(text)
        if number is None:
            return Said(question, None, text, "unanswered", requests)
        return Said(question, order_of(question, self._order_seed)[number - 1], text, "answered", requests)


def _report(done: Callable[[int], None], first: int, each: int, number: int) -> None:
    done(first + number // each)


def _refuse_refusal(records: Sequence[RequestRecord]) -> None:
    """End a run against a server that takes no ten images.

    Raises:
        RunError: If every request was refused for its images.
    """
    refused = [record for record in records if record.error is not None and _REFUSED.match(record.error)]
    if refused and len(refused) == len(records):
        raise RunError(
            f"the server takes no ten images in a request ({refused[0].error}); allow them (vLLM: "
            "--limit-mm-per-prompt '{\"image\": 10}'), or show one at a time with --task-arg pairs=true"
        )
