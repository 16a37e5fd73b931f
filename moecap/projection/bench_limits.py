"""What ``trtllm-bench`` gives an engine: it sizes batch and steps by the memory and by the lengths that it will send.

The rule, as its tuning code has it from 0.17 on: R requests fit in the cache, by its own estimate of the weights and
with at least one key head a rank; the batch is R, at most 4,096, and the tokens of a step are R·(1 + I/O), at most
32,768, both rounded up in steps; a step holds a whole prompt, since chunked prefill is off by default. Source:
``tensorrt_llm/bench/build/tuning.py``.
"""

from __future__ import annotations

import math

from moecap.dtypes import dtype_bytes
from moecap.models.accounting import count_parameters
from moecap.projection.capacity import usable_bytes
from moecap.projection.deployment import Deployment

__all__ = ["TUNED_BENCH", "tuned_limits"]

TUNED_BENCH = ("trtllm-0.17", "trtllm-1.0")
"""The published tables whose tool sizes so; 0.14 read fixed settings from a file."""

_SHARE, _MOST_SEQUENCES, _MOST_TOKENS = 0.95, 4096, 32_768


def tuned_limits(deployment: Deployment, input_tokens: float, output_tokens: float) -> tuple[int, int]:
    """Most sequences and most tokens in a step, of each replica of the attention.

    Args:
        deployment: The deployment.
        input_tokens: I.
        output_tokens: O.
    """
    spec, split = deployment.spec, deployment.parallelism
    attention = spec.layers[0].attention
    ranks = split.tensor * split.data
    weights = count_parameters(spec).total * dtype_bytes(spec.weight_dtypes["experts"])
    cache = _SHARE * (deployment.devices * usable_bytes(deployment.hardware) - weights)
    heads = max(ranks, attention.kv_heads)
    entry = 2 * len(spec.layers) * heads * attention.key_dim * dtype_bytes(spec.kv_dtype)
    fit = max(1.0, cache / (entry * (input_tokens + output_tokens)))
    batch = min(fit, _MOST_SEQUENCES) / split.pipeline
    tokens = min(batch * (1.0 + input_tokens / output_tokens), _MOST_TOKENS)
    step = 32 if batch < 256 else 128 if batch < 1024 else 256
    chunk = 256 if tokens < 4096 else 512 if tokens < 8192 else 1024
    most = max(2048, chunk * math.ceil(tokens / chunk), math.ceil(input_tokens))
    return max(64, step * math.ceil(batch / step)), most
