"""A causal language model for tasks in words: the loss of the right answer, and the answer that it finds most likely.

Adapters sit on the attention projections of the last blocks. What enters the first adapted block never changes, so it
is computed once for each text and kept; a pass then runs the adapted blocks alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from moecap.backend import Continuation
from moecap.errors import BadInputError
from moecap.tasks.adapter_routing.examples import Example
from moecap.tasks.adapter_routing.frozen_blocks import PASS, FrozenBlocks, block_number
from moecap.tasks.adapter_routing.settings import Settings
from moecap.tasks.adapter_routing.study import Study
from moecap.tasks.multiple_choice import continuation
from moecap.tokenizer import Tokenizer

__all__ = ["LanguageModel", "adapted_layers"]

ATTENTION = r".*attn.*"


class LanguageModel(Study):
    """The language model.

    Args:
        module: The model, in evaluation mode.
        tokenizer: Its tokenizer.
        settings: Say which layers are adapted.
    """

    def __init__(self, module: nn.Module, tokenizer: Tokenizer, settings: Settings) -> None:
        self.model, self._tokenizer = module, tokenizer
        self.layers = adapted_layers(module, settings)
        self._device = next(module.parameters()).device
        self._blocks = FrozenBlocks(module, self.layers)
        self._asked: dict[str, list[Continuation]] = {}

    def prepare(self, examples: Sequence[Example]) -> None:
        """Compute what enters the first adapted block for the examples with their right answers."""
        given = (self._continuations(example)[example.gold] for example in examples)
        self._blocks.keep([c.context + c.target[:-1] for c in given])

    def losses(self, examples: Sequence[Example]) -> Tensor:
        """Mean over the right answer's tokens of their cross-entropy."""
        given = [self._continuations(example)[example.gold] for example in examples]
        likelihoods = self._log_likelihoods([(c.context + c.target[:-1], [c.target]) for c in given])
        return torch.stack([-tokens.mean() for (tokens,) in likelihoods])

    def answers(self, examples: Sequence[Example]) -> list[int]:
        """The answer of the highest mean log-likelihood per token."""
        texts: list[tuple[tuple[int, ...], list[tuple[int, ...]]]] = []
        places: list[tuple[int, int]] = []
        for number, example in enumerate(examples):
            alike: dict[tuple[int, ...], list[int]] = {}
            continuations = self._continuations(example)
            for answer, c in enumerate(continuations):
                alike.setdefault(c.context + c.target[:-1], []).append(answer)
            for text, of in alike.items():
                texts.append((text, [continuations[answer].target for answer in of]))
                places += [(number, answer) for answer in of]
        scores: list[float] = []
        self._blocks.keep([text for text, _ in texts])
        with torch.no_grad():
            for first in range(0, len(texts), PASS):
                for of_text in self._log_likelihoods(texts[first : first + PASS]):
                    scores += [float(tokens.mean()) for tokens in of_text]
        best: list[tuple[float, int]] = [(float("-inf"), 0)] * len(examples)
        for (number, answer), score in zip(places, scores, strict=True):
            best[number] = max(best[number], (score, -answer))
        return [-answer for _, answer in best]

    def _continuations(self, example: Example) -> list[Continuation]:
        """Token ids of each answer after the prompt."""
        if example.id not in self._asked:
            self._asked[example.id] = [
                continuation(self._tokenizer, f"{example.id}#{number}", example.prompt, answer)
                for number, answer in enumerate(example.answers)
            ]
        return self._asked[example.id]

    def _log_likelihoods(
        self, texts: Sequence[tuple[tuple[int, ...], Sequence[tuple[int, ...]]]]
    ) -> Iterator[list[Tensor]]:
        """Log-likelihood of each token of each answer of each text.

        Args:
            texts: Token ids, and the answers whose last token comes after them.
        """
        targets = [(number, answer) for number, (_, answers) in enumerate(texts) for answer in answers]
        places = [
            (number, row)
            for number, answer in targets
            for row in range(len(texts[number][0]) - len(answer), len(texts[number][0]))
        ]
        logp = self._blocks.logits([ids for ids, _ in texts], places).float().log_softmax(-1)
        ids = torch.tensor([token for _, answer in targets for token in answer], device=self._device)
        found = iter(logp.gather(1, ids[:, None])[:, 0].split([len(answer) for _, answer in targets]))
        for _, answers in texts:
            yield [next(found) for _ in answers]


def adapted_layers(module: nn.Module, settings: Settings) -> list[str]:
    """Names of the linear layers that are adapted, in the model's order.

    Raises:
        BadInputError: If there are none.
    """
    known = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    try:
        wanted = re.compile(settings.layers or ATTENTION)
    except re.error as error:
        raise BadInputError(f"--task-arg layers={settings.layers}: no regular expression ({error})") from None
    blocks = {name: number for name in known if wanted.fullmatch(name) and (number := block_number(name)) is not None}
    if not blocks:
        raise BadInputError(
            f"--task-arg layers={wanted.pattern}: it is the whole name of no linear layer of a block of the model, "
            f"which has {len(known)}, such as {known[0] if known else 'none'}; give a regular expression that is"
        )
    numbers = sorted(set(blocks.values()))
    last = set(numbers if settings.blocks is None else numbers[-settings.blocks :])
    return [name for name, number in blocks.items() if number in last]
