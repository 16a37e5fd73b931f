"""How long the runs of a sweep take and what they cost, said before the first one starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moecap.config import RunConfig
from moecap.errors import MoecapError
from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import load_profile
from moecap.metrics.constants import constant_value, constants_in_force
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config
from moecap.models.spec import ModelSpec
from moecap.projection.coefficients import calibrated, engine_family
from moecap.projection.deployment import Deployment
from moecap.projection.steady import Load, steady_plan, steady_state
from moecap.projection.work import WorkModel
from moecap.runner.choice import choose
from moecap.sweep.grid import Cell

__all__ = ["Estimate", "estimate"]

_PROJECTION_S, _PROJECTION_TOKEN_S = 1.5, 1.3e-6
"""Seconds of a run that projects: to begin, and for each token of its answers (docs/projection.md, on two cores)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of a run before it starts.

    Attributes:
        kind: ``measured``, ``projected``, ``refused`` where it cannot run, or ``elsewhere`` where a node of a cluster
            decides.
        backend: Name of the backend.
        hardware: Id of the profile.
        seconds: Of its load, by the closed form of the projection, of a run that measures; the opening of the engine
            and the questions of tasks come on top. Of one that projects, all of it. ``None`` where it is not known.
        usd: Rent of the devices for these seconds; ``None`` where one of both is not known.
        reason: Why it is refused.
    """

    kind: str
    backend: str = ""
    hardware: str = ""
    seconds: float | None = None
    usd: float | None = None
    reason: str = ""


def estimate(cell: Cell, say: Callable[[str], None], *, elsewhere: bool = False) -> Estimate:
    """What is known of a run.

    Args:
        cell: The run.
        say: Told one line before this host is probed.
        elsewhere: Whether it runs on a node of a cluster, whose hardware and engines are not known here.
    """
    config = cell.config
    try:
        content, model = load_model_config(config.model, config.revision)
        spec = read_model(content, model.id)
        if elsewhere:
            return _elsewhere(config, spec)
        choice = choose(config, model, say)
    except MoecapError as error:
        return Estimate("refused", reason=str(error))
    backend, profile = choice.backend, choice.hardware.profile
    if backend.projects:
        seconds = _PROJECTION_S + _PROJECTION_TOKEN_S * config.num_requests * config.output_len
        return Estimate("projected", backend.name, profile.id, seconds, 0.0)
    return _priced("measured", config, spec, profile, backend.name)


def _elsewhere(config: RunConfig, spec: ModelSpec) -> Estimate:
    """Of a run on a node: what follows from the hardware that it names, if it is to measure there."""
    if config.hw == "auto":
        return Estimate("elsewhere", config.backend)
    return _priced("elsewhere", config, spec, load_profile(config.hw), config.backend)


def _priced(kind: str, config: RunConfig, spec: ModelSpec, profile: HardwareProfile, backend: str) -> Estimate:
    once = _load_seconds(config, spec, profile, backend)
    load = None if once is None else once * config.repeats
    count = config.num_gpus or 1
    rent = constant_value(constants_in_force(config.costs, config.usd_per_hour, profile, count), "usd_per_hour")
    usd = None if load is None or rent is None else load * rent * count / 3600.0
    return Estimate(kind, backend, profile.id, load, usd)


def _load_seconds(config: RunConfig, spec: ModelSpec, profile: HardwareProfile, backend: str) -> float | None:
    """Seconds of a load whose lengths and times the configuration itself says."""
    if config.rate is not None:
        return config.num_requests / config.rate
    if config.load != "closed" or config.lengths == "data" or config.dataset not in ("auto", config.texts):
        return None
    split = Parallelism(tensor=config.tensor_parallel or config.num_gpus or 1)
    deployment = Deployment(spec, profile, split, engine_family(backend))
    load = Load.of(config.concurrency * config.n, config.input_len, config.output_len)
    try:
        state = steady_state(steady_plan(WorkModel(deployment), load), calibrated(), deployment.engine)
    except MoecapError:
        return None
    rate = float(state.output_throughput[0])
    return config.num_requests * config.n * config.output_len / rate if np.isfinite(rate) and rate > 0 else None
