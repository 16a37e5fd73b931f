"""What experts give to the whole vocabulary, from a model in this process: the sums that the paper's loss takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moecap.backend import Engine
from moecap.tasks.moicl.datasets import Example
from moecap.tasks.moicl.mixture import Choices
from moecap.tokenizer import Tokenizer

__all__ = ["vocabulary_choices"]


def vocabulary_choices(
    engine: Engine,
    tokenizer: Tokenizer,
    experts: Sequence[str],
    items: Sequence[Example],
    answers: Sequence[Sequence[int]],
) -> Choices:
    """The points at which labelled items choose a token, every token of the vocabulary being a choice.

    Args:
        engine: It must give the model itself.
        tokenizer: The model's tokenizer.
        experts: The demonstrations of each expert as text.
        items: The labelled items.
        answers: The tokens of the right label or answer of each item.

    Raises:
        NotAvailableError: If the model is in another process.
    """
    import torch

    model = engine.in_process()
    points = []
    with model.borrowed() as module, torch.inference_mode():
        for item, path in zip(items, answers, strict=True):
            given = []
            for demonstrations in experts:
                tokens = [*tokenizer.encode_prompt(demonstrations + item.text), *path[:-1]]
                output = module(input_ids=torch.tensor([tokens], device=model.device), logits_to_keep=len(path))
                given.append(output.logits[0].float().log_softmax(-1).cpu().numpy())
            points.append(np.stack(given, axis=1))
    scores = np.concatenate(points)  # [points, experts, vocabulary], single precision
    right = np.array([token for path in answers for token in path], np.int64)
    return Choices(scores, np.zeros((len(scores), scores.shape[2]), bool), right, len(items))
