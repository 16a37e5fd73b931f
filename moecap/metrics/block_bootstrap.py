"""Standard errors within one run, whose requests share batches: a circular block bootstrap in time.

A load is cut into equal cells of time. A resample takes blocks of neighbouring cells, with their observations, at
random places; the last cell is followed by the first (D. N. Politis and J. P. Romano, "A circular block-resampling
procedure for stationary data", 1992). What happened together stays together, so that the spread of the resamples holds
the dependence between requests within a block. Blocks are as long as the metric's own correlation in time asks for
(D. N. Politis and H. White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews 23,
2004, as corrected with A. Patton, Econometric Reviews 28, 2009), and no shorter than a request is in flight.

The resamples give a standard error of the logarithm. Its degrees of freedom are the blocks that fit into the load, less
one, since that many independent parts are what the run has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from moecap.metrics.bootstrap import RESAMPLES
from moecap.metrics.difference import Spread

__all__ = ["MIN_BLOCKS", "Cells", "TooShortError", "block_length"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CELLS = 512
"""Cells of a load; a short one has more cells than observations, which does no harm."""

MIN_BLOCKS = 4
"""Blocks that a load must hold for an interval: fewer say next to nothing of its spread."""

VALUE_CELLS = 512
"""Groups of neighbouring values that a percentile is read from at most."""


class TooShortError(Exception):
    """A load that holds too few blocks; the text says how many."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a span of time, and the resamples of its blocks.

    Attributes:
        start: Start of the span, monotonic ns.
        end: Its end.
        flight: How long a request is in flight in the mean, ns: the least length of a block.
    """

    start: int
    end: int
    flight: float

    @property
    def seconds(self) -> FloatArray:
        """How long each cell is, s, [cells]."""
        return np.full(CELLS, (self.end - self.start) * 1e-9 / CELLS)

    def of(self, time_ns: npt.NDArray[np.number]) -> IntArray:
        """The cell of each time, [times]; -1 outside of the span."""
        cell = np.floor((time_ns.astype(np.float64) - self.start) / (self.end - self.start) * CELLS).astype(np.int64)
        cell[time_ns == self.end] = CELLS - 1
        return np.where((cell >= 0) & (cell < CELLS), cell, -1)

    def sums(self, time_ns: npt.NDArray[np.number], amounts: npt.NDArray[np.number]) -> FloatArray:
        """The sum of amounts in each cell, [cells]."""
        cell = self.of(time_ns)
        inside = cell >= 0
        summed: FloatArray = np.bincount(cell[inside], amounts[inside].astype(np.float64), CELLS).astype(np.float64)
        return summed

    def ratio(self, above: FloatArray, below: FloatArray) -> Spread:
        """The standard error of a ratio of sums, relative to it.

        Args:
            above: What is summed in each cell, [cells].
            below: What it is divided by, [cells].

        Returns:
            The logarithm's standard error and its degrees of freedom; the value is the ratio.

        Raises:
            TooShortError: If the span holds too few blocks.
        """
        total = float(above.sum() / below.sum())
        weights, blocks = self._drawn(above - total * below)
        drawn = (weights @ above) / (weights @ below)
        return Spread(total, _error(drawn, blocks), blocks - 1)

    def percentile(self, time_ns: npt.NDArray[np.number], values: FloatArray, p: int) -> Spread:
        """The standard error of a percentile of observations that were made over the span, relative to it.

        Args:
            time_ns: When each was made, [n].
            values: The observations, above 0, [n].
            p: The percentile.

        Returns:
            The logarithm's standard error and its degrees of freedom; the value is the percentile.

        Raises:
            TooShortError: If the span holds too few blocks.
        """
        cell = self.of(time_ns)
        cell, values = cell[cell >= 0], values[cell >= 0]
        order = np.argsort(values, kind="stable")
        cell, values = cell[order], values[order]
        value = float(np.percentile(values, p))
        below = np.bincount(cell, values <= value, CELLS) - p / 100 * np.bincount(cell, minlength=CELLS)
        weights, blocks = self._drawn(below)
        groups = min(len(values), VALUE_CELLS)
        group = np.arange(len(values)) * groups // len(values)
        ends = values[np.searchsorted(group, np.arange(groups), side="right") - 1]
        counts = np.bincount(cell * groups + group, minlength=CELLS * groups).reshape(CELLS, groups)
        drawn = np.cumsum(weights @ counts, axis=1)
        reached = drawn >= p / 100 * drawn[:, -1:]
        return Spread(value, _error(ends[reached.argmax(1)], blocks), blocks - 1)

    def _drawn(self, influence: FloatArray) -> tuple[FloatArray, float]:
        """How often each resample holds each cell, [RESAMPLES, cells], and the blocks that fit into the span."""
        floor = max(1, math.ceil(self.flight / (self.end - self.start) * CELLS))
        length = max(floor, math.ceil(block_length(influence)))
        blocks = CELLS / length
        if blocks < MIN_BLOCKS:
            raise TooShortError(
                f"the load is {blocks:.1f} times as long as what hangs together in it; {MIN_BLOCKS} are needed"
            )
        return _weights(length), blocks


@lru_cache(maxsize=16)
def _weights(length: int) -> FloatArray:
    """How often each of RESAMPLES resamples holds each cell; as many cells as there are, the last block is cut."""
    rng = np.random.RandomState(0)
    blocks = math.ceil(CELLS / length)
    starts = rng.randint(0, CELLS, (RESAMPLES, blocks))
    cells = ((starts[:, :, None] + np.arange(length)) % CELLS).reshape(RESAMPLES, -1)[:, :CELLS]
    places = (np.arange(RESAMPLES)[:, None] * CELLS + cells).ravel()
    return np.bincount(places, minlength=RESAMPLES * CELLS).reshape(RESAMPLES, CELLS).astype(np.float64)


def _error(drawn: FloatArray, blocks: float) -> float:
    """The standard deviation of the logarithms, grown by what blocks of one sample miss of the variance."""
    kept = drawn[np.isfinite(drawn) & (drawn > 0)]
    return float(np.log(kept).std(ddof=1) * math.sqrt(blocks / (blocks - 1))) if len(kept) > 1 else math.nan


def block_length(series: FloatArray) -> float:
    """The length of blocks that estimates the variance of a mean best, in places of a series.

    Args:
        series: Numbers in their order, [n].
    """
    n = len(series)
    centred = series - series.mean()
    if not centred.any():
        return 1.0
    near = max(5, math.ceil(math.sqrt(math.log10(n))))
    most = min(n - 1, math.ceil(math.sqrt(n)) + near)
    covariance = np.array([centred[k:] @ centred[: n - k] / n for k in range(most + 1)])
    small = np.abs(covariance[1:] / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    runs = (k for k in range(most - near + 1) if small[k : k + near].all())
    first = next(runs, None)
    if first is None:
        significant = np.flatnonzero(~small)
        first = int(significant[-1]) + 1
    width = min(2 * max(first, 1), most)
    lags = np.arange(1, width + 1)
    window = np.clip(2 * (1 - lags / width), 0, 1)
    weighted = window * covariance[1 : width + 1]
    spread = covariance[0] + 2 * weighted.sum()
    slope = 2 * (lags * weighted).sum()
    if spread <= 0:
        return 1.0
    length = (2 * slope**2 / (4 / 3 * spread**2)) ** (1 / 3) * n ** (1 / 3)
    return float(min(max(length, 1.0), math.ceil(min(3 * math.sqrt(n), n / 3))))
