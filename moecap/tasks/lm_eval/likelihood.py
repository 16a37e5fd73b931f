"""Tasks of lm-eval that score given answers: multiple choice, single continuations, and whole texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

from moecap.backend import Continuation, Engine, Generation, Prompt, Scored
from moecap.errors import BadInputError
from moecap.observations.recorder import Recorder
from moecap.tasks.base import Task, TaskFacts, TaskOptions, prompts_digest
from moecap.tasks.lm_eval.catalogue import Leaf
from moecap.tasks.lm_eval.described import shared_facts
from moecap.tasks.lm_eval.loading import ARGUMENTS, Conversation, Item, Settings, load_items
from moecap.tasks.lm_eval.model import EngineModel, Score, load_tokenizer
from moecap.tasks.lm_eval.scores import document_scores, headline_of
from moecap.tokenizer import Tokenizer

__all__ = ["LmEvalLikelihood", "spoken"]

GROUP = 32
"""Documents for which the engine is asked at a time: an interruption loses no more."""


class LmEvalLikelihood(Task):
    """A task, or a group of tasks, of lm-eval.

    Args:
        harness_name: Its name in the harness.
        found: The tasks behind it.
    """

    arguments: ClassVar[tuple[str, ...]] = ARGUMENTS

    def __init__(self, harness_name: str, found: Sequence[Leaf]) -> None:
        self._harness_name, self._leaves = harness_name, found
        self._settings = Settings()
        self._max_length = 0

    def items(self, options: TaskOptions) -> Sequence[Item]:
        """The documents with their requests, ``limit`` of each task."""
        self._settings = Settings.of(options.arguments)
        held = options.max_context
        asked = self._settings.max_length
        if asked is not None and held is not None and asked > held:
            raise BadInputError(f"--task-arg max_length={asked}: the model holds {held} tokens")
        self._max_length = asked or held or 0
        items, self.limited = load_items(self._harness_name, self._leaves, self._settings, options)
        return items

    def lengths(self, items: Sequence[Item], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """Each document with the tokens of its longest sequence, cut to what the model holds."""
        read = load_tokenizer(tokenizer.folder)
        for item in items:
            fed: list[int] = []

            def measured(continuations: Sequence[Continuation], fed: list[int] = fed) -> list[Scored]:
                fed += [len(c.context) + len(c.target) - 1 for c in continuations]
                return [Scored(0.0, False)] * len(continuations)

            self._ask(self._model(read, measured), [item])
            yield item.id, max(fed, default=0)

    def facts(self, items: Sequence[Item], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these documents."""
        model = self._model(load_tokenizer(tokenizer.folder), _no_scores)
        texts = [str(part) for item in items for request in spoken(item, model) for part in request.args]
        facts = TaskFacts(len(items), prompts_digest(texts), chat=self._settings.chat, limited=self.limited)
        return shared_facts(facts, items, self._settings.seed, model.dated)

    def restated(self, item: Item, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The document, and what the harness makes of the log-likelihoods again."""
        greedy = sample.get("greedy")
        asked = [replace(request, resps=[], filtered_resps={}) for request in item.requests]
        for number, request in enumerate(asked):
            likelihood = float(sample["log_likelihoods"][number])
            request.resps.append(likelihood if greedy is None else (likelihood, bool(greedy[number])))
        again = _sample(self.name, item, asked)
        return {name: said for name, said in again.items() if not (self._settings.chat and name.startswith("prompt"))}

    def run(
        self,
        items: Sequence[Item],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Score the answers of every document."""
        read = load_tokenizer(tokenizer.folder)
        for first in range(0, len(items), GROUP):
            group = items[first : first + GROUP]

            def score(continuations: Sequence[Continuation], first: int = first, n: int = len(group)) -> list[Scored]:
                total = len(continuations)
                return engine.score(continuations, recorder, lambda number: done(first + number * n // max(total, 1)))

            yield from self._samples(self._model(read, score), group)
            done(first + len(group))

    def _model(self, read: Any, score: Score) -> EngineModel:
        return EngineModel(read, self._max_length, score=score, generate=_no_answers)

    def _ask(self, model: EngineModel, items: Sequence[Item]) -> list[list[Any]]:
        """The requests of each document with their answers."""
        asked = [spoken(item, model) for item in items]
        flat = [request for requests in asked for request in requests]
        whole = bool(flat) and flat[0].request_type == "loglikelihood_rolling"
        ask = model.loglikelihood_rolling if whole else model.loglikelihood
        for request, answer in zip(flat, ask(flat, disable_tqdm=True), strict=True):
            request.resps.append(answer)
        return asked

    def _samples(self, model: EngineModel, items: Sequence[Item]) -> Iterator[Mapping[str, Any]]:
        asked = self._ask(model, items)
        cut = iter(model.cut_last)
        for item, requests in zip(items, asked, strict=True):
            any_cut = any(list(islice(cut, len(requests))))
            yield _sample(self.name, item, requests) | ({"cut": True} if any_cut else {})


def spoken(item: Item, model: EngineModel) -> list[Any]:
    """Fresh copies of a document's requests, the chat template applied where they are to have it."""
    made = []
    for request in item.requests:
        context, *rest = request.args
        if isinstance(context, Conversation):
            turns = [dict(turn) for turn in context.messages]
            context = model.apply_chat_template(turns, add_generation_prompt=context.add_generation_prompt)
        made.append(replace(request, arguments=(context, *rest), resps=[], filtered_resps={}))
    return made


def _sample(task: str, item: Item, requests: Sequence[Any]) -> dict[str, Any]:
    answers = [request.resps[0] for request in requests]
    found = document_scores(item.task, item.doc, requests)
    headline = headline_of(found.shares)
    scores = {"accuracy" if name == headline else name: share for name, share in found.shares.items()}
    sample: dict[str, Any] = {"task": task, "kind": "lm_eval", "id": item.id, "part": item.task.task_name}
    if isinstance(answers[0], tuple):
        likelihoods = [float(log_likelihood) for log_likelihood, _ in answers]
        texts = [request.args[1] for request in requests]
        sample |= {
            "prompt": requests[0].args[0],
            "prompts": [request.args[0] for request in requests],
            "answers": texts,
            "log_likelihoods": likelihoods,
            "greedy": [bool(greedy) for _, greedy in answers],
            "answer": texts[max(range(len(texts)), key=likelihoods.__getitem__)],
        }
        if all(request.args[0] == requests[0].args[0] for request in requests):
            del sample["prompts"]
    else:
        sample |= {"prompt": requests[0].args[0], "log_likelihoods": [float(answer) for answer in answers]}
    gold = item.task.doc_to_text(item.doc) if getattr(item.task, "multiple_input", 0) else None
    target = item.task.doc_to_target(item.doc)
    sample["gold"] = gold if isinstance(gold, int) else target if isinstance(target, int | list) else str(target)
    if headline is not None and "acc_mutual_info" not in found.shares:  # which asks for each answer twice
        sample["accuracy_is"] = headline
    return sample | {"scores": scores} | ({"values": found.values} if found.values else {})


def _no_scores(_continuations: Sequence[Continuation]) -> Iterable[Scored]:
    raise AssertionError("prompts are read and nothing is asked")


def _no_answers(_prompts: Sequence[Prompt]) -> Iterable[Generation]:
    raise AssertionError("a task by log-likelihood generates nothing")
