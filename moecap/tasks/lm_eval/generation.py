"""Tasks of lm-eval whose answers are generated: their requests can be the load of a run.

The headline, ``accuracy.*``, counts an answer that was cut off at its most tokens as wrong, as every task of moecap
does; ``task.*`` under the harness's own names is what the harness itself makes of the same texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from moecap.backend import Prompt, Sampling
from moecap.errors import NotAvailableError
from moecap.tasks.answers.thinking import without_thinking
from moecap.tasks.base import TaskFacts, TaskOptions
from moecap.tasks.generative import GenerativeTask, Grade, OpenQuestion, outcome_of
from moecap.tasks.lm_eval.catalogue import Leaf
from moecap.tasks.lm_eval.described import joined_sources, shared_facts
from moecap.tasks.lm_eval.likelihood import spoken
from moecap.tasks.lm_eval.loading import ARGUMENTS, Conversation, Item, Settings, load_items
from moecap.tasks.lm_eval.model import AnswerSettings, EngineModel, load_tokenizer
from moecap.tasks.lm_eval.scores import DocumentScores, document_scores, headline_of
from moecap.tokenizer import Tokenizer

__all__ = ["LmEvalGeneration"]

NOTHING_FOUND = ("", "[invalid]")
"""What the harness's filters leave of an answer that holds none."""


class LmEvalGeneration(GenerativeTask):
    """A task, or a group of tasks, of lm-eval.

    Args:
        harness_name: Its name in the harness.
        found: The tasks behind it.
    """

    arguments = tuple(name for name in ARGUMENTS if name != "chat")
    regradable = False  # grading takes the task with its data

    def __init__(self, harness_name: str, found: Sequence[Leaf]) -> None:
        self._harness_name, self._leaves = harness_name, found
        self._settings = Settings()
        self._items: dict[str, Item] = {}
        self._read: tuple[Tokenizer, EngineModel] | None = None

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The documents as questions, ``limit`` of each task."""
        return self.first_questions(options)[0]

    def first_questions(self, options: TaskOptions) -> tuple[Sequence[OpenQuestion], bool]:
        """The documents as questions, ``limit`` of each task, and whether it left any out."""
        self._settings = Settings.of(options.arguments)
        items, limited = load_items(self._harness_name, self._leaves, self._settings, options)
        self._items = {item.id: item for item in items}
        self._read = None
        self.data_source = joined_sources(items)
        return [_question(item) for item in items], limited

    def sampling(self, question: OpenQuestion) -> Sampling:
        """As the task says, which is greedy for all but a few."""
        asked = AnswerSettings.of(self._items[question.id].requests[0].args[1])
        return asked.sampling(self._options.sampling.seed)

    def text(self, question: OpenQuestion, tokenizer: Tokenizer) -> str:
        """The text that the model is shown."""
        text: str = spoken(self._items[question.id], self._model(tokenizer))[0].args[0]
        return text

    def prompts(self, items: Sequence[OpenQuestion], tokenizer: Tokenizer) -> tuple[Prompt, ...]:
        """The questions as requests with the harness's own token ids; one that the model does not hold is cut."""
        model = self._model(tokenizer)
        self._cut_ids = set()
        made = []
        for question in items:
            tokens = model.tok_encode(self.text(question, tokenizer))
            fitted = model.fitted(tokens, question.output_tokens)
            if len(fitted) < len(tokens):
                self._cut_ids.add(question.id)
            messages = () if question.id in self._cut_ids else question.messages
            name, sampling = f"{self.name}/{question.id}", self.sampling(question)
            made.append(Prompt(name, fitted, question.output_tokens, sampling, messages=messages))
        return tuple(made)

    def facts(self, items: Sequence[OpenQuestion], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these questions."""
        of = [self._items[question.id] for question in items]
        facts = super().facts(items, tokenizer)
        return shared_facts(facts, of, self._settings.seed, self._model(tokenizer).dated)

    def restated(self, item: OpenQuestion, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The document, and what the harness makes of the answer again."""
        outcome = sample.get("outcome")
        again = self.graded(item, str(sample["answer"]), failed=outcome == "failed", cut_off=outcome == "truncated")
        return {**super().restated(item, sample), **again}

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """The harness's scores of an answer, the first share among them as the accuracy."""
        found = self._scored(question, text)
        headline = headline_of(found.shares)
        return Grade({"accuracy": found.shares[headline]} if headline else {}, _extracted(found, headline))

    def graded(self, question: OpenQuestion, answer: str, *, failed: bool, cut_off: bool) -> dict[str, Any]:
        """The headline by moecap's rule, and under the harness's names what it makes of the same text."""
        found = self._scored(question, "" if failed else without_thinking(answer))
        headline = headline_of(found.shares)
        extracted = None if failed else _extracted(found, headline)
        outcome = outcome_of(extracted, failed=failed, cut_off=cut_off)
        values: dict[str, Any] = {} if failed else dict(found.values)
        for name, share in found.shares.items():
            values[name] = {"aggregation": "mean", "value": 0 if failed else share}
        right = {} if headline is None else {"accuracy": found.shares[headline] if outcome == "answered" else 0}
        return {"extracted": extracted, "outcome": outcome, "scores": right, "values": values}

    def _scored(self, question: OpenQuestion, text: str) -> DocumentScores:
        item = self._items[question.id]
        request = replace(item.requests[0], resps=[text], filtered_resps={})
        return document_scores(item.task, item.doc, [request])

    def _model(self, tokenizer: Tokenizer) -> EngineModel:
        """Reads texts as the model's tokenizer does; nothing is asked through it."""
        if self._read is None or self._read[0] is not tokenizer:
            held = self._settings.max_length or self._options.max_context or 0
            read = EngineModel(load_tokenizer(tokenizer.folder), held, score=_nothing, generate=_nothing)
            self._read = (tokenizer, read)
        return self._read[1]


def _question(item: Item) -> OpenQuestion:
    if len(item.requests) != 1:
        raise NotAvailableError(
            f"lm-eval's {item.task.task_name} asks {len(item.requests)} things of a document at once, which is not "
            "built; take another task"
        )
    context, settings = item.requests[0].args[:2]
    asked = AnswerSettings.of(settings)
    messages: tuple[tuple[str, str], ...] = ()
    if isinstance(context, Conversation) and context.add_generation_prompt:
        messages = tuple((turn["role"], turn["content"]) for turn in context.messages)
    target = item.task.doc_to_target(item.doc)
    return OpenQuestion(
        item.id,
        "" if isinstance(context, Conversation) else context,
        target if isinstance(target, str | int | list) else str(target),
        asked.output_tokens,
        asked.stop,
        messages,
    )


def _extracted(found: DocumentScores, headline: str | None) -> str | None:
    """What the filter of the headline found in the answer."""
    name = headline.partition(",")[2] if headline else ""
    left = found.filtered.get(name) if name else next(iter(found.filtered.values()), None)
    text = str(left[0] if isinstance(left, list | tuple) and left else left).strip()
    return None if left is None or text in NOTHING_FOUND else text


def _nothing(_asked: Sequence[Any]) -> Iterable[Any]:
    raise AssertionError("prompts are read and nothing is asked")
