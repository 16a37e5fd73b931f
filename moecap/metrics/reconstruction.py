"""Engine steps from what a client sees, for engines that give no record of their steps.

Tokens that one engine step produced arrive together, and a request gets one token a step. So tokens are ordered by
their time of arrival and cut into steps: a new step begins where a request comes a second time, where a request answers
that was sent only after the step's first token had come, and where nothing came for a while. The last rule can cut a
step whose tokens arrived scattered; such cuts are taken back where they leave out a request that was still answering,
since an engine advances all of its running requests in each step.

A step's time is the time from the arrival of the step before it (or from when its requests were sent, if that is later)
to the arrival of its first token: the pass of the model, with what the engine does between two passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.metrics.chunked_prefill import spread_prompts
from moecap.observations.reader import Ragged, Steps
from moecap.observations.schema import BEARING, Phase

__all__ = ["ReconstructedSteps", "reconstruct_steps"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

PAUSES = (0.05, 0.1, 0.2, 0.35, 0.5)
"""Times without a token, as shares of the median gap between the tokens of one request, that may end a step. Of these
and of ``BURSTS`` the first two are taken with which the arrivals are in lockstep, else the best."""

BURSTS = (0.0, 0.05, 0.2)
"""Times between two chunks of a request, as shares of the mean time a token, up to which both came late together."""

IN_LOCKSTEP = 0.999
"""Share of tokens in lockstep with which no longer pause is tried."""

REPAIRS = 12
"""Most rounds in which the pieces of scattered steps are put together."""


@dataclass(frozen=True, slots=True)
class ReconstructedSteps:
    """The steps of a load.

    Attributes:
        steps: The steps in the order in which they ended; routed experts are not among them.
        lockstep: Share of a request's tokens after which its next one came in the very next step that decodes: 1 where
            the arrivals agree with an engine that advances every running request in each step. Tokens that came
            together at the start of an answer show no such thing and count as out of step.
    """

    steps: Steps
    lockstep: float


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Received tokens by request and then in order, each [tokens].

    Attributes:
        owner: Row of the request.
        number: 1 for its first token.
        time: When it came, ns; for all but the last token of a burst spread over the time since the one before it.
        seen: Whether the time is that of a chunk.
        last: Whether it is the last that came.
        guessed: Whether it came in one burst with the first of its request, so that nothing tells when it was made.
    """

    owner: IntArray
    number: IntArray
    time: npt.NDArray[np.float64]
    seen: BoolArray
    last: BoolArray
    guessed: BoolArray


def reconstruct_steps(
    requests: pd.DataFrame, chunks: pd.DataFrame, most_tokens: int | None = None
) -> ReconstructedSteps | str:
    """The engine steps of a load from the arrivals of its tokens.

    Args:
        requests: The requests of the load.
        chunks: Received chunks.
        most_tokens: Tokens that the engine feeds in one step at most, prompts in parts; ``None`` where that is not
            known, and each prompt counts as fed in one.

    Returns:
        The steps, or why there are none.
    """
    known = requests.sort_values("request")
    bearing = chunks[chunks["kind"].isin(BEARING) & chunks["request"].isin(known["request"])]
    if bearing.empty:
        return "no token of the load was received"
    if "choice" in bearing and (bearing["choice"].fillna(0) > 0).any():
        return "requests had several answers each, and tokens of one step are then not told apart"
    if bearing["tokens"].isna().any():
        return "the tokens of a chunk are not known, so neither are the steps that produced them"
    bearing = bearing.sort_values(["request", "time_ns", "tokens"], kind="stable")
    answered = np.unique(bearing["request"].to_numpy(np.int64))
    known = known[known["request"].isin(answered)]
    if not bearing["tokens"].max():
        return "no token of the load was received"
    owner, sent = (
        np.searchsorted(answered, bearing["request"].to_numpy(np.int64)),
        known["sent_ns"].to_numpy(np.float64),
    )
    tokens, step, lockstep = _best_cut(bearing, owner, sent)
    steps = _steps(tokens, step, known)
    if most_tokens is not None:
        steps = spread_prompts(steps, known, most_tokens, mixes=_mixes(tokens, step))
    return ReconstructedSteps(steps, lockstep)


