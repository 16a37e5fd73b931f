"""Forward passes that read given texts, with logits and hidden states where they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from moecap.tasks.knowledge_module.losses import Read

__all__ = ["read_texts"]


def read_texts(
    module: torch.nn.Module, contexts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], *, hidden: bool = True
) -> list[Read]:
    """One pass over a batch of texts, each after its context.

    Shorter sequences are filled up behind their end, where a causal model sees nothing of it and a router chooses for
    each token alone; so each is read as it would be by itself.

    Args:
        module: The causal language model.
        contexts: Token ids before each text, at least one, [texts].
        targets: Token ids of each text, at least one, [texts].
        hidden: Whether the hidden states are wanted.
    """
    device = next(module.parameters()).device
    fed = [[*context, *target[:-1]] for context, target in zip(contexts, targets, strict=True)]
    longest = max(map(len, fed))
    ids = torch.tensor([[*tokens, *[0] * (longest - len(tokens))] for tokens in fed], device=device)
    first = min(map(len, contexts)) - 1
    output: Any = module(input_ids=ids, output_hidden_states=hidden, use_cache=False, logits_to_keep=longest - first)
    reads = []
    for number, (context, target) in enumerate(zip(contexts, targets, strict=True)):
        begin = len(context) - 1
        end = begin + len(target)
        states = torch.stack([state[number, begin:end] for state in output.hidden_states]) if hidden else ids[:0]
        reads.append(Read(output.logits[number, begin - first : end - first], states))
    return reads
