"""One engine for all runs of a sweep that ask for the same: opened once, and as large as the largest needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from moecap.backend import GREEDY, Backend, Engine, EngineJob
from moecap.config import RunConfig
from moecap.errors import MoecapError
from moecap.runner.planned import Plan

__all__ = ["SharedEngine", "engine_part"]


@dataclass(frozen=True, slots=True)
class _Open:
    """An engine that runs."""

    engine: Engine
    backend: type[Backend]
    job: EngineJob

    def does(self, backend: type[Backend], job: EngineJob) -> bool:
        """Whether a run can take it: opened for the same, and large enough."""
        enough = self.job.concurrency >= job.concurrency and self.job.longest >= job.longest
        return self.backend is backend and enough and self.job.streams >= job.streams and _same(self.job) == _same(job)


class SharedEngine:
    """Lends one engine to run after run and opens another where a run asks for another.

    With a prefix cache each run gets its own, since one would find the prompts of another in it.

    Args:
        coming: The configurations of the runs to come, from which the engine's size is taken.

    Attributes:
        opened: How many engines were opened.
    """

    def __init__(self, coming: Sequence[RunConfig] = ()) -> None:
        self._coming = coming
        self._open: _Open | None = None
        self.opened = 0

    @contextmanager
    def __call__(self, plan: Plan, job: EngineJob) -> Iterator[Engine]:
        """The engine for a run; it is closed where the run fails, since nobody knows then how it is."""
        if self._open is None or job.prefix_cache or not self._open.does(plan.backend, job):
            self.close()
            self._open = self._opened(plan, job)
            self.opened += 1
        try:
            yield self._open.engine
        except BaseException:
            self.close()
            raise
        if job.prefix_cache:
            self.close()

    def close(self) -> None:
        """End the engine that runs, if one does."""
        held, self._open = self._open, None
        if held is not None:
            held.engine.close()

    def _opened(self, plan: Plan, job: EngineJob) -> _Open:
        """A new engine, of the size that this run alone needs where there is no room for more."""
        larger = self._enlarged(plan, job)
        try:
            return _Open(plan.backend().open(larger), plan.backend, larger)
        except MoecapError:
            if larger == job:
                raise
            return _Open(plan.backend().open(job), plan.backend, job)

    def _enlarged(self, plan: Plan, job: EngineJob) -> EngineJob:
        """The job with room for the runs to come that differ from this one in their load alone."""
        if job.prefix_cache:
            return job
        alike = [other for other in self._coming if engine_part(other) == engine_part(plan.config)]
        limit = plan.spec.max_context
        return replace(
            job,
            concurrency=max([job.concurrency, *(c.concurrency for c in alike)]),
            streams=max([job.streams, *(c.concurrency for c in alike)]),
            longest=min(max([job.longest, *(_longest(c) for c in alike)]), limit),
        )


def engine_part(config: RunConfig) -> tuple[object, ...]:
    """What of a configuration decides which engine it needs, as far as it can be told before planning."""
    return (
        config.model,
        config.revision,
        config.hw,
        config.precision,
        config.backend,
        config.engine_arg,
        config.endpoint,
        config.n,
        config.seed,
    )


def _longest(config: RunConfig) -> int:
    """Tokens of the longest sequence of a load whose lengths the configuration says."""
    return round((config.input_len + config.output_len) * (config.turns or 1) * (1 + config.length_spread)) + 1


def _same(job: EngineJob) -> EngineJob:
    """A job without what a larger engine also does and without what only tells where things are said."""
    return replace(
        job,
        concurrency=1,
        longest=1,
        streams=1,
        log=Path(),
        progress=print,
        sampling=replace(GREEDY, n=job.sampling.n),
    )
