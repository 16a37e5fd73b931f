"""Log-likelihoods of given answers from llama.cpp, which gives no log-probabilities of a prompt.

Each token of an answer is asked for as one generated token: a bias of 1000 makes the server choose it, and the
log-probability that comes back is that of the model's own distribution, before the bias. The first of ``top_logprobs``
says whether greedy decoding would have chosen the token too. The requests of one context follow each other, so that the
server feeds it once.

A token that ends inside a character brings no probabilities. It is read from the whole vocabulary in place of that, at
the place of another token.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from moecap.backend import Continuation, Scored
from moecap.errors import RunError
from moecap.load.connection import Reply

__all__ = ["Asked", "Found", "found_score", "score_body", "scored", "tokens_by_context"]

BIAS = 1000.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One token of one answer: number of the answer, place of the token in it."""

    continuation: int
    place: int


@dataclass(frozen=True, slots=True)
class Found:
    """Natural logarithm of the probability of a token, and whether it is the likeliest."""

    log_probability: float
    likeliest: bool


def tokens_by_context(continuations: Sequence[Continuation]) -> list[list[Asked]]:
    """All tokens to ask for, those of one context together, in the order of the answers."""
    groups: dict[tuple[int, ...], list[Asked]] = {}
    for number, continuation in enumerate(continuations):
        tokens = groups.setdefault(continuation.context, [])
        tokens += [Asked(number, place) for place in range(len(continuation.target))]
    return list(groups.values())


def score_body(continuation: Continuation, place: int, vocabulary: int = 0, whole: int = 0) -> bytes:
    """The request for one token.

    Args:
        continuation: The answer.
        place: Place of the token in it.
        vocabulary: Tokens of the whole vocabulary, to read the probability from all of them; 0 asks for the token.
        whole: A token that is whole text, to be generated where the whole vocabulary is read.
    """
    chosen = whole if vocabulary else continuation.target[place]
    body = {
        "prompt": [*continuation.context, *continuation.target[:place]],
        "n_predict": 1,
        "samplers": ["top_k"],
        "top_k": 1,
        "n_probs": vocabulary or 1,
        "logit_bias": [[chosen, BIAS]],
        "cache_prompt": True,
        "stream": False,
    }
    return json.dumps(body).encode()


def found_score(reply: Reply, token: int, from_all: bool) -> Found | None:
    """What a reply says of a token; ``None`` where it brings no probabilities.

    Args:
        reply: A whole reply with status 200.
        token: The token that was asked for.
        from_all: Whether the whole vocabulary was read.

    Raises:
        RunError: If the server generated another token than it was made to.
    """
    entries = json.loads(reply.body).get("completion_probabilities")
    if not entries:
        return None
    top = entries[0]["top_logprobs"]
    if from_all:
        own = next((entry["logprob"] for entry in top if entry["id"] == token), None)
        if own is None:
            raise RunError(f"llama.cpp lists {len(top)} tokens and not number {token}: it cannot be scored")
    else:
        if entries[0]["id"] != token:
            raise RunError(f"llama.cpp generated token {entries[0]['id']} where {token} was forced")
        own = entries[0]["logprob"]
    return Found(float(own), bool(top[0]["id"] == token))


def scored(tokens: Sequence[Found]) -> Scored:
    """The score of an answer from those of its tokens."""
    each = tuple(token.log_probability for token in tokens)
    return Scored(sum(each), all(token.likeliest for token in tokens), each)
