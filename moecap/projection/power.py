"""The power that devices draw in the steady state: a part that always runs, and parts that follow what they do.

    power = devices · design power · min(1, idle + memory · u_memory + compute · u_compute)

u_memory is the share of the memory's peak at which bytes are read over all steps, u_compute the share of the matrix
units' peak at which they compute, padding included. The three shares are fitted to published averages of devices' own
counters; a host and its fans are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.projection.coefficients import PowerShares
from moecap.projection.deployment import Deployment
from moecap.projection.steady import STEPS, SteadyPlan, SteadyState
from moecap.projection.work import StepWork

__all__ = ["Activity", "activity", "computing_seconds", "power_watts", "reading_seconds"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """How busy devices are, as shares of their peaks over all steps, float64 [n] each."""

    memory: Floats
    compute: Floats


def activity(plan: SteadyPlan, state: SteadyState) -> Activity:
    """How busy the devices of loads are."""
    mixed = state.mixed_share
    seconds = (1.0 - mixed) * state.decode_step + mixed * state.mixed_step
    reading, computing = (_by_step(of(plan.steps)) for of in (reading_seconds, computing_seconds))
    memory = (1.0 - mixed) * reading["decode"] + mixed * reading["mixed"]
    compute = (1.0 - mixed) * computing["decode"] + mixed * computing["mixed"]
    return Activity(np.asarray(memory / seconds, np.float64), np.asarray(compute / seconds, np.float64))


def power_watts(busy: Activity, deployment: Deployment, shares: PowerShares) -> Floats:
    """Watts of all devices, float64 [n]; not a number where the profile has no design power."""
    design = deployment.hardware.tdp_watts
    if design is None:
        return np.full_like(busy.memory, np.nan)
    drawn = shares.idle + shares.memory * busy.memory + shares.compute * busy.compute
    return np.asarray(deployment.devices * design * np.minimum(1.0, drawn), np.float64)


def _by_step(seconds: Floats) -> dict[str, Floats]:
    return dict(zip(STEPS, seconds.reshape(len(STEPS), -1), strict=True))


def reading_seconds(work: StepWork) -> Floats:
    """Seconds of reading at peak."""
    return np.asarray((sum(work.bytes.values()) + work.activation_bytes) / work.bandwidth, np.float64)


def computing_seconds(work: StepWork) -> Floats:
    """Seconds of computing at peak."""
    return np.asarray(sum(work.compute.values()), np.float64)
