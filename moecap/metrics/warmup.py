"""Whether a warm-up ended steady: one rule, which ends the warm-up of a run and judges a stored one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.observations.reader import Observations, Steps
from moecap.observations.recorder import chunk_gaps

__all__ = ["ended_steady", "is_steady"]


def is_steady(batches: Sequence[Sequence[int] | npt.NDArray[np.int64]], tolerance: float) -> bool:
    """Whether the median decode steps of the last two batches agree; without step records, the gaps between chunks.

    Args:
        batches: Durations of the steps (or gaps) of each batch, ns, in the order in which they ran. The first of a
            batch is its prefill and is left out where others follow it.
        tolerance: Largest relative change that counts as agreement.

    Returns:
        ``False`` too where there are fewer than two batches, or one of the two has no step.
    """
    if len(batches) < 2 or not all(len(batch) for batch in batches[-2:]):
        return False
    before, last = (float(np.median(batch[1:] if len(batch) > 1 else batch)) for batch in batches[-2:])
    return abs(last / before - 1) <= tolerance


def ended_steady(observations: Observations, concurrency: int, tolerance: float) -> bool | None:
    """Whether the warm-up of a stored run ended steady.

    Args:
        observations: What the run observed.
        concurrency: Requests in flight, the size of a warm-up batch.
        tolerance: As for ``is_steady``.

    Returns:
        ``None`` where the warm-up did not end: no request of the load was sent.
    """
    requests = observations.requests
    if not (requests["stage"] == "load").any():
        return None
    warmup = requests.loc[requests["stage"] == "warmup", "request"]
    steps = observations.steps
    if (steps.stage == "warmup").any():
        return is_steady(_last_batches(steps, warmup, concurrency), tolerance)
    return is_steady(_last_gaps(observations.chunks, warmup, concurrency), tolerance)


def _last_batches(steps: Steps, requests: pd.Series[int], concurrency: int) -> list[npt.NDArray[np.int64]]:
    """Durations of the steps of the last two batches: a batch is as many requests as are in flight, in their order."""
    chosen = steps.stage == "warmup"
    first = steps.seq_request.values[steps.seq_request.offsets[:-1][chosen]]
    batch = np.searchsorted(np.sort(requests.to_numpy()), first) // concurrency
    count = -(-len(requests) // concurrency)
    return [steps.duration_ns[chosen][batch == number] for number in range(max(0, count - 2), count)]


def _last_gaps(chunks: pd.DataFrame, requests: pd.Series[int], concurrency: int) -> list[npt.NDArray[np.int64]]:
    """Gaps between the chunks of the requests of the last two batches."""
    ids = np.sort(requests.to_numpy())
    count = -(-len(ids) // concurrency)
    batches = [ids[n * concurrency : (n + 1) * concurrency] for n in range(max(0, count - 2), count)]
    chosen = [chunks[chunks["request"].isin(batch)] for batch in batches]
    return [chunk_gaps(c["request"].to_numpy(np.int64), c["time_ns"].to_numpy(np.int64)) for c in chosen]
