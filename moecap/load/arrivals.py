"""When requests arrive in an open loop: seconds from the start of the load, one entry a session."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError

__all__ = ["constant", "gamma", "poisson", "ramp", "replay"]

Seconds = npt.NDArray[np.float64]


def constant(rate: float, count: int) -> Seconds:
    """One every ``1/rate`` seconds, the first at 0."""
    return np.arange(count) / _positive(rate, "rate")


def poisson(rate: float, count: int, rng: np.random.Generator) -> Seconds:
    """A Poisson process of ``rate`` arrivals a second, the first at 0: exponential gaps."""
    return gamma(rate, 1.0, count, rng)


def gamma(rate: float, burstiness: float, count: int, rng: np.random.Generator) -> Seconds:
    """Gamma-distributed gaps of mean ``1/rate`` and shape ``burstiness``, the first at 0.

    1 is a Poisson process; below 1 arrivals come in bursts, above 1 they come more evenly.
    """
    shape = _positive(burstiness, "burstiness")
    gaps = rng.gamma(shape, 1 / (shape * _positive(rate, "rate")), max(count - 1, 0))
    return np.concatenate([np.zeros(min(count, 1)), np.cumsum(gaps)])


def ramp(first: float, last: float, count: int) -> Seconds:
    """A rate that grows (or falls) evenly in time from ``first`` to ``last`` a second over the whole load.

    The i-th arrival is where the integral of the rate is i, so that ``count`` arrivals take
    ``count / ((first + last) / 2)`` seconds.
    """
    first, last = _positive(first, "first rate"), _positive(last, "last rate")
    slope = (last**2 - first**2) / (2 * count) if count else 0.0
    due = np.arange(count, dtype=np.float64)
    if slope == 0:
        return due / first
    return (np.sqrt(first**2 + 2 * slope * due) - first) / slope


def replay(timestamps: npt.ArrayLike, speed: float = 1.0) -> Seconds:
    """The arrivals of a trace, shifted so that the first is at 0, ``speed`` times as fast.

    Args:
        timestamps: Seconds, in any order.
        speed: 2 replays in half the time.
    """
    times = np.sort(np.asarray(timestamps, dtype=np.float64))
    if not np.isfinite(times).all():
        raise BadInputError("trace: a timestamp is missing or no number; every row needs one")
    return (times - times[0]) / _positive(speed, "speed") if len(times) else times


def _positive(value: float, name: str) -> float:
    if not (np.isfinite(value) and value > 0):
        raise BadInputError(f"{name} {value}: must be a positive number")
    return float(value)
