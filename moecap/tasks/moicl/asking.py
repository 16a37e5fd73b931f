"""Asks an engine what experts give to labels: one call an expert, whose demonstrations are the same for every item."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moecap.backend import Continuation, Engine
from moecap.observations.recorder import Recorder
from moecap.tasks.moicl.datasets import Example
from moecap.tasks.moicl.labels import LabelTree
from moecap.tasks.moicl.mixture import Array
from moecap.tokenizer import Tokenizer

__all__ = ["Asked", "Asker", "Sent", "label_tokens"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What experts gave on some items.

    Attributes:
        scores: Log-probabilities over the vocabulary, nats, [items, experts, edges].
        continuation: Number of the first sequence of each item and expert in the engine's steps, [items, experts].
        tokens: Tokens of demonstrations and query, with those that all labels begin with, [items, experts].
        query_tokens: The same without the demonstrations, [items, experts].
    """

    scores: Array
    continuation: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    query_tokens: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sent:
    """The prompts of one query, sent alone: the engine's steps, and the time until all answers were there, ns."""

    first_step: int
    end_step: int
    wall_ns: int


def label_tokens(tokenizer: Tokenizer, ending: str, labels: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of each label after the end of a prompt.

    Args:
        tokenizer: The model's tokenizer.
        ending: A text that ends as every prompt does.
        labels: The words of the labels.
    """
    before = len(tokenizer.encode_prompt(ending))
    return [tokenizer.encode_prompt(ending + label)[before:] for label in labels]


@dataclass(slots=True)
class Asker:
    """Asks one engine.

    Attributes:
        engine: An engine that gives log-likelihoods of given answers.
        tokenizer: The model's tokenizer.
        recorder: Keeps the steps.
        tree: The labels.
        heard: Hears how many sequences were scored so far.
        count: Sequences that were scored so far.
    """

    engine: Engine
    tokenizer: Tokenizer
    recorder: Recorder
    tree: LabelTree
    heard: Callable[[int], None] = lambda _count: None
    count: int = field(default=0)

    def scores(self, experts: Sequence[str], items: Sequence[Example]) -> Asked:
        """What each expert gives to the labels of each item.

        Args:
            experts: The demonstrations of each expert as text; an empty one asks without any.
            items: The items.
        """
        shape = (len(items), len(experts))
        scores = np.empty((*shape, len(self.tree.edges)))
        continuation, tokens, query = (np.empty(shape, np.int64) for _ in range(3))
        for expert, demonstrations in enumerate(experts):
            before = len(self.tokenizer.encode_prompt(demonstrations)) if demonstrations else 0
            contexts = [self.tokenizer.encode_prompt(demonstrations + item.text) for item in items]
            asked = [
                Continuation(f"{item.id}/{edge}", context + one.before, (one.token,))
                for item, context in zip(items, contexts, strict=True)
                for edge, one in enumerate(self.tree.edges)
            ]
            continuation[:, expert] = self.recorder.continuations + np.arange(len(items)) * len(self.tree.edges)
            tokens[:, expert] = [len(context) + len(self.tree.edges[0].before) for context in contexts]
            query[:, expert] = tokens[:, expert] - before
            scored = self.engine.score(asked, self.recorder, self._hear)
            scores[:, expert] = np.reshape([one.log_likelihood for one in scored], (len(items), -1))
            self.count += len(asked)
        return Asked(scores, continuation, tokens, query)

    def alone(self, experts: Sequence[str], item: Example) -> Sent:
        """Send all prompts of one query at once and time them; of each the first choice of a label is scored."""
        edge = self.tree.edges[0]
        contexts = [self.tokenizer.encode_prompt(demonstrations + item.text) for demonstrations in experts]
        asked = [Continuation(f"{item.id}/{i}", c + edge.before, (edge.token,)) for i, c in enumerate(contexts)]
        first, start = self.recorder.steps, time.monotonic_ns()
        self.engine.score(asked, self.recorder, lambda _done: None)
        return Sent(first, self.recorder.steps, time.monotonic_ns() - start)

    def _hear(self, done: int) -> None:
        self.heard(self.count + done)
