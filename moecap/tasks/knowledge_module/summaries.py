"""The model writes the summaries of a document itself; the teacher then reads them with the document before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from moecap.tasks.knowledge_module.texts import summary_request
from moecap.tokenizer import Tokenizer

__all__ = ["TOP_P", "write_summaries"]

TOP_P = 0.8
"""Share of the probability from which a summary's tokens are drawn (section 3 and the authors' code)."""


def write_summaries(
    module: Any, tokenizer: Tokenizer, chunk: Sequence[int], count: int, tokens: int, seed: int
) -> list[tuple[int, ...]]:
    """Some summaries of one chunk, drawn with ``TOP_P`` at temperature 1; an empty one is left out.

    Args:
        module: The model as transformers builds it, without an adapter.
        tokenizer: Its tokenizer.
        chunk: Token ids of the chunk.
        count: How many.
        tokens: Most tokens of each.
        seed: Of what is drawn.

    Returns:
        Token ids of each without the token that ends an answer, at most [count].
    """
    request = torch.tensor([summary_request(tokenizer, chunk)], device=module.device)
    ends = module.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(seed)
        drawn = module.generate(
            request,
            attention_mask=torch.ones_like(request),
            do_sample=True,
            temperature=1.0,
            top_p=TOP_P,
            top_k=0,
            num_return_sequences=count,
            max_new_tokens=tokens,
            pad_token_id=min(ends, default=0),
        )
    return [written for answer in drawn[:, request.shape[1] :].tolist() if (written := _until(answer, ends))]


def _until(answer: Sequence[int], ends: set[int]) -> tuple[int, ...]:
    """An answer up to the first token that ends it."""
    end = next((place for place, token in enumerate(answer) if token in ends), len(answer))
    return tuple(answer[:end])