def _tokens(bearing: pd.DataFrame, owner: IntArray, sent: npt.NDArray[np.float64], within: float) -> _Tokens:
    """One row a token from one row a chunk, with the tokens of a burst spread over the time before it.

    Args:
        bearing: Chunks that bear tokens, by request and then in order.
        owner: Row of each one's request, [chunks].
        sent: When each request was sent, ns; none of its tokens came before.
        within: Largest time between chunks of a burst, as a share of the mean time a token.
    """
    time, so_far = bearing["time_ns"].to_numpy(np.float64), bearing["tokens"].to_numpy(np.int64)
    opens = np.diff(owner, prepend=-1) != 0
    new = np.where(opens, so_far, np.diff(so_far, prepend=0))
    typical = _mean_gap(owner, time, so_far)
    # A client that falls behind reads at once what came over several steps: such chunks are one burst.
    burst = np.cumsum(opens | (np.diff(time, prepend=time[0]) > within * typical * np.maximum(new, 1))) - 1
    begins = np.flatnonzero(np.diff(burst, prepend=-1))
    size, end = np.add.reduceat(new, begins), np.maximum.reduceat(time, begins)
    since_sending = np.maximum(end - sent[owner[begins]], 0.0) / np.maximum(size, 1)
    since_the_last = (end - np.roll(end, 1)) / np.maximum(size, 1)
    gap = np.where(opens[begins], np.minimum(typical, since_sending), since_the_last)
    row = np.repeat(np.arange(len(size)), size)
    behind = np.repeat(np.cumsum(size), size) - 1 - np.arange(len(row))
    owners = owner[begins][row]
    starts = np.flatnonzero(np.diff(owners, prepend=-1) != 0)
    number = np.arange(len(row)) - np.repeat(starts, np.diff(starts, append=len(row))) + 1
    return _Tokens(
        owner=owners,
        number=number,
        time=end[row] - behind * gap[row],
        seen=behind == 0,
        last=np.diff(owners, append=-1) != 0,
        guessed=opens[begins][row] & (number > 1),
    )


def _mean_gap(owner: IntArray, time: npt.NDArray[np.float64], so_far: IntArray) -> float:
    """Mean time between the tokens of a request, the median over requests; 0 where none has more than one chunk."""
    begins = np.flatnonzero(np.diff(owner, prepend=-1) != 0)
    ends = np.append(begins[1:], len(owner)) - 1
    more = so_far[ends] - so_far[begins]
    gaps = (time[ends] - time[begins])[more > 0] / more[more > 0]
    return float(np.median(gaps)) if len(gaps) else 0.0


def _best_cut(bearing: pd.DataFrame, owner: IntArray, sent: npt.NDArray[np.float64]) -> tuple[_Tokens, IntArray, float]:
    """The tokens, the step of each, [tokens], and the share of them in lockstep."""
    best: tuple[_Tokens, IntArray, float] | None = None
    for within in BURSTS:
        tokens = _tokens(bearing, owner, sent, within)
        for step in _cuts(tokens, sent):
            lockstep = _lockstep(tokens, step)
            if best is None or lockstep > best[2]:
                best = tokens, step, lockstep
            if lockstep >= IN_LOCKSTEP:
                return best
    assert best is not None
    return best


def _cuts(tokens: _Tokens, sent: npt.NDArray[np.float64]) -> Iterator[IntArray]:
    """The step of each token by each of ``PAUSES``, [tokens]."""
    order = np.argsort(tokens.time, kind="stable")
    n = len(order)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    # The earliest token with which each one can be in a step: after the request's last one, after it was sent.
    before = np.where(tokens.number > 1, np.roll(place, 1), -1)[order]
    time, owner, number = tokens.time[order], tokens.owner[order], tokens.number[order]
    after_sending = np.where(number == 1, np.searchsorted(time, sent[owner], side="right"), 0)
    needed = np.minimum(np.maximum(before + 1, after_sending), np.arange(n))
    gap, typical = np.diff(time, prepend=time[0]), _median_gap(tokens)
    for pause in PAUSES:
        ends = (gap > pause * typical) & tokens.seen[order]
        starts = _greedy(np.where(ends, np.arange(n), needed))
        for _ in range(REPAIRS):
            joined = _join_scattered(starts, needed, gap, number, tokens.last[order])
            if len(joined) == len(starts):
                break
            starts = joined
        step = np.empty(n, np.int64)
        step[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=n))
        yield step


def _mixes(tokens: _Tokens, step: IntArray) -> bool:
    """Whether the engine feeds prompts beside requests that decode, or lets these wait while it does."""
    count = int(step.max()) + 1
    first, later = (
        np.bincount(step[chosen], minlength=count) > 0 for chosen in (tokens.number == 1, tokens.number > 1)
    )
    follows = np.flatnonzero(tokens.number[1:] > 1) + 1
    waiting = np.zeros(count + 1, np.int64)
    np.add.at(waiting, step[follows - 1] + 1, 1)
    np.add.at(waiting, step[follows], -1)
    passed_over = first & ~later & (np.cumsum(waiting)[:-1] > 0)
    return bool((first & later).sum() >= passed_over.sum())


def _median_gap(tokens: _Tokens) -> float:
    gaps = np.diff(tokens.time)[tokens.number[1:] > 1]
    return float(np.median(gaps)) if len(gaps) else 0.0


