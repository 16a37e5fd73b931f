"""Tasks whose answers are generated: questions become requests, and answers are graded as text.

A request that failed, was cut off at its most tokens, or holds no answer counts as wrong. The share of each stands
beside the accuracy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

from moecap.backend import Engine, Prompt, Sampling
from moecap.errors import BadInputError
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.tasks.answers.thinking import without_thinking
from moecap.tasks.arguments import number_argument, refuse_unknown_arguments, truth_argument
from moecap.tasks.base import (
    Task,
    TaskFacts,
    TaskOptions,
    first_items,
    prompts_digest,
)
from moecap.tasks.conversation import fitted
from moecap.tasks.location import locate
from moecap.tokenizer import Message, Tokenizer

__all__ = ["OUTCOMES", "GenerativeTask", "Grade", "OpenQuestion", "Outcome", "outcome_of"]

Outcome = Literal["answered", "unanswered", "truncated", "failed"]
"""What became of a question: answered; the text holds no answer; cut off at its most tokens; the request failed."""

OUTCOMES: tuple[Outcome, ...] = ("answered", "unanswered", "truncated", "failed")

GENERATE_GROUP = 64
"""Questions, for each one in flight, that are sent at a time apart from a load: an interruption loses no more."""


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question whose answer is a text.

    Attributes:
        id: Its id in the data set.
        prompt: The text that the model is to continue.
        gold: The right answer, as ``grade`` takes it; whatever JSON holds.
        output_tokens: Most tokens of the answer.
        stop: Texts at which the answer ends.
        messages: The conversation in place of the prompt, where the model's chat template is applied; empty for the
            prompt as the one message of a user.
        about: What else ``grade`` needs; whatever JSON holds.
    """

    id: str
    prompt: str
    gold: Any
    output_tokens: int
    stop: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grade:
    """What an answer is worth.

    Attributes:
        scores: Each of the task's ``scores``: 0 or 1, or a share between them.
        extracted: The answer that was found in the text, or ``None`` where there is none.
    """

    scores: Mapping[str, float]
    extracted: str | None


