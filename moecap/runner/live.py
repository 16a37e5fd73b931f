"""What can be said of a load while it goes on, from what the recorder has so far; cheap, and no part of the result."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from statistics import median

from moecap.metrics.steps import step_work
from moecap.observations.reader import steps_of
from moecap.observations.recorder import Glimpse, Recorder, RequestRecord
from moecap.runner.planned import Plan

__all__ = ["LiveLoad", "Sight"]

LATEST_REQUESTS = 200
"""Requests whose medians are shown."""
LATEST_STEPS = 16
"""Steps whose S-MBU is shown."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A load at one moment; ``None`` for what is not known yet, or not while the load goes on.

    Attributes:
        ended: Requests that have ended, failed ones included.
        failed: Those of them without a whole answer.
        output_tokens_per_second: Output tokens since the load began over the time since then.
        ttft: Median time to the first token of the latest requests, s; on a served engine to the first bytes.
        tpot: Median time per output token after the first of the latest requests, s.
        s_mbu: S-MBU of the latest decode steps.
        watts: Power of the devices.
    """

    ended: int
    failed: int
    output_tokens_per_second: float | None
    ttft: float | None
    tpot: float | None
    s_mbu: float | None
    watts: float | None

    def words(self) -> str:
        """One line of what is known."""
        words = []
        if self.output_tokens_per_second is not None:
            words.append(f"{self.output_tokens_per_second:,.1f} tok/s")
        if self.ttft is not None:
            words.append(f"TTFT {seconds(self.ttft)}")
        if self.tpot is not None:
            words.append(f"TPOT {seconds(self.tpot)}")
        if self.s_mbu is not None:
            words.append(f"S-MBU {self.s_mbu:.3f}")
        if self.watts is not None:
            words.append(f"{self.watts:,.0f} W")
        if self.failed:
            words.append(f"{self.failed} failed")
        return " · ".join(words)


def seconds(value: float) -> str:
    """A time with three digits: milliseconds below a second."""
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


class LiveLoad:
    """Looks at the recorder while an engine fills it.

    Args:
        plan: The run.
        recorder: What is observed; the load begins now.
    """

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        self._plan, self._recorder = plan, recorder
        self._begin = time.monotonic_ns()
        self._seen_requests, self._seen_glimpses = len(recorder.requests), len(recorder.glimpses)
        self._open: list[RequestRecord] = []
        self._latest: deque[Glimpse] = deque(maxlen=LATEST_REQUESTS)
        self._whole = self._failed = self._answered = 0
        self._first_step = self._counted = recorder.steps
        self._tokens = 0

    def words(self) -> str:
        """One line of what is known now; nothing where that cannot be said, since what is shown must end no run."""
        try:
            return self.sight().words()
        except Exception:  # whatever an engine has recorded
            return ""

    def sight(self) -> Sight:
        """The load now; costs the requests and steps since the last look."""
        for glimpse in [*self._new_glimpses(), *self._newly_ended()]:
            if glimpse.failed:
                self._failed += 1
                continue
            self._whole += 1
            self._answered += glimpse.tokens
            self._latest.append(glimpse)
        gaps = [(g.last_ns - g.first_ns) / (g.tokens - 1) for g in self._latest if g.tokens > 1]
        passed = (time.monotonic_ns() - self._begin) * 1e-9
        tokens = self._step_tokens() or self._answered
        return Sight(
            ended=self._whole + self._failed,
            failed=self._failed,
            output_tokens_per_second=tokens / passed if tokens and passed > 0 else None,
            ttft=median(g.first_ns - g.sent_ns for g in self._latest) * 1e-9 if self._latest else None,
            tpot=median(gaps) * 1e-9 if gaps else None,
            s_mbu=self._s_mbu(),
            watts=self._recorder.watts,
        )

    def _new_glimpses(self) -> list[Glimpse]:
        new = self._recorder.glimpses[self._seen_glimpses :]
        self._seen_glimpses += len(new)
        return new

    def _newly_ended(self) -> list[Glimpse]:
        """Requests that an engine in process has ended; those of a served one are recorded when all is over."""
        if self._seen_glimpses:
            return []
        new = self._recorder.requests[self._seen_requests :]
        self._seen_requests += len(new)
        known = [*self._open, *new]
        self._open = [r for r in known if r.status == "unfinished"]
        return [_glimpse(r) for r in known if r.status != "unfinished"]

    def _step_tokens(self) -> int:
        """Output tokens of the steps so far: each row that goes through the head gives one."""
        new = self._recorder.steps
        if new > self._counted:
            table = self._recorder.steps_from(self._counted)
            self._tokens += int(table["logits_tokens"].to_numpy().sum())
            self._counted += len(table)
        return self._tokens

    def _s_mbu(self) -> float | None:
        """S-MBU of the latest steps that only decode; ``None`` before there is one, or where a part is not known."""
        plan, peak = self._plan, self._plan.hardware.profile.peak_bandwidth
        first = max(self._first_step, self._recorder.steps - LATEST_STEPS)
        if peak is None or plan.config.layout is not None or first >= self._recorder.steps:
            return None
        steps = steps_of(self._recorder.steps_from(first))
        work = step_work(plan.spec, steps, plan.parallelism, plan.formats.compute)
        if work.bytes is None or not work.decode.any():
            return None
        duration = float(steps.duration_ns[work.decode].sum()) * 1e-9
        return float(work.bytes.total()[work.decode].sum()) / (duration * peak.value * plan.hardware.count)


def _glimpse(record: RequestRecord) -> Glimpse:
    known = record.first_token_ns is not None and record.last_token_ns is not None
    first, last = (record.first_token_ns or 0, record.last_token_ns or 0) if known else (record.ended_ns or 0,) * 2
    tokens = (record.output_tokens or record.output_tokens_asked) if record.status == "completed" else 0
    return Glimpse(record.sent_ns, first, last, tokens, record.status != "completed")
