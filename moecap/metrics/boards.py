"""The state of the boards during the steady state: clocks, heat, memory, and what held the clocks down."""

from __future__ import annotations

import numpy as np
import pandas as pd

from moecap.hardware.board_states import BRAKE, HEAT, POWER_CAP
from moecap.metrics.value import Metric, absent, measured

__all__ = ["HELD", "board_metrics"]

UNITS = {
    "boards.sm_clock_mean": "MHz",
    "boards.sm_clock_min": "MHz",
    "boards.temperature_max": "°C",
    "boards.memory_used_max": "B",
    "boards.heat_share": "1",
    "boards.brake_share": "1",
    "boards.power_cap_share": "1",
}

HELD = {"boards.heat_share": HEAT, "boards.brake_share": BRAKE, "boards.power_cap_share": POWER_CAP}
"""What holds clocks down, by the metric of the share of samples in which it did."""


def board_metrics(boards: pd.DataFrame, window: tuple[int, int] | None) -> dict[str, Metric]:
    """What NVML said of the boards during the steady state.

    Args:
        boards: One row a board and sample, with the columns of ``boards.parquet``.
        window: Start and end of the steady state, monotonic ns.

    Returns:
        ``boards.sm_clock_mean`` and ``_min`` over all samples of all boards, ``boards.temperature_max``,
        ``boards.memory_used_max`` of one board, and the shares of samples in which heat, the hardware's own slowdown
        or the power limit held a board's clocks down (``heat_share``, ``brake_share``, ``power_cap_share``). Nothing
        for a run whose boards were not read.
    """
    if boards.empty:
        return {}
    if window is None:
        return {name: absent(unit, "the target concurrency was never reached") for name, unit in UNITS.items()}
    inside = boards[boards["time_ns"].between(*window)]
    clocks, reasons = inside["sm_clock_mhz"].dropna(), inside["slowdown_reasons"].dropna().astype(np.int64)
    found = {
        "boards.sm_clock_mean": (clocks.mean(), len(clocks)),
        "boards.sm_clock_min": (clocks.min(), len(clocks)),
        "boards.temperature_max": _largest(inside["temperature_celsius"]),
        "boards.memory_used_max": _largest(inside["memory_used_bytes"]),
    } | {name: (((reasons & bits) != 0).mean(), len(reasons)) for name, bits in HELD.items()}
    return {
        name: measured(float(found[name][0]), unit, found[name][1])
        if found[name][1]
        else absent(unit, "no sample of the boards in the steady state tells it")
        for name, unit in UNITS.items()
    }


def _largest(column: pd.Series[int]) -> tuple[float, int]:
    known = column.dropna()
    return known.max(), len(known)
