"""The steady-state window of a load."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["steady_state"]


def steady_state(requests: pd.DataFrame, concurrency: int, share: float = 0.9) -> tuple[int, int] | None:
    """The longest span in which at least ``share`` of the target number of requests is in flight (closed loop).

    A request is in flight from its sending until it has ended or failed. Where one ends and the next is sent at the
    same instant the number does not dip.

    Args:
        requests: Rows of the load with ``sent_ns`` and ``ended_ns``.
        concurrency: Target number in flight.
        share: Share of the target that has to be in flight.

    Returns:
        Start and end in monotonic ns, or ``None`` where the target was never reached.
    """
    ended = requests.dropna(subset=["ended_ns"])
    if ended.empty:
        return None
    sent = ended["sent_ns"].to_numpy(np.int64)
    gone = ended["ended_ns"].to_numpy(np.int64)
    times = np.concatenate([sent, gone])
    change = np.concatenate([np.ones(len(sent), np.int64), -np.ones(len(gone), np.int64)])
    instants, index = np.unique(times, return_inverse=True)
    in_flight = np.cumsum(np.bincount(index, weights=change))
    high = in_flight >= share * concurrency
    edges = np.diff(np.concatenate([[0], high.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if len(starts) == 0:
        return None
    spans = instants[np.minimum(ends, len(instants) - 1)] - instants[starts]
    best = int(np.argmax(spans))
    return int(instants[starts[best]]), int(instants[min(ends[best], len(instants) - 1)])