def _greedy(needed: IntArray) -> IntArray:
    """Starts of the longest pieces in which no token needs a later start.

    Args:
        needed: Earliest start of a piece that may hold each token, at most its own place, [tokens].
    """
    n = len(needed)
    stop = np.full(n + 1, n, np.int64)
    limited = np.flatnonzero(needed > 0)[::-1]
    stop[needed[limited] - 1] = limited  # of several, the first token wins: it is written last
    stop = np.minimum.accumulate(stop[::-1])[::-1]
    chain, starts, at = stop.tolist(), [], 0
    while at < n:
        starts.append(at)
        at = chain[at]
    return np.array(starts, np.int64)


def _join_scattered(
    starts: IntArray, needed: IntArray, gap: npt.NDArray[np.float64], number: IntArray, last: BoolArray
) -> IntArray:
    """Starts without some of those that a pause made inside one step.

    Two pieces are one step if nothing forbids it, the second decodes, and the first holds a request that goes on: it
    would be in the second if that were another step. Of such pairs those are joined that lie nearest.
    """
    forced = np.maximum.reduceat(needed, starts)[1:] > starts[:-1]
    decodes = np.maximum.reduceat(number, starts)[1:] > 1
    goes_on = (~np.logical_and.reduceat(last, starts))[:-1]
    distance = np.where(~forced & decodes & goes_on, gap[starts[1:]], np.inf)
    beside = np.concatenate([[np.inf], distance, [np.inf]])
    nearest = np.isfinite(distance) & (distance <= beside[:-2]) & (distance < beside[2:])
    keep = np.ones(len(starts), bool)
    keep[1:] = ~nearest
    joined: IntArray = starts[keep]
    return joined


def _steps(tokens: _Tokens, step: IntArray, requests: pd.DataFrame) -> Steps:
    """Steps from the step of each token."""
    count = int(step.max()) + 1
    by_step = np.lexsort((tokens.time, step))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(step, minlength=count))])
    owner, number, time = tokens.owner[by_step], tokens.number[by_step], tokens.time[by_step]
    sent = requests["sent_ns"].to_numpy(np.float64)
    came, before = np.minimum.reduceat(time, offsets[:-1]), np.roll(tokens.time, 1)[by_step]
    tied = before >= np.repeat(came, np.diff(offsets))  # the step before it, which came with it, says when it was ready
    ready = np.where(number == 1, sent[owner], np.where(tied, -np.inf, before))
    could_begin = np.minimum.reduceat(ready, offsets[:-1])
    ends = _untied(came, could_begin)
    begins = np.maximum(could_begin, np.concatenate([[-np.inf], ends[:-1]]))
    prompt = requests["input_tokens"].fillna(requests["input_tokens_asked"]).to_numpy(np.int64)[owner]
    cached = np.minimum(requests["cached_tokens"].fillna(0).to_numpy(np.int64)[owner], prompt - 1)
    prefill = number == 1
    ids = requests["request"].to_numpy(np.int64)

    def column(values: npt.NDArray[np.integer[Any]]) -> Ragged:
        return Ragged(values, offsets)

    return Steps(
        stage=np.full(count, "load"),
        start_ns=np.rint(begins).astype(np.int64),
        duration_ns=np.maximum(np.rint(ends - begins), 1).astype(np.int64),
        seq_request=column(ids[owner]),
        seq_start=column(np.where(prefill, cached, prompt + number - 2)),
        seq_new=column(np.where(prefill, prompt - cached, 1)),
        seq_phase=column(np.where(prefill, Phase.PREFILL, Phase.DECODE).astype(np.int8)),
        logits_tokens=np.diff(offsets),
        distinct_experts=Ragged(np.empty(0, np.int64), np.zeros(count + 1, np.int64)),
    )


def _untied(ends: npt.NDArray[np.float64], could_begin: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ends of steps, with those that one read of the socket brought together spread over the time before it.

    Args:
        ends: When the first token of each step came, ascending, ns, [steps].
        could_begin: When the first request of each step was ready for it, [steps].
    """
    distinct, group, size = np.unique(ends, return_inverse=True, return_counts=True)
    first = np.searchsorted(ends, distinct)
    rank = np.arange(len(ends)) - first[group]
    ready = np.minimum(could_begin[first], distinct)
    before = np.maximum(np.concatenate([[-np.inf], distinct[:-1]]), ready)[group]
    spread: npt.NDArray[np.float64] = np.where(
        size[group] > 1, before + (ends - before) * (rank + 1) / size[group], ends
    )
    return spread


def _lockstep(tokens: _Tokens, step: IntArray) -> float:
    decodes = np.zeros(int(step.max()) + 1, np.int64)
    decodes[step[tokens.number > 1]] = 1
    passed = np.cumsum(decodes)[step]
    follows = tokens.number[1:] > 1
    between, guessed = np.diff(passed)[follows], tokens.guessed[1:][follows]
    # from the first token, of a step that may not decode itself, the next step that decodes is one more
    return float(((between == 1) & ~guessed).mean()) if len(between) else 1.0