class GenerativeTask(Task):
    """A task that is answered by generation; where no data set is named its requests are the load of the run.

    A subclass gives its questions and grades one answer. ``--task-arg chat=true`` sends the questions through the
    model's chat template, ``chat=false`` as plain text; ``max_tokens=N`` takes the place of the task's own most tokens
    of an answer.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"generate"})
    generates = True
    chat: ClassVar[bool] = False
    """Whether the model's chat template is applied where the user does not say."""
    scores: ClassVar[tuple[str, ...]] = ("accuracy",)
    """Names of what ``grade`` gives; ``accuracy`` is the headline."""
    fixed_length: ClassVar[bool] = False
    """Whether the authors fix the most tokens of an answer, which ``max_tokens`` can only lower then."""
    regradable: ClassVar[bool] = True
    """Whether ``grade`` gives the same for the same question and text, anywhere, so that a verification repeats it."""

    shots: int | None = None
    """Solved examples before each question, once the questions are made; ``None`` where that does not apply."""

    _options: TaskOptions
    _cut_ids: set[str]

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of all its arguments."""
        return ("chat", "max_tokens", *super().takes)

    @abstractmethod
    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions, ``options.limit`` of them at most, in the order of the data set.

        Raises:
            UsageError: If the data is not here or not in its format.
        """

    @abstractmethod
    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """Grade an answer.

        Args:
            question: The question.
            text: The answer, without reasoning and without the stop text that ended it; else as the model wrote it.
        """

    def sampling(self, question: OpenQuestion) -> Sampling:
        """How an answer is drawn: as the user says, which is greedy by default, up to the model's own end."""
        return replace(self._options.sampling, stop=question.stop, n=1, exact=False)

    def cut(self, tokens: tuple[int, ...], room: int) -> tuple[int, ...]:
        """A prompt that the model's context does not hold, cut to ``room`` tokens: its end, where the question is."""
        return tokens[-room:]

    def items(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions, with answers no longer than the user allows."""
        refuse_unknown_arguments(f"task {self.name}", options.arguments, self.takes)
        truth_argument(options.arguments, "chat")
        most = number_argument(options.arguments, "max_tokens", 1)
        self._options = options
        location = locate(self.source, self.hub, options)
        self.data_source = location.words
        own = {name: value for name, value in options.arguments.items() if name not in ("max_tokens", "revision")}
        questions, more = self.first_questions(replace(options, arguments=own, data=location.folder))
        self.limited = more or self.is_narrowed(options)
        return [replace(question, output_tokens=self._most_tokens(question, most)) for question in questions]

    def first_questions(self, options: TaskOptions) -> tuple[Sequence[OpenQuestion], bool]:
        """The questions within the limit, and whether it left any out."""
        return first_items(options.limit, lambda limit: self.questions(replace(options, limit=limit)))

    def _most_tokens(self, question: OpenQuestion, asked: int | None) -> int:
        """Most tokens of an answer: the user's number in place of the task's, and no more than ``--output-len``."""
        own = question.output_tokens
        if asked is not None:
            own = min(own, asked) if self.fixed_length else asked
        return own if self._options.output_len is None else min(own, self._options.output_len)

    @property
    def uses_chat(self) -> bool:
        """Whether the model's chat template is applied."""
        asked = truth_argument(self._options.arguments, "chat")
        return self.chat if asked is None else asked

    def text(self, question: OpenQuestion, tokenizer: Tokenizer) -> str:
        """The text that the model is shown, the chat template applied."""
        return tokenizer.chat(_messages(question)) if self.uses_chat else question.prompt

    def prompts(self, items: Sequence[OpenQuestion], tokenizer: Tokenizer) -> tuple[Prompt, ...]:
        """The questions as requests, their ids ``TASK/ID``; one that the model does not hold is cut.

        Raises:
            BadInputError: If the model's context does not even hold an answer.
        """
        chat = self.uses_chat
        self._cut_ids = set()
        made = []
        for question in items:
            text = self.text(question, tokenizer)
            messages = _messages(question) if chat else ()
            tokens = tokenizer.encode(text) if chat else tokenizer.encode_prompt(text)
            if not tokens:
                raise BadInputError(f"task {self.name!r}: question {question.id!r} has no token; it cannot be asked")
            if (room := self._room(question)) is not None and len(tokens) > room:
                self._cut_ids.add(question.id)
                if chat:
                    messages = fitted(messages, room, tokenizer, self.cut)
                    tokens = tokenizer.encode(tokenizer.chat(messages))
                else:
                    tokens = self.cut(tokens, room)
            name, sampling = f"{self.name}/{question.id}", self.sampling(question)
            made.append(Prompt(name, tokens, question.output_tokens, sampling, messages=messages))
        return tuple(made)

    def _room(self, question: OpenQuestion) -> int | None:
        """Tokens of the context that are left for the prompt."""
        if (context := self._options.max_context) is None:
            return None
        if context <= question.output_tokens:
            raise BadInputError(
                f"task {self.name!r}: answers of {question.output_tokens} tokens leave no room for a question in the "
                f"model's {context}; shorten them with --task-arg max_tokens=N"
            )
        return context - question.output_tokens

    def facts(self, items: Sequence[OpenQuestion], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these questions."""
        digest = prompts_digest([self.text(question, tokenizer) for question in items])
        date = tokenizer.chat_date if self.uses_chat else None
        return TaskFacts(
            len(items),
            digest,
            self.shots,
            chat=self.uses_chat,
            source=self.data_source,
            limited=self.limited,
            chat_date=date,
        )

    def restated(self, item: OpenQuestion, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The right answer with what grading needs, and the prompt where it stands in the data set as it is sent."""
        about = {"about": dict(item.about)} if item.about else {}
        prompt = {"prompt": item.prompt} if item.prompt and not self.uses_chat else {}
        return {"gold": item.gold, **about, **prompt}

    def run(
        self,
        items: Sequence[OpenQuestion],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Ask the questions apart from a load, a group at a time, so that an interruption loses one group at most."""
        prompts = self.prompts(items, tokenizer)
        size = GENERATE_GROUP * self._options.concurrency
        for first in range(0, len(items), size):
            sent = len(recorder.requests)
            engine.generate(
                prompts[first : first + size],
                self._options.concurrency,
                recorder,
                partial(_report, done, first),
            )
            yield from self.samples(items[first : first + size], prompts[first:], recorder.requests[sent:], tokenizer)

    def samples(
        self,
        items: Sequence[OpenQuestion],
        prompts: Sequence[Prompt],
        requests: Sequence[RequestRecord],
        tokenizer: Tokenizer,
    ) -> Iterator[Mapping[str, Any]]:
        """A sample for each question whose request has ended, whole or failed.

        Args:
            items: The questions.
            prompts: Their prompts.
            requests: What was recorded, of these prompts and perhaps of others.
            tokenizer: The model's tokenizer.
        """
        records = {record.prompt_id: record for record in requests}
        for question, prompt in zip(items, prompts, strict=False):
            record = records.get(prompt.id)
            if record is not None and record.status != "unfinished":
                yield self._sample(question, record, tokenizer)

    def _sample(self, question: OpenQuestion, record: RequestRecord, tokenizer: Tokenizer) -> Mapping[str, Any]:
        answer = record.text if record.text is not None else tokenizer.decode(record.answer)
        answer = _before(answer, question.stop)
        return {
            "task": self.name,
            "kind": "generative",
            "id": question.id,
            "request": record.request,
            "prompt": self.text(question, tokenizer),
            "answer": answer,
            "gold": question.gold,
            **({"about": dict(question.about)} if question.about else {}),
            **({"cut": True} if question.id in self._cut_ids else {}),
            "finish_reason": record.finish_reason,
            **self.graded(question, answer, failed=record.status == "failed", cut_off=_cut_off(record)),
        }

    def graded(self, question: OpenQuestion, answer: str, *, failed: bool, cut_off: bool) -> dict[str, Any]:
        """What a sample says of an answer: ``extracted``, ``outcome``, ``scores``; all but an answer scores 0.

        Args:
            question: The question.
            answer: The answer's text.
            failed: Whether the request failed.
            cut_off: Whether the answer ended at its most tokens.
        """
        text = without_thinking(answer)
        grade = Grade(dict.fromkeys(self.scores, 0), None) if failed else self.grade(question, text)
        outcome = outcome_of(grade.extracted, failed=failed, cut_off=cut_off)
        right = {name: grade.scores[name] if outcome == "answered" else 0 for name in self.scores}
        return {"extracted": grade.extracted, "outcome": outcome, "scores": right}


def outcome_of(extracted: str | None, *, failed: bool, cut_off: bool) -> Outcome:
    """What became of a question, the worst first."""
    if failed:
        return "failed"
    if cut_off:
        return "truncated"
    return "answered" if extracted is not None else "unanswered"


def _report(done: Callable[[int], None], first: int, number: int) -> None:
    done(first + number)


def _messages(question: OpenQuestion) -> tuple[Message, ...]:
    return question.messages or (("user", question.prompt),)


def _before(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop text in it, which some engines leave at its end."""
    places = [place for stop_text in stop if (place := text.find(stop_text)) >= 0]
    return text[: min(places)] if places else text


def _cut_off(record: RequestRecord) -> bool:
    """Whether an answer ended at its most tokens; where the engine does not say why, by their number."""
    if record.finish_reason is not None:
        return record.finish_reason == "length"
    return (record.output_tokens or 0) >= record.output_tokens_asked
