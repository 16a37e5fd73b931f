"""Which request each row of llama.cpp's recorded passes belongs to, and the engine steps that follow.

A pass tells tokens and positions and names no request. A request's prompt is known before, and its answer after the
load; a sequence is fed from its first position on, each once. So the rows that a pass has from a position on belong to
the request that is fed up to there and whose tokens they are; of several the one with most of them, and of equal ones
any, since they have the same length and the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.errors import RunError
from moecap.models.spec import ModelSpec, MoeFfn
from moecap.observations.recorder import RequestRecord
from moecap.observations.schema import Phase
from moecap_backends.llamacpp_passes import Pass

__all__ = ["fed_steps"]

IntArray = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Sequence:
    """A request that is being fed.

    Attributes:
        record: The request.
        prompt: Tokens of its prompt.
        known: Prompt and answer, as far as they are known.
        fed: Entries of the KV cache.
    """

    record: RequestRecord
    prompt: int
    known: npt.NDArray[np.int32]
    fed: int

    @property
    def over(self) -> bool:
        """Whether all of it was fed: all but the last token of a whole answer."""
        answered = self.record.output_tokens if self.record.status == "completed" else None
        return answered is not None and self.fed >= self.prompt + answered - 1

    def matches(self, rows: npt.NDArray[np.int32], positions: npt.NDArray[np.int32]) -> int:
        """How many of the first rows it may be fed: its next tokens of the prompt, or the next one of its answer."""
        most = min(self.prompt - self.fed if self.fed < self.prompt else 1, len(rows))
        expected = self.known[self.fed : self.fed + most]
        wrong = positions[:most] != np.arange(self.fed, self.fed + most)
        wrong[: len(expected)] |= rows[: len(expected)] != expected
        return int(np.argmax(wrong)) if wrong.any() else most


def fed_steps(
    passes: Iterator[Pass], requests: Sequence[tuple[RequestRecord, Sequence[int]]], spec: ModelSpec
) -> list[dict[str, Any]]:
    """The steps of a load, as :meth:`moecap.observations.recorder.Recorder.step` takes them.

    A token that the last layer does not compute, since nobody asks for its logits, has there the number after that of
    the last expert.

    Args:
        passes: Its passes, in their order.
        requests: Its requests, each with the tokens of its prompt.
        spec: The model.

    Raises:
        RunError: If a pass feeds what no request is to be fed, or has other layers than the model.
    """
    waiting = sorted(requests, key=lambda entry: entry[0].sent_ns)[::-1]
    active: list[_Sequence] = []
    steps = []
    for one in passes:
        while waiting and waiting[-1][0].sent_ns <= one.start_ns + one.duration_ns:
            record, prompt = waiting.pop()
            known = np.array([*prompt, *record.answer], np.int32)
            active.append(_Sequence(record, len(prompt), known, record.cached_tokens or 0))
        active = [sequence for sequence in active if not sequence.over]
        # the server may feed a request for a moment after the client has given it up: it gets what is nobody else's
        fed = _fed(one, sorted(active, key=lambda sequence: _given_up(sequence.record, one.start_ns)))
        phases = [Phase.PREFILL if start < sequence.prompt else Phase.DECODE for sequence, start, _ in fed]
        wanted = _with_logits(fed)
        steps.append(
            {
                "start_ns": one.start_ns,
                "duration_ns": one.duration_ns,
                "seq_request": [sequence.record.request for sequence, _, _ in fed],
                "seq_start": [start for _, start, _ in fed],
                "seq_new": [new for _, _, new in fed],
                "phase": phases,
                "logits_tokens": len(wanted),
                "experts": _experts(one, wanted, spec) if spec.is_moe else None,
                "num_experts": max((layer.experts for layer in spec.moe_layers), default=0),
            }
        )
    return steps


def _given_up(record: RequestRecord, at_ns: int) -> bool:
    """Whether a request had ended before without a whole answer."""
    return record.status != "completed" and record.ended_ns is not None and record.ended_ns < at_ns


def _fed(one: Pass, active: Sequence[_Sequence]) -> list[tuple[_Sequence, int, int]]:
    """Sequences of a pass with their entries before it and the tokens that it feeds."""
    fed: list[tuple[_Sequence, int, int]] = []
    at = 0
    while at < len(one.tokens):
        free = [s for s in active if all(s is not other for other, _, _ in fed) and s.fed == one.positions[at]]
        counts = [s.matches(one.tokens[at:], one.positions[at:]) for s in free]
        most = max(counts, default=0)
        if not most:
            raise RunError(
                f"llama.cpp fed token {one.tokens[at]} at position {one.positions[at]}, which no request of the load "
                "was to be fed then"
            )
        chosen = free[counts.index(most)]
        fed.append((chosen, chosen.fed, most))
        at += most
    for sequence, _, new in fed:
        sequence.fed += new
    return fed


def _with_logits(fed: Sequence[tuple[_Sequence, int, int]]) -> list[int]:
    """Rows of a pass whose logits are asked for: each token of an answer, and the last one of a prompt."""
    rows, at = [], 0
    for sequence, start, new in fed:
        at += new
        if start + new >= sequence.prompt:
            rows.append(at - 1)
    return rows


def _experts(one: Pass, wanted: Sequence[int], spec: ModelSpec) -> IntArray:
    """Selected experts, [tokens, MoE layers, k].

    Raises:
        RunError: If the routers of the pass are not those of the model.
    """
    mixtures = {number: layer.ffn for number, layer in enumerate(spec.layers) if isinstance(layer.ffn, MoeFfn)}
    not_computed = max(ffn.experts + ffn.zero_experts for ffn in mixtures.values())
    chosen = np.full((len(one.tokens), len(mixtures), max(ffn.top_k for ffn in mixtures.values())), not_computed)
    last = len(spec.layers) - 1
    for place, (number, ffn) in enumerate(mixtures.items()):
        rows: Any = wanted if number == last else slice(None)
        expected = len(wanted) if number == last else len(one.tokens)
        found = one.experts.get(number)
        if not expected and (found is None or not len(found)):
            continue
        if found is None or found.shape != (expected, ffn.top_k) or found.max(initial=0) >= ffn.experts:
            seen = "no experts" if found is None else f"{found.shape[0]} x {found.shape[1]} experts"
            raise RunError(
                f"llama.cpp's pass has {seen} in layer {number}, the model {expected} x {ffn.top_k} of {ffn.experts}"
            )
        chosen[rows, place] = found
    if unknown := sorted(one.experts.keys() - mixtures.keys()):
        raise RunError(f"llama.cpp's pass has experts in layer {unknown[0]}, in which the model has none")
    return chosen
