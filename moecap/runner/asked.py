"""What a configuration alone says of its load: the lengths of its requests and when they arrive.

A run sends by it and a verification checks by it, so nothing here depends on a data set or a machine.
"""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

from moecap.config import RunConfig
from moecap.load import arrivals

__all__ = ["SEEDS", "asked_arrivals", "asked_lengths", "asked_sessions", "repeat_config"]

SEEDS = 2**32
"""Seeds that there are."""


def repeat_config(config: RunConfig, number: int) -> RunConfig:
    """What one repeat of a load is drawn by: the configuration with a seed of its own, ``seed`` + ``number``.

    Args:
        config: The configuration of the run.
        number: Which repeat, from 0, which is the load that the run would have alone.
    """
    return config.model_copy(update={"seed": (config.seed + number) % SEEDS, "repeats": 1})


def asked_lengths(config: RunConfig, count: int) -> list[tuple[int, int]]:
    """Tokens that each request adds to its conversation and that its answer has, [count] pairs.

    Both are drawn evenly and independently between the shortest and the longest that ``length_spread`` allows. Python's
    generator is used since it gives the same numbers in every version.
    """
    rng = random.Random(config.seed)

    def draw(length: int) -> int:
        low, high = config.shortest(length), config.longest(length)
        return low + int(rng.random() * (high - low + 1))

    return [(draw(config.input_len), draw(config.output_len)) for _ in range(count)]


def asked_sessions(config: RunConfig) -> list[int]:
    """Turns of each session that is not taken from a data set; the last one may be shorter. 1 each: single requests."""
    turns = config.turns or 1
    whole, rest = divmod(config.num_requests, turns)
    return [turns] * whole + [rest] * (rest > 0)


def asked_arrivals(config: RunConfig, count: int) -> npt.NDArray[np.float64] | None:
    """Seconds from the first arrival at which each session comes, [count]; ``None`` in a closed loop or of a trace."""
    rate = config.rate
    if rate is None:
        return None
    rng = np.random.default_rng(config.seed)
    if config.arrival == "constant":
        return arrivals.constant(rate, count)
    if config.arrival == "ramp":
        return arrivals.ramp(config.rate_start or rate, rate, count)
    if config.arrival == "gamma":
        return arrivals.gamma(rate, config.burstiness, count, rng)
    return arrivals.poisson(rate, count, rng)
