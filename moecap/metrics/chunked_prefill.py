"""Prompts that an engine feeds over several steps, put into steps that were reconstructed as if each were fed in one.

An engine that feeds at most so many tokens a step takes the decoding sequences first and fills the rest with prompts in
their order of arrival; a prompt that does not fit goes on in the next step. Other engines let what decodes wait while
they feed prompts. Steps in which nothing but such a part was
fed answer nobody, so no client sees them: they lie in the time before the next step that it sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.observations.reader import Ragged, Steps
from moecap.observations.schema import Phase

__all__ = ["spread_prompts"]

IntArray = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Parts:
    """Parts of prompts, one entry a part.

    Attributes:
        step: The step that a client saw, in which it was fed or before which.
        unseen: 0 in that step; 1 in the last unseen step before it, 2 in the one before that, and so on.
        request: Its request.
        start: Entries of the KV cache before it.
        new: Its tokens.
    """

    step: list[int] = field(default_factory=list)
    unseen: list[int] = field(default_factory=list)
    request: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    new: list[int] = field(default_factory=list)

    def add(self, step: int, unseen: int, request: int, start: int, new: int) -> None:
        """One part more."""
        self.step.append(step)
        self.unseen.append(unseen)
        self.request.append(request)
        self.start.append(start)
        self.new.append(new)


def spread_prompts(steps: Steps, requests: pd.DataFrame, most: int, *, mixes: bool) -> Steps:
    """The steps of an engine that feeds at most ``most`` tokens in one.

    Args:
        steps: Reconstructed steps with whole prompts.
        requests: The requests of the load, for when each was sent.
        most: Tokens of a step.
        mixes: Whether prompts are fed beside sequences that decode.

    Returns:
        The same where every step fits; else with prompts in parts, and with the steps that no client saw.
    """
    if not len(steps) or steps.tokens().max() <= most:
        return steps
    step = np.repeat(np.arange(len(steps)), steps.seq_new.lengths())
    prefill = steps.seq_phase.values == Phase.PREFILL
    sent = requests.set_index("request")["sent_ns"]
    asked = steps.seq_request.values[prefill]
    came = sent.loc[asked].to_numpy(np.int64)
    decoding = np.bincount(step[~prefill], minlength=len(steps))
    free = np.maximum(most - decoding, 0) if mixes else np.where(decoding > 0, 0, most)
    rows = np.flatnonzero(prefill)
    first = np.searchsorted(steps.start_ns, came)
    # A step is seen to begin when the one before it is read; the engine may take a prompt that was sent right after.
    running = np.searchsorted(steps.start_ns + steps.duration_ns, came, side="right")
    order = np.lexsort((came, step[prefill])).tolist()
    for at_once in (False, True):
        plan = _Plan(most, free.copy(), at_once=at_once)
        votes = sum(
            plan.place(
                first=int(first[number]),
                running=int(running[number]),
                last=int(step[rows[number]]),
                request=int(asked[number]),
                start=int(steps.seq_start.values[rows[number]]),
                tokens=int(steps.seq_new.values[rows[number]]),
            )
            for number in order
        )
        if votes <= 0:
            break
    return _rebuilt(steps, step, prefill, plan.parts)


class _Plan:
    """Where parts of prompts go.

    Args:
        most: Tokens of a step.
        free: Tokens that the decoding requests of each step leave, [steps].
        at_once: Whether a prompt may be fed in a step that a client saw begin before it sent the prompt.
    """

    def __init__(self, most: int, free: IntArray, *, at_once: bool) -> None:
        self.parts = _Parts()
        self._most, self._free, self._at_once = most, free, at_once
        self._decodes = free < most
        self._unseen: dict[int, list[int]] = {}  # free tokens of the unseen steps before a step, the last one first

    def place(self, *, first: int, running: int, last: int, request: int, start: int, tokens: int) -> int:
        """Put a prompt into the latest steps that can hold it; what they cannot goes into unseen steps.

        Args:
            first: First step that began after it was sent.
            running: First step that ended after it was sent.
            last: Step that feeds its end.
            request: Its request.
            start: Entries of the KV cache before it.
            tokens: Its tokens.

        Returns:
            1 if it was taken ``at_once``, since the later steps cannot hold it and an unseen one would have answered
            what decodes in them; -1 if it was not, since it would have ended a step earlier; 0 if that is open.
        """
        step, room = last, int(self._free[last])
        while room < tokens and step > (running if self._at_once or self._decodes[step : last + 1].all() else first):
            step -= 1
            room += int(self._free[step])
        vote = int(step < first) - int(step == first) if self._decodes[step : last + 1].all() else 0
        places = [(seen, 0, int(self._free[seen])) for seen in range(step, last + 1)]
        if room < tokens:
            # a request that decodes would be in an unseen step too, and be answered: none lies before such a step
            before = next((seen for seen in range(last, step - 1, -1) if not self._decodes[seen]), step)
            unseen = self._unseen.setdefault(before, [])
            missing = max(tokens - room - sum(unseen), 0)
            unseen += [self._most] * -(-missing // self._most)
            own = [(before, number, unseen[number - 1]) for number in range(len(unseen), 0, -1)]
            places = sorted([*places, *own], key=lambda place: (place[0], -place[1]))
        left = tokens
        for seen, number, holds in places:
            # the last one feeds the end of the prompt, and so a token of it
            part = left if (seen, number) == (last, 0) else min(holds, left - 1)
            if part <= 0:
                continue
            if number:
                self._unseen[seen][number - 1] -= part
            else:
                self._free[seen] -= part
            self.parts.add(seen, number, request, start + tokens - left, part)
            left -= part
        return vote


def _rebuilt(steps: Steps, step: IntArray, prefill: npt.NDArray[np.bool_], parts: _Parts) -> Steps:
    """Steps from the decoding sequences of the old ones and from the parts of prompts."""
    decode = ~prefill

    def joined(name: str, mine: list[int]) -> IntArray:
        return np.concatenate([getattr(steps, name).values[decode].astype(np.int64), np.array(mine, np.int64)])

    seen = np.concatenate([step[decode], np.array(parts.step, np.int64)])
    unseen = np.concatenate([np.zeros(int(decode.sum()), np.int64), np.array(parts.unseen, np.int64)])
    order = np.lexsort((-unseen, seen))
    seen, unseen = seen[order], unseen[order]
    opens = (np.diff(seen, prepend=-1) != 0) | (np.diff(unseen, prepend=-1) != 0)
    begins = np.flatnonzero(opens)
    offsets = np.append(begins, len(seen))
    new = joined("seq_new", parts.new)[order]
    phases = np.repeat([Phase.DECODE, Phase.PREFILL], [int(decode.sum()), len(parts.new)]).astype(np.int8)[order]
    old, hidden = seen[begins], unseen[begins] > 0
    tokens = np.add.reduceat(new, begins)
    # A step that was seen took its time together with the unseen ones before it; each takes a share by its tokens.
    groups = np.searchsorted(old, old)
    before = np.concatenate([[0], np.cumsum(tokens)])
    total = np.bincount(old, tokens, len(steps))[old]
    start = steps.start_ns[old] + np.rint(steps.duration_ns[old] * (before[:-1] - before[groups]) / total)
    end = steps.start_ns[old] + np.rint(steps.duration_ns[old] * (before[1:] - before[groups]) / total)
    return replace(
        steps,
        stage=steps.stage[old],
        start_ns=start.astype(np.int64),
        duration_ns=np.maximum(end - start, 1).astype(np.int64),
        seq_request=Ragged(joined("seq_request", parts.request)[order], offsets),
        seq_start=Ragged(joined("seq_start", parts.start)[order], offsets),
        seq_new=Ragged(new, offsets),
        seq_phase=Ragged(phases, offsets),
        logits_tokens=np.where(hidden, 0, steps.logits_tokens[old]),
        distinct_experts=Ragged(np.empty(0, np.int64), np.zeros(len(begins) + 1, np.int64)),
    )
