"""The projection as a backend: what an engine on hardware that is not here would do with the load, step by step.

Nothing is loaded and nothing runs: the load is served by a simulation (:mod:`moecap.projection.simulation`), which
leaves the tables that a measured run would, so that every metric and report works on them unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

import moecap
from moecap.backend import Backend, Continuation, Engine, EngineInfo, EngineJob, Generation, Prompt, Scored
from moecap.errors import BadInputError, RunError
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder
from moecap.projection.requests import Requests
from moecap.projection.simulation import simulate
from moecap.projection.trace import observation_tables
from moecap.projection.work import WorkModel

__all__ = ["ProjectedBackend"]


class ProjectedBackend(Backend):
    """Hardware and engines that are not here."""

    name: ClassVar[str] = "projected"
    capabilities: ClassVar[frozenset[str]] = frozenset({"step_stats"})
    open_loop: ClassVar[bool] = True
    sessions: ClassVar[bool] = True
    sampling: ClassVar[frozenset[str]] = frozenset({"temperature", "top_p", "stop", "natural_end"})
    projects: ClassVar[bool] = True
    parallel: ClassVar[frozenset[str]] = frozenset({"tensor"})
    quantised: ClassVar[bool] = True
    offloads: ClassVar[bool] = True
    summary: ClassVar[str] = "what hardware that is not here would do: computed, nothing is measured"

    @classmethod
    def unavailable(cls) -> str | None:
        """Always usable: it needs neither a device nor an engine."""
        return None

    @classmethod
    def check(cls, model: Path, spec: ModelSpec, device: str) -> None:
        """There is no checkpoint to be checked."""

    @classmethod
    def dtype(cls, spec: ModelSpec, device: str, precision: str, host_flags: frozenset[str]) -> str:
        """What was asked for, else the format in which the checkpoint is stored."""
        return spec.weight_dtypes["embedding"] if precision == "auto" else precision

    def open(self, job: EngineJob) -> Engine:
        """Prepare the projection."""
        return ProjectedEngine(job)


class ProjectedEngine(Engine):
    """A deployment whose steps are computed."""

    def __init__(self, job: EngineJob) -> None:
        record, hardware = job.projection, job.hardware
        if record is None or hardware is None:
            raise BadInputError("backend 'projected' needs the hardware that it projects; use it through moecap run")
        self._spec, self._record = job.spec, record
        self._prefix_cache = job.prefix_cache
        self._model = WorkModel(record.deployment(job.spec, hardware, job.activations, job.layout))
        limits, fit = record.limits, record.coefficients.fit
        self.info = EngineInfo(
            name=ProjectedBackend.name,
            version=moecap.__version__,
            device=job.device,
            weight_dtype=job.spec.formats,
            kv_dtype=job.spec.kv_dtype,
            compute_dtype=job.activations,
            timer="computed",
            batching="continuous",
            details={
                "projected engine": record.engine,
                "most sequences of a step": f"{limits.sequences}",
                "most tokens of a step": f"{limits.step_tokens}",
                "share of memory": f"{limits.memory:g}{' of what weights leave' if limits.of_free else ''}",
                "tokens of a cache block": str(record.block_tokens),
                "prefix cache": "on" if job.prefix_cache else "off",
                "routing": record.routing_source,
                "coefficients": f"{fit.rows} {fit.source}, {fit.date}",
            },
        )

    def generate(
        self,
        prompts: Sequence[Prompt],
        concurrency: int,
        recorder: Recorder,
        done: Callable[[int], None],
        arrivals: Sequence[float] | None = None,
    ) -> list[Generation]:
        """Simulate the load; the recorder gets its tables, and no prompt gets an answer."""
        record = self._record
        requests = _requests(prompts, concurrency, arrivals, record.block_tokens if self._prefix_cache else 0)
        found = simulate(self._model, record.coefficients, requests, record.limits)
        names = [prompt.id for prompt in prompts]
        recorder.simulated = observation_tables(found, requests, self._spec, record.routing, names=names)
        done(len(prompts))
        return [Generation(prompt.id, (), error="projected: nothing was generated") for prompt in prompts]

    def score(
        self, continuations: Sequence[Continuation], recorder: Recorder, done: Callable[[int], None]
    ) -> list[Scored]:
        """Not possible: nothing runs."""
        raise RunError("a projection scores no answers; measure with an engine")

    def close(self) -> None:
        """Nothing is held."""


def _requests(
    prompts: Sequence[Prompt], concurrency: int, arrivals: Sequence[float] | None, block_tokens: int
) -> Requests:
    """The load of prompts, whose turns of a session stand one after the other.

    Args:
        prompts: The prompts.
        concurrency: Sessions in flight of a closed loop.
        arrivals: Seconds at which each session is sent, in an open one.
        block_tokens: Tokens of a block of the prefix cache; 0 where there is none.
    """
    follows = [False] + [a.session is not None and a.session == b.session for a, b in pairwise(prompts)]
    sessions = np.cumsum([not later for later in follows]) - 1
    return Requests(
        input_tokens=np.array([len(prompt.tokens) for prompt in prompts]),
        output_tokens=np.array([prompt.output_tokens for prompt in prompts]),
        arrivals=None if arrivals is None else _whole_nanoseconds(arrivals),
        concurrency=concurrency,
        sessions=sessions if any(prompt.session is not None for prompt in prompts) else None,
        waits=_whole_nanoseconds([prompt.wait for prompt in prompts]),
        tokens=[prompt.tokens for prompt in prompts] if block_tokens else None,
        block_tokens=block_tokens or 1,
    )


def _whole_nanoseconds(seconds: Sequence[float]) -> npt.NDArray[np.float64]:
    """Times as the observation files hold them, so that the load can be served again from those."""
    return np.rint(np.asarray(seconds, np.float64) * 1e9) * 1e-9
