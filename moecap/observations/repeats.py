"""To which repeat of the load each request belongs, and each look at a server's own metrics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["repeat_numbers", "repeat_of_looks"]


def repeat_numbers(requests: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The number of the repeat of each request, [requests]; 0 of a load that was measured once."""
    if "repeat" not in requests:
        return np.zeros(len(requests), np.int64)
    return requests["repeat"].fillna(0).to_numpy(np.int64)


def repeat_of_looks(looks: pd.DataFrame, requests: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The repeat of each look, [looks]: one before a load belongs to the load that follows, each other to that before.

    Args:
        looks: Rows of the server's metrics.
        requests: All requests of the run.
    """
    load = requests[requests["stage"] == "load"]
    begins = load.groupby(repeat_numbers(load))["scheduled_ns"].min().sort_index()
    if begins.empty:
        return np.zeros(len(looks), np.int64)
    behind = np.searchsorted(begins.to_numpy(np.int64), looks["time_ns"].to_numpy(np.int64), side="right")
    numbers = begins.index.to_numpy(np.int64)
    following = np.append(numbers, numbers[-1] + 1)  # of which nothing was sent yet
    before = (looks["moment"] == "before").to_numpy()
    return np.where(before, following[behind], numbers[(behind - 1).clip(0)])
