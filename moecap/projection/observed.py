"""What follows from the steps of a simulated load beside its times: the devices' power, and the memory in use."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.metrics.value import Metric, absent, measured
from moecap.models.accounting import cache_bytes
from moecap.observations.reader import Steps
from moecap.observations.schema import Phase
from moecap.projection.capacity import EngineLimits, room
from moecap.projection.coefficients import Coefficients
from moecap.projection.deployment import Deployment
from moecap.projection.power import Activity, computing_seconds, power_watts, reading_seconds
from moecap.projection.work import StepShape, WorkModel

__all__ = ["memory_metrics", "power_of_steps", "step_shapes"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def step_shapes(steps: Steps) -> StepShape:
    """Steps by what decides their time: sequences that decode at a mean context, and tokens of prompts.

    Args:
        steps: The steps, [steps].
    """
    count = len(steps)
    of = np.repeat(np.arange(count), steps.seq_new.lengths())
    decodes = steps.seq_phase.values == Phase.DECODE
    start, new = steps.seq_start.values, steps.seq_new.values

    def summed(of_these: Mask, weights: npt.NDArray[Any] | None = None) -> Floats:
        chosen = None if weights is None else weights[of_these]
        return np.bincount(of[of_these], weights=chosen, minlength=count).astype(np.float64)

    sequences, prompts = summed(decodes), summed(~decodes)
    context = summed(decodes, start + new) / np.maximum(sequences, 1)
    begun = summed(~decodes, start) / np.maximum(prompts, 1)
    return StepShape(sequences, np.maximum(context, 1.0), summed(~decodes, new), np.maximum(prompts, 1e-6), begun)


def power_of_steps(
    steps: Steps, mask: Mask, window: tuple[int, int] | None, deployment: Deployment, coefficients: Coefficients
) -> Metric:
    """Mean power of all devices over a window, by the power model.

    Args:
        steps: The steps.
        mask: Those inside the window, [steps].
        window: Start and end, monotonic ns; ``None`` where there is none.
        deployment: What was projected.
        coefficients: With the shares of the design power.
    """
    if window is None or window[1] <= window[0] or not mask.any():
        return absent("W", "the target concurrency was never reached")
    if deployment.hardware.tdp_watts is None:
        return absent("W", "the hardware's thermal design power is not known")
    work = WorkModel(deployment).work(step_shapes(steps))
    seconds = (window[1] - window[0]) * 1e-9
    busy = Activity(
        np.array([reading_seconds(work)[mask].sum() / seconds]),
        np.array([computing_seconds(work)[mask].sum() / seconds]),
    )
    return measured(power_watts(busy, deployment, coefficients.power)[0], "W", int(mask.sum()))


def memory_metrics(
    steps: Steps, deployment: Deployment, limits: EngineLimits, *, prefix_cache: bool
) -> dict[str, Metric]:
    """How the model fits: ``memory.weights``, ``memory.kv_cache`` (room beside them) and ``memory.kv_cache_used_max``.

    The share that is used is that of the fullest step, whose sequences have their contexts in the cache.

    Args:
        steps: The steps of the load.
        deployment: What was projected.
        limits: What the engine allows.
        prefix_cache: Whether sequences share entries, of which steps do not say how many.
    """
    names = {"memory.weights": "B", "memory.kv_cache": "B", "memory.kv_cache_used_max": "1"}
    if not len(steps):
        return {name: absent(unit, "nothing was projected") for name, unit in names.items()}
    found = room(deployment, limits)
    context = (steps.seq_start.values + steps.seq_new.values).astype(np.int64)
    lengths, inverse = np.unique(context, return_inverse=True)
    spec, split = deployment.spec, deployment.parallelism
    held = np.array([cache_bytes(spec, int(n), split) for n in lengths], np.float64)
    most = float(np.add.reduceat(held[inverse], steps.seq_new.offsets[:-1]).max())
    values = (found.weights, found.cache, most / found.cache)
    fits = {name: measured(v, unit, len(steps)) for (name, unit), v in zip(names.items(), values, strict=True)}
    if prefix_cache:
        fits["memory.kv_cache_used_max"] = absent("1", "steps do not say what sequences share in the prefix cache")
    return fits
