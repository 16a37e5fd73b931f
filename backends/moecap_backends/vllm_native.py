"""Routed experts as an attached vLLM gives them by itself, without a worker of ours.

A server that was started with ``--enable-return-routed-experts`` puts the experts of all of a request's tokens into its
answer; streamed, only on the path of its scale-out interface (``--enable-scale-out``), which takes and gives token ids.
Whether a server has both is tried with one small request, as nothing else tells.
"""

from __future__ import annotations

import json
from typing import Any

from moecap.backend import Prompt
from moecap.load.answers import decode_answer
from moecap.load.connection import Target
from moecap_backends.served import fetch, sampling_fields

__all__ = ["gives_routed_experts", "native_request"]

PATH = "/inference/v1/generate"
TRIED = {"token_ids": [1, 2, 3], "sampling_params": {"temperature": 0, "max_tokens": 1, "ignore_eos": True}}


def gives_routed_experts(target: Target, model: str) -> bool:
    """Whether the server answers on that path, and with routed experts."""
    reply = fetch(target, PATH, {**TRIED, "model": model}, timeout=60)
    return reply.error is None and reply.status == 200 and bool(decode_answer(reply).routed_experts)


def native_request(target: Target, model: str, prompt: Prompt) -> bytes:
    """A streamed generation from token ids, with the routed experts in its last chunk."""
    drawn: dict[str, Any] = {**sampling_fields(prompt.sampling), "max_tokens": prompt.output_tokens}
    body = {
        "model": model,
        "token_ids": list(prompt.tokens),
        "sampling_params": {**drawn, "ignore_eos": prompt.sampling.exact},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return target.request(PATH, json.dumps(body).encode())
