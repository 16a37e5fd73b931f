"""The knowledge extractor: one more adapter, trained over many documents to answer out of their frozen modules.

Equations 5 and 6: the change of a matrix is w_M A_D B_D + w_E A_E B_E. The weights are 1, as in the authors' code, or
learnt from 0.5 on, one pair for each matrix that has adapters.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moecap.tasks.knowledge_module.adapters import Adapters
from moecap.tasks.knowledge_module.passes import read_texts
from moecap.tasks.knowledge_module.training import Schedule, optimise

__all__ = ["LEARNT_START", "Example", "MergeWeights", "join_adapters", "option_loss", "train_extractor"]

LEARNT_START = 0.5


@dataclass(frozen=True, slots=True)
class Example:
    """A question of a document that the extractor is trained on.

    Attributes:
        adapter: Name of the document's adapter.
        context: Token ids up to where the answer begins.
        options: Token ids of the options.
        gold: Number of the right one.
    """

    adapter: str
    context: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    gold: int


class MergeWeights:
    """w_M and w_E of every adapted matrix.

    Args:
        adapters: The adapters of the model.
        start: What all of them are at first.
    """

    def __init__(self, adapters: Adapters, start: float) -> None:
        self._layers = adapters.layers()
        device = next(adapters.module.parameters()).device
        self.values = torch.nn.Parameter(torch.full((len(self._layers), 2), start, device=device))

    @contextmanager
    def applied(self, extractor: str) -> Iterator[None]:
        """Around passes in which the changes of all adapters count with their weights.

        Args:
            extractor: Name of the extractor's adapter; all others are modules.
        """
        handles: list[Any] = []
        for number, layer in enumerate(self._layers):
            for name, matrix in layer.lora_B.items():
                handles.append(matrix.register_forward_hook(self._weigh(number, int(name == extractor))))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _weigh(self, layer: int, which: int) -> Callable[[Any, Any, Tensor], Tensor]:
        return lambda _module, _inputs, output: output * self.values[layer, which].to(output.dtype)


def option_loss(log_likelihoods: Tensor, lengths: Tensor, gold: int) -> Tensor:
    """Cross-entropy over the options of a question, whose scores are their log-likelihoods a token.

    Args:
        log_likelihoods: Of each option, nats, [options].
        lengths: Tokens of each, [options].
        gold: Number of the right one.
    """
    return -(log_likelihoods / lengths).log_softmax(0)[gold]


def train_extractor(
    adapters: Adapters,
    extractor: str,
    examples: Sequence[Example],
    schedule: Schedule,
    seed: int,
    weights: MergeWeights | None = None,
    progress: Callable[[int], None] = lambda _step: None,
) -> list[float]:
    """Train the extractor's adapter, and the merge weights if they are learnt, with all modules frozen.

    Args:
        adapters: The adapters, with a module for every document of the examples.
        extractor: Name of the extractor's adapter.
        examples: Questions of the documents to train on.
        schedule: How it is trained.
        seed: Of the order of the questions and of the dropout.
        weights: The merge weights; ``None`` leaves them at 1.
        progress: Hears of each update.

    Returns:
        The loss before each update, [steps].
    """
    drawn = random.Random(seed)
    trained = [*adapters.weights(extractor), *([weights.values] if weights else [])]

    def loss() -> Tensor:
        batch = drawn.choices(examples, k=schedule.batch)
        total = torch.zeros((), device=trained[0].device)
        for example in batch:
            adapters.use(example.adapter, extractor, train=extractor)
            reads = read_texts(adapters.module, [example.context] * len(example.options), example.options, hidden=False)
            scores = torch.stack([_likelihood(read.logits, o) for read, o in zip(reads, example.options, strict=True)])
            lengths = torch.tensor([len(option) for option in example.options], device=scores.device)
            total = total + option_loss(scores, lengths, example.gold) / len(batch)
        return total

    losses = []
    devices = [trained[0].device] if trained[0].is_cuda else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        for step, value in enumerate(optimise(trained, schedule, loss), 1):
            losses.append(value.item())
            progress(step)
    return losses


def join_adapters(
    adapters: Adapters, name: str, parts: Sequence[str], weights: MergeWeights | None, extractor: str
) -> None:
    """Make one plain adapter out of several, whose change is the weighted sum of theirs, or make it anew.

    A server that takes one adapter takes it.
    Its A is theirs one below the other, and its B theirs side by side, each times its weight: the rank is the sum.

    Args:
        adapters: The adapters.
        name: Of the new one.
        parts: Those that are joined.
        weights: The merge weights; ``None`` for 1.
        extractor: Which of the parts is the extractor, whose weight is w_E.
    """
    if not adapters.weights(name):
        adapters.add(name, 0, rank_times=len(parts))
    with torch.no_grad():
        for number, layer in enumerate(adapters.layers()):
            scaled = []
            for part in parts:
                weight = 1.0 if weights is None else weights.values[number, int(part == extractor)]
                scaled.append(layer.lora_B[part].weight * (weight * layer.scaling[part] / layer.scaling[name]))
            layer.lora_A[name].weight.copy_(torch.cat([layer.lora_A[part].weight for part in parts]))
            layer.lora_B[name].weight.copy_(torch.cat(scaled, 1))


def _likelihood(logits: Tensor, option: Sequence[int]) -> Tensor:
    tokens = torch.tensor(option, device=logits.device)
    return logits.float().log_softmax(-1).gather(1, tokens[:, None]).sum()
