"""Experts of the model that the prompts of one query activate together, by the routed experts of the passes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.errors import BadInputError
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.schema import Phase
from moecap.tasks.method import Passes

__all__ = ["mean_activated", "owners_by_sequence", "owners_by_step"]

IntArray = npt.NDArray[np.int64]

NOBODY = -1


def owners_by_step(passes: Passes, first: IntArray, end: IntArray) -> IntArray:
    """To which query each routed token belongs, by the steps of that query, [tokens]; -1 for none.

    Args:
        passes: Steps and routed experts.
        first: The first step of each query, [queries].
        end: The step after its last one, [queries].
    """
    assert passes.routing is not None
    if len(first) and (first.min() < 0 or end.max() > len(passes.steps)):
        raise BadInputError("moicl.latency.parquet: it names steps that there are not; the run has to be repeated")
    owner = np.full(len(passes.steps) + 1, NOBODY)
    for number, (begin, stop) in enumerate(zip(first, end, strict=True)):
        owner[begin:stop] = number
    return owner[passes.routing.token_step]


def owners_by_sequence(passes: Passes, sequences: pd.DataFrame) -> IntArray:
    """To which query each routed token belongs that the engine scored for it, demonstrations left out, [tokens].

    Args:
        passes: Steps and routed experts.
        sequences: Rows with ``continuation``, ``tokens``, ``query_tokens``, and the number of the ``query``.

    Returns:
        The number of the query; -1 for a token of none.
    """
    assert passes.routing is not None
    steps = passes.steps
    asked = sequences.drop_duplicates("continuation").set_index("continuation")
    scored = steps.seq_phase.values == Phase.SCORE
    number = np.where(scored, steps.seq_request.values, NOBODY)
    owner = asked["query"].reindex(number, fill_value=NOBODY).to_numpy(np.int64)
    before = (asked["tokens"] - asked["query_tokens"]).reindex(number, fill_value=0).to_numpy(np.int64)
    new = steps.seq_new.values.astype(np.int64)
    begins = np.repeat(np.cumsum(new) - new, new)
    position = np.arange(new.sum()) - begins + np.repeat(steps.seq_start.values.astype(np.int64), new)
    of_token = np.where(position >= np.repeat(before, new), np.repeat(owner, new), NOBODY)
    found = np.empty_like(of_token)
    found[np.argsort(passes.routing.token_step, kind="stable")] = of_token
    return found


def mean_activated(passes: Passes, owner: IntArray) -> Metric:
    """Distinct experts that a query's tokens select in a MoE layer, the mean over layers and queries.

    Args:
        passes: Steps and routed experts.
        owner: The query of each token, [tokens]; -1 for none.
    """
    assert passes.routing is not None
    own = owner != NOBODY
    if not own.any():
        return absent("experts", "no token of a query was captured")
    chosen = passes.routing.experts[own]
    layers, width = chosen.shape[1], int(chosen.max()) + 1
    cells = (owner[own][:, None, None] * layers + np.arange(layers)[None, :, None]) * width + chosen
    distinct = len(np.unique(cells[chosen < passes.experts]))
    queries = len(np.unique(owner[own]))
    return measured(distinct / (queries * layers), "experts", queries)
