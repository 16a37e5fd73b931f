"""Continuous batching, event by event: requests arrive, are admitted, prefilled in chunks, decoded, preempted.

The scheduler is that of today's engines. A step feeds one token to every sequence that decodes and, within the budget
of tokens, chunks of the prompts that were admitted, first come first served. A request is admitted when a place and the
cache for its prompt (for its whole length where the engine reserves) are free. Where the cache runs full, the sequence
that was admitted last gives way and is prefilled anew, with what it had answered, when there is room again. Blocks are
counted as half a block of waste a sequence.

Between two events (a request arrives, is admitted or ends; the cache runs full) all steps are alike but for the
contexts, which grow by one, so their times are a series that is summed at once: the cost is by events, not by tokens.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError
from moecap.models.accounting import cache_bytes
from moecap.projection.capacity import LIMITS, EngineLimits, room
from moecap.projection.coefficients import Coefficients
from moecap.projection.step_table import StepTable
from moecap.projection.work import WorkModel

__all__ = ["Requests", "Simulation", "simulate"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BLOCK = 16


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """The load: a fixed number of requests in flight, or arrivals at their own times.

    Attributes:
        input_tokens: Tokens of each prompt, int64 [R].
        output_tokens: Tokens of each answer, at least 1, int64 [R].
        arrivals: Seconds at which each is sent, ascending, float64 [R]; ``None`` for a closed loop.
        concurrency: Requests in flight of a closed loop.
    """

    input_tokens: Ints
    output_tokens: Ints
    arrivals: Floats | None = None
    concurrency: int = 1

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            BadInputError: If there is no request, or one without a prompt or an answer, or arrivals do not ascend.
        """
        counts = {len(self.input_tokens), len(self.output_tokens)}
        counts |= set() if self.arrivals is None else {len(self.arrivals)}
        if counts == {0} or len(counts) > 1 or min(self.input_tokens.min(), self.output_tokens.min()) < 1:
            raise BadInputError("a load needs requests with at least one token in and one out each; give some")
        if self.arrivals is not None and np.any(np.diff(self.arrivals) < 0):
            raise BadInputError("arrivals do not ascend; sort them")


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
        preemptions: Times that a sequence gave way.
    """

    sent: Floats
    start: Floats
    duration: Floats
    decoded: Ints
    fed: Ints
    preemptions: int

    def token_steps(self, request: int) -> Ints:
        """The steps at whose end each token of an answer came, int64 [tokens]."""
        first = self.fed[(self.fed[:, 0] == request) & (self.fed[:, 4] == 1), 1]
        stretches = self.decoded[self.decoded[:, 0] == request]
        later = [np.arange(step, step + count) for _, step, count, _ in stretches.tolist()]
        return np.sort(np.concatenate([first, *later])).astype(np.int64)


@dataclass(slots=True)
class _Sequence:
    """A request in the engine: ``goal`` tokens are to be prefilled, ``filled`` are, ``made`` are answered."""

    request: int
    goal: int
    filled: int = 0
    made: int = 0
    since: int = 0
    base: int = 0
    admitted: int = 0


def simulate(
    model: WorkModel, coefficients: Coefficients, requests: Requests, limits: EngineLimits | None = None
) -> Simulation:
    """Serve a load.

    Args:
        model: The work of the deployment.
        coefficients: Efficiencies and costs.
        requests: The load.
        limits: What the engine allows; its defaults by family where not given.

    Raises:
        BadInputError: If the longest request does not fit in the cache.
    """
    deployment = model.deployment
    allowed = (limits or LIMITS.get(deployment.engine, LIMITS["default"])).over(deployment.parallelism.data)
    longest = int((requests.input_tokens + requests.output_tokens).max())
    one = cache_bytes(deployment.spec, longest, deployment.parallelism)
    held = math.inf if one == 0 else room(deployment, allowed).cache / one * longest
    if held < longest + _BLOCK:
        name, hardware = deployment.spec.name, deployment.hardware.id
        raise BadInputError(
            f"{name} with a sequence of {longest} tokens does not fit in {deployment.devices} of {hardware}; take more"
        )
    table = StepTable(model, coefficients, sequences=allowed.sequences, tokens=allowed.step_tokens, context=longest + 1)
    costs = coefficients.engine(deployment.engine)
    outside = costs.prompt + costs.prompt_token * requests.input_tokens.astype(np.float64)
    return _Engine(table, requests, allowed, held, outside).run()


@dataclass(slots=True)
class _Engine:
    """The state of the scheduler."""

    table: StepTable
    requests: Requests
    limits: EngineLimits
    room: float
    outside: Floats
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

    def run(self) -> Simulation:
        """Serve every request."""
        count = len(self.requests.input_tokens)
        self.sent = [0.0] * count
        if self.requests.arrivals is None:
            for _ in range(min(self.requests.concurrency, count)):
                self._send(0.0)
        else:
            for at in self.requests.arrivals.tolist():
                self._send(at)
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
            preemptions=self.preemptions,
        )

    def _send(self, at: float) -> None:
        """Send the next request; it reaches the scheduler once the engine has read it."""
        request = self.next
        self.next += 1
        self.sent[request] = at
        heapq.heappush(self.coming, (at + float(self.outside[request]), request))

    def _arrive(self) -> None:
        while self.coming and self.coming[0][0] <= self.now:
            _, request = heapq.heappop(self.coming)
            self.waiting.append(_Sequence(request, int(self.requests.input_tokens[request])))

    def _admit(self) -> None:
        while self.waiting and len(self.running) + len(self.filling) < self.limits.sequences:
            sequence = self.waiting[0]
            takes = self._taken(sequence)
            if self.used + takes > self.room:
                return
            self.waiting.popleft()
            self.used += takes
            sequence.admitted = self.admissions
            self.admissions += 1
            self.filling.append(sequence)

    def _taken(self, sequence: _Sequence) -> float:
        """Cache entries that a sequence takes when it is admitted."""
        if self.limits.reserves:
            request = sequence.request
            return float(self.requests.input_tokens[request] + self.requests.output_tokens[request]) + _BLOCK / 2
        return sequence.goal + 1 + _BLOCK / 2

    def _mixed_step(self) -> None:
        """One step with chunks of prompts."""
        self._make_room()
        batch = len(self.running)
        left = max(self.limits.step_tokens - batch, 1)
        chunks: list[tuple[int, int]] = []
        ended: list[_Sequence] = []
        while self.filling and left > 0:
            sequence = self.filling[0]
            new = min(left, sequence.goal - sequence.filled)
            chunks.append((sequence.filled, new))
            ends = sequence.filled + new == sequence.goal
            self.fed.append((sequence.request, self.steps, sequence.filled, new, int(ends)))
            sequence.filled += new
            left -= new
            if ends:
                ended.append(self.filling.popleft())
        seconds = self.table.mixed(batch, self._context() + 1.0, chunks, len(ended))
        self._pass(np.array([seconds]))
        for sequence in ended:
            sequence.made += 1
            sequence.since, sequence.base = self.steps, sequence.goal
            if sequence.made == self.requests.output_tokens[sequence.request]:
                self.used -= 0.0 if self.limits.reserves else self._taken(sequence)
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
        if not self.limits.reserves:
            self.used -= sequence.base + count + 1 + _BLOCK / 2

    def _leave(self, sequence: _Sequence) -> None:
        """End a request; in a closed loop the next one is sent."""
        if self.limits.reserves:
            self.used -= self._taken(sequence)
        if self.requests.arrivals is None and self.next < len(self.requests.input_tokens):
            self._send(self.now)

    def _make_room(self) -> None:
        """Let the sequences that were admitted last give way until the others can grow."""
        if self.limits.reserves:
            return
        while len(self.running) > 1 and self.used + len(self.running) > self.room:
            last = max(self.running.values(), key=lambda sequence: sequence.admitted)
            self._stop(last)
            self.preemptions += 1
            request = last.request
            again = _Sequence(request, int(self.requests.input_tokens[request]) + last.made, made=last.made)
            self.waiting.appendleft(again)

    def _end_of(self, request: int) -> int:
        """The number of steps after which a running request has made its last token."""
        sequence = self.running[request]
        return sequence.since + int(self.requests.output_tokens[request]) - sequence.made

    def _context(self) -> float:
        """Mean cache entries of the running sequences."""
        return self.contexts / len(self.running) if self.running else 0.0
