"""How much of what the load generator can take a run asked of it."""

from __future__ import annotations

import numpy as np

from moecap.metrics.value import Metric, absent, measured
from moecap.observations.reader import Observations

__all__ = ["client_metrics"]

SECOND = 1_000_000_000


def client_metrics(observations: Observations, ceiling: float | None) -> dict[str, Metric]:
    """The busiest second of the load against the client's ceiling.

    Args:
        observations: What the run observed.
        ceiling: Chunks a second that the client's processes take on this machine, measured before the run against a
            stub; ``None`` where the engine runs in process.

    Returns:
        ``client.peak_chunks_per_second`` and ``client.utilisation``, its share of the ceiling.
    """
    names = {"client.peak_chunks_per_second": "chunks/s", "client.utilisation": "1"}
    if ceiling is None:
        return {name: absent(unit, "the engine runs in this process") for name, unit in names.items()}
    requests = observations.requests
    load = requests.loc[requests["stage"] == "load", "request"]
    times = observations.chunks.loc[observations.chunks["request"].isin(load), "time_ns"].to_numpy(np.int64)
    if not len(times):
        return {name: absent(unit, "no chunk came") for name, unit in names.items()}
    peak = int(np.bincount((times - times.min()) // SECOND).max())
    values = (float(peak), peak / ceiling)
    return {n: measured(v, unit, len(times)) for (n, unit), v in zip(names.items(), values, strict=True)}
