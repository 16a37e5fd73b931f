"""Log-likelihoods of given answers out of SGLang: each is sent as the end of a prompt, and nothing is generated."""

from __future__ import annotations

import json
from typing import Any

from moecap.backend import Continuation, Scored
from moecap.errors import RunError
from moecap.load.connection import Reply
from moecap_backends.served import explained

__all__ = ["score_body", "scored"]


def score_body(continuation: Continuation) -> dict[str, Any]:
    """The request for the log-probabilities of an answer's tokens."""
    return {
        "input_ids": [*continuation.context, *continuation.target],
        "sampling_params": {"temperature": 0, "max_new_tokens": 0},
        "return_logprob": True,
        "logprob_start_len": len(continuation.context) - 1,
        "top_logprobs_num": 1,
    }


def scored(continuation: Continuation, reply: Reply) -> Scored:
    """The score that a reply holds.

    Raises:
        RunError: If it holds none, or one of other tokens.
    """
    if reply.error is not None or reply.status != 200:
        raise RunError(f"SGLang cannot score {continuation.id!r}: {explained(reply)}")
    meta = json.loads(reply.body)["meta_info"]
    asked = len(continuation.target)
    given, best = meta["input_token_logprobs"][-asked:], meta["input_top_logprobs"][-asked:]
    if tuple(token for _, token, _ in given) != continuation.target:
        raise RunError(f"SGLang scored other tokens than those of {continuation.id!r}; report it with its version")
    greedy = all(own[0] >= top[0][0] for own, top in zip(given, best, strict=True))
    tokens = tuple(float(own[0]) for own in given)
    return Scored(sum(tokens), greedy, tokens)
