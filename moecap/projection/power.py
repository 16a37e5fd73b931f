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
from moecap.projection.steady import SteadyPlan, SteadyState
from moecap.projection.work import StepWork

__all__ = ["Activity", "activity", "power_watts"]

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
    memory = (1.0 - mixed) * _reading(plan.decode) + mixed * _reading(plan.mixed)
    compute = (1.0 - mixed) * _computing(plan.decode) + mixed * _computing(plan.mixed)
    return Activity(np.asarray(memory / seconds, np.float64), np.asarray(compute / seconds, np.float64))


def power_watts(busy: Activity, deployment: Deployment, shares: PowerShares) -> Floats:
    """Watts of all devices, float64 [n]; not a number where the profile has no design power."""
    design = deployment.hardware.tdp_watts
    if design is None:
        return np.full_like(busy.memory, np.nan)
    drawn = shares.idle + shares.memory * busy.memory + shares.compute * busy.compute
    return np.asarray(deployment.devices * design * np.minimum(1.0, drawn), np.float64)


def _reading(work: StepWork) -> Floats:
    """Seconds of reading at peak."""
    return np.asarray((sum(work.bytes.values()) + work.activation_bytes) / work.bandwidth, np.float64)


def _computing(work: StepWork) -> Floats:
    """Seconds of computing at peak."""
    return np.asarray(sum(work.compute.values()), np.float64)
