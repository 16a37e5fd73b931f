"""A scheduler of continuous batching, event by event: requests arrive, are admitted, prefilled, decoded, preempted.

A step feeds one token to every sequence that decodes and, within the budget of tokens, chunks of the prompts that were
admitted, first come first served. A request is admitted when a place and the cache for its prompt (for its whole length
where the engine reserves) are free. Where the cache runs full, the sequence that was admitted last gives way and is
prefilled anew, with what it had answered, when there is room again. Blocks are counted as half a block of waste a
sequence; where there is a prefix cache, what sequences share is counted once. A turn of a session is sent when the
answer before it has ended and its wait is over.

Between two events (a request arrives, is admitted or ends; the cache runs full) all steps are alike but for the
contexts, which grow by one, so their times are a series that is summed at once: the cost is by events, not by tokens.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moecap.projection.capacity import EngineLimits
from moecap.projection.prefix_cache import PrefixCache
from moecap.projection.requests import Requests
from moecap.projection.step_table import StepTable

__all__ = ["BLOCK_WASTE", "Scheduler", "Simulation"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK_WASTE = 8.0
"""Cache entries of the last block of a sequence that are empty, on average."""


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """What happened; seconds from the start of the load.

    Attributes:
        sent: When each request was sent, float64 [R].
        start: When each step started, float64 [T].
        duration: How long each took, float64 [T].
        decoded: Stretches of steps in which a request decoded: request, first step, steps, cache entries before the
            first of them, int64 [D, 4].
        fed: Chunks of prompts: request, step, cache entries before it, tokens, whether the prompt ended, int64 [C, 5].
        cached: Tokens of each prompt that the prefix cache served, int64 [R].
        preemptions: Times that a sequence gave way.
    """

    sent: Floats
    start: Floats
    duration: Floats
    decoded: Ints
    fed: Ints
    cached: Ints
    preemptions: int

    def token_steps(self, request: int) -> Ints:
        """The steps at whose end each token of an answer came, int64 [tokens]."""
        first = self.fed[(self.fed[:, 0] == request) & (self.fed[:, 4] == 1), 1]
        stretches = self.decoded[self.decoded[:, 0] == request]
        later = [np.arange(step, step + count) for _, step, count, _ in stretches.tolist()]
        return np.sort(np.concatenate([first, *later])).astype(np.int64)


@dataclass(slots=True)
class _Sequence:
    """A request in the engine: ``goal`` tokens are to be prefilled, ``filled`` are, ``made`` are answered.

    ``begun`` says whether a step fed it, ``blocks`` are those of the prefix cache that it holds.
    """

    request: int
    goal: int
    filled: int = 0
    made: int = 0
    since: int = 0
    base: int = 0
    admitted: int = 0
    begun: bool = False
    blocks: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Scheduler:
    """The state of the scheduler; all it takes and has done so far.

    Args:
        table: Times of steps.
        requests: The load.
        prompts: Tokens of each whole prompt, [R].
        limits: What the engine allows, over all replicas.
        room: Cache entries that fit.
        outside: Seconds from the sending of each request to the scheduler, [R].
        cache: The prefix cache, where there is one.
        chains: The blocks of each request, where there is one, [R].
    """

    table: StepTable
    requests: Requests
    prompts: list[int]
    limits: EngineLimits
    room: float
    outside: Floats
    cache: PrefixCache | None = None
    chains: list[list[int]] = field(default_factory=list)
    now: float = 0.0
    steps: int = 0
    used: float = 0.0
    contexts: int = 0
    admissions: int = 0
    preemptions: int = 0
    next: int = 0
    waiting: deque[_Sequence] = field(default_factory=deque)
    filling: deque[_Sequence] = field(default_factory=deque)
    running: dict[int, _Sequence] = field(default_factory=dict)
    ends: list[tuple[int, int]] = field(default_factory=list)
    coming: list[tuple[float, int]] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    starts: list[Floats] = field(default_factory=list)
    durations: list[Floats] = field(default_factory=list)
    decoded: list[tuple[int, int, int, int]] = field(default_factory=list)
    fed: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)

    def run(self) -> Simulation:
        """Serve every request."""
        count = len(self.requests.input_tokens)
        self.sent, self.cached = [0.0] * count, [0] * count
        if self.requests.arrivals is None:
            for _ in range(min(self.requests.concurrency, len(self.requests.firsts))):
                self._start(0.0)
        else:
            for at in self.requests.arrivals.tolist():
                self._start(at)
        while self.coming or self.waiting or self.filling or self.running:
            self._arrive()
            self._admit()
            if self.filling:
                self._mixed_step()
            elif self.running:
                self._decode_steps()
            else:
                self.now = max(self.now, self.coming[0][0])
        return Simulation(
            sent=np.array(self.sent),
            start=np.concatenate(self.starts),
            duration=np.concatenate(self.durations),
            decoded=np.array(self.decoded, np.int64).reshape(-1, 4),
            fed=np.array(self.fed, np.int64).reshape(-1, 5),
            cached=np.array(self.cached, np.int64),
            preemptions=self.preemptions,
        )

    def _start(self, at: float) -> None:
        """Send the first request of the next session."""
        self._send(int(self.requests.firsts[self.next]), at)
        self.next += 1

    def _send(self, request: int, at: float) -> None:
        """Send a request; it reaches the scheduler once the engine has read it."""
        self.sent[request] = at
        heapq.heappush(self.coming, (at + float(self.outside[request]), request))

    def _arrive(self) -> None:
        while self.coming and self.coming[0][0] <= self.now:
            _, request = heapq.heappop(self.coming)
            self.waiting.append(_Sequence(request, self.prompts[request]))

    def _admit(self) -> None:
        while self.waiting and len(self.running) + len(self.filling) < self.limits.sequences:
            sequence = self.waiting[0]
            there = self._leading(sequence)
            takes = self._taken(sequence)
            if self.cache is not None:
                takes -= self.cache.held(there) * self.cache.block_tokens
            if self.used + takes > self.room:
                return
            self.waiting.popleft()
            if self.cache is not None:
                self._reuse(sequence, there)
            self.used += takes
            sequence.admitted = self.admissions
            self.admissions += 1
            self.filling.append(sequence)

    def _taken(self, sequence: _Sequence) -> float:
        """Cache entries that a sequence takes when it is admitted."""
        if self.limits.reserves:
            request = sequence.request
            return float(self.prompts[request] + self.requests.output_tokens[request]) + BLOCK_WASTE
        return sequence.goal + 1 + BLOCK_WASTE

    def _leading(self, sequence: _Sequence) -> list[int]:
        """The blocks of the prefix cache that a sequence can start from."""
        if self.cache is None:
            return []
        self.cache.shrink(self.room - self.used)
        return self.cache.leading(self.chains[sequence.request], sequence.goal)

    def _reuse(self, sequence: _Sequence, blocks: list[int]) -> None:
        """Let a sequence start from blocks that are there, beside those that it has."""
        assert self.cache is not None
        self.cache.take(blocks)
        sequence.blocks += blocks
        sequence.filled = len(sequence.blocks) * self.cache.block_tokens
        if not sequence.made:  # else it was preempted, and what it starts from is no part of the prompt's first feeding
            self.cached[sequence.request] = sequence.filled

    def _reuse_more(self, sequence: _Sequence) -> None:
        """Let a sequence that was not fed yet also start from blocks that came after it was admitted."""
        if self.cache is not None and not sequence.begun:
            more = self.cache.leading(self.chains[sequence.request], sequence.goal)[len(sequence.blocks) :]
            self.used -= self.cache.held(more) * self.cache.block_tokens
            self._reuse(sequence, more)

    def _keep(self, sequence: _Sequence, tokens: int) -> None:
        """Let the prefix cache have the whole blocks among the first tokens of a sequence."""
        if self.cache is not None:
            whole = self.chains[sequence.request][: tokens // self.cache.block_tokens]
            sequence.blocks += self.cache.add(whole)

    def _free(self, sequence: _Sequence, taken: float) -> None:
        """Give back the room of a sequence, all but what others hold too; its blocks are kept while there is room."""
        self.used -= taken
        if self.cache is not None:
            self.used += self.cache.give(sequence.blocks) * self.cache.block_tokens
            sequence.blocks = []

    def _mixed_step(self) -> None:
        """One step with chunks of prompts."""
        self._make_room()
        batch = len(self.running)
        left = max(self.limits.step_tokens - batch, 1)
        chunks: list[tuple[int, int]] = []
        ended: list[_Sequence] = []
        while self.filling and left > 0:
            sequence = self.filling[0]
            self._reuse_more(sequence)
            sequence.begun = True
            new = min(left, sequence.goal - sequence.filled)
            chunks.append((sequence.filled, new))
            ends = sequence.filled + new == sequence.goal
            self.fed.append((sequence.request, self.steps, sequence.filled, new, int(ends)))
            sequence.filled += new
            left -= new
            self._keep(sequence, sequence.filled)
            if ends:
                ended.append(self.filling.popleft())
        seconds = self.table.mixed(batch, self._context() + 1.0, chunks, len(ended))
        self._pass(np.array([seconds]))
        for sequence in ended:
            sequence.made += 1
            sequence.since, sequence.base = self.steps, sequence.goal
            if sequence.made == self.requests.output_tokens[sequence.request]:
                if not self.limits.reserves:
                    self._free(sequence, self._taken(sequence))
                self._leave(sequence)
                continue
            self.running[sequence.request] = sequence
            self.contexts += sequence.goal
            to_come = int(self.requests.output_tokens[sequence.request]) - sequence.made
            heapq.heappush(self.ends, (self.steps + to_come, sequence.request))
        self._finish()

    def _decode_steps(self) -> None:
        """All steps up to the next event."""
        self._make_room()
        batch, context = len(self.running), self._context() + 1.0
        while self.ends[0][1] not in self.running or self._end_of(self.ends[0][1]) != self.ends[0][0]:
            heapq.heappop(self.ends)
        count = self.ends[0][0] - self.steps
        if not self.limits.reserves:
            count = min(count, max(1, int((self.room - self.used) // batch)))
        first = self.table.decode(batch, context)
        last = self.table.decode(batch, context + count - 1)
        times = np.linspace(first, last, count)
        if self.coming:
            until = np.searchsorted(np.cumsum(times), self.coming[0][0] - self.now) + 1
            times = times[: max(1, int(until))]
        self._pass(times)
        self._finish()

    def _pass(self, times: Floats) -> None:
        """Let steps pass: every running sequence makes a token in each."""
        ends = self.now + np.cumsum(times)
        self.starts.append(ends - times)
        self.durations.append(times)
        self.now = float(ends[-1])
        self.steps += len(times)
        grown = len(self.running) * len(times)
        self.contexts += grown
        if not self.limits.reserves:
            self.used += grown

    def _finish(self) -> None:
        """Let those leave that have made their last token."""
        while self.ends and self.ends[0][0] <= self.steps:
            end, request = heapq.heappop(self.ends)
            if request in self.running and self._end_of(request) == end:
                sequence = self.running[request]
                self._stop(sequence)
                self._leave(sequence)

    def _stop(self, sequence: _Sequence) -> None:
        """Take a sequence out of the batch and note the steps that it was in."""
        count = self.steps - sequence.since
        if count:
            self.decoded.append((sequence.request, sequence.since, count, sequence.base))
        del self.running[sequence.request]
        self.contexts -= sequence.base + count
        sequence.made += count
        self._keep(sequence, sequence.base + count)
        if not self.limits.reserves:
            self._free(sequence, sequence.base + count + 1 + BLOCK_WASTE)

    def _leave(self, sequence: _Sequence) -> None:
        """End a request: the next turn of its session follows after its wait; else, in a closed loop, a session."""
        if self.limits.reserves:
            self._free(sequence, self._taken(sequence))
        after, turns, waits = sequence.request + 1, self.requests.turns, self.requests.waits
        if after < len(turns) and turns[after]:
            self._send(after, self.now + (0.0 if waits is None else float(waits[after])))
        elif self.requests.arrivals is None and self.next < len(self.requests.firsts):
            self._start(self.now)

    def _make_room(self) -> None:
        """Let the sequences that were admitted last give way until the others can grow."""
        if self.limits.reserves:
            return
        while len(self.running) > 1 and self.used + len(self.running) > self.room:
            last = max(self.running.values(), key=lambda sequence: sequence.admitted)
            self._stop(last)
            self.preemptions += 1
            request = last.request
            again = _Sequence(request, self.prompts[request] + last.made, made=last.made)
            self.waiting.appendleft(again)

    def _end_of(self, request: int) -> int:
        """The number of steps after which a running request has made its last token."""
        sequence = self.running[request]
        return sequence.since + int(self.requests.output_tokens[request]) - sequence.made

    def _context(self) -> float:
        """Mean cache entries of the running sequences."""
        return self.contexts / len(self.running) if self.running else 0.0
