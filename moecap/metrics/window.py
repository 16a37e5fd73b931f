"""The steady-state window of a load."""

from __future__ import annotations

import numpy as np
import pandas as pd

from moecap.metrics.sessions import session_spans

__all__ = ["steady_state"]

EDGE = 0.1
"""Share of the arrivals of an open loop at either end that are not steady."""


def steady_state(
    requests: pd.DataFrame, concurrency: int | None, share: float = 0.9, *, static: bool = False
) -> tuple[int, int] | None:
    """The span over which a load is steady.

    Closed loop: the longest span in which at least ``share`` of the target number of requests is in flight. Open loop:
    from the end of the first tenth of the scheduled arrivals to the start of the last.

    A request is in flight from when it was to be sent until it has ended or failed. In a closed loop it is to be sent
    when the one before it has ended, so the number does not dip between the two; how late the client was is in the
    request's own times. A session of several turns is in flight from its first turn to the end of its last, the waits
    between them included: it is sessions that a closed loop keeps in number and that arrive in an open one.

    Args:
        requests: Rows of the load with ``scheduled_ns`` and ``ended_ns``.
        concurrency: Target number in flight; ``None`` for an open loop.
        share: Share of the target that has to be in flight.
        static: Whether requests run in static batches, whose places are taken until the last answer of a batch has
            ended: else the end of each batch, in which few still answer, would be in no window.

    Returns:
        Start and end in monotonic ns, or ``None`` where the target was never reached.
    """
    requests = session_spans(requests)
    if concurrency is None:
        return _between_edges(requests)
    ended = requests.dropna(subset=["ended_ns"])
    if ended.empty:
        return None
    if static:  # a batch is sent at one instant
        ended = ended.assign(ended_ns=ended.groupby("scheduled_ns")["ended_ns"].transform("max"))
    sent = ended["scheduled_ns"].to_numpy(np.int64)
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


def _between_edges(requests: pd.DataFrame) -> tuple[int, int] | None:
    due = np.sort(requests["scheduled_ns"].to_numpy(np.int64))
    first = int(np.ceil(EDGE * len(due)))
    if len(due) - 2 * first < 2:
        return None
    return int(due[first]), int(due[len(due) - 1 - first])
