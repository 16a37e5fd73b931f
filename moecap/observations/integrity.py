"""What the observations of a run must fulfil among themselves; each check names the file and what is the case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.errors import BadInputError
from moecap.observations.schema import STAGES, STATUSES, Phase

if TYPE_CHECKING:
    from moecap.observations.reader import RequestRouting, Routing, Steps

__all__ = [
    "check_chunks",
    "check_feeding",
    "check_request_routing",
    "check_requests",
    "check_routing",
    "check_steps",
]

IntArray = npt.NDArray[np.int64]
REPEAT = "the run has to be repeated"


def check_requests(requests: pd.DataFrame) -> None:
    """Refuse requests that are not told apart, or of an unknown stage or status.

    Raises:
        BadInputError: With the first that is so.
    """
    repeated = requests.loc[requests["request"].duplicated(), "request"]
    if len(repeated):
        raise BadInputError(f"requests.parquet: request {repeated.iloc[0]} is there twice; {REPEAT}")
    for column, known in (("stage", STAGES), ("status", STATUSES)):
        unknown = requests.loc[~requests[column].isin(known), column]
        if len(unknown):
            raise BadInputError(
                f"requests.parquet: unknown {column} {unknown.iloc[0]!r}; known: {', '.join(known)}; {REPEAT}"
            )


def check_chunks(chunks: pd.DataFrame, requests: pd.DataFrame) -> None:
    """Refuse chunks of no request, and counts of tokens so far that fall.

    Raises:
        BadInputError: With the first request that is concerned.
    """
    strange = chunks.loc[~chunks["request"].isin(requests["request"]), "request"]
    if len(strange):
        raise BadInputError(
            f"chunks.parquet: a chunk of request {strange.iloc[0]}, which requests.parquet does not have; {REPEAT}"
        )
    counted = chunks[chunks["tokens"].notna()]
    fallen = counted.loc[
        (counted["tokens"] < 0) | (counted.groupby("request", sort=False)["tokens"].diff() < 0), "request"
    ]
    if len(fallen):
        raise BadInputError(
            f"chunks.parquet: the tokens so far of request {fallen.iloc[0]} fall; an answer only grows; {REPEAT}"
        )


def check_steps(steps: Steps, numbers: IntArray) -> None:
    """Refuse steps that cannot have been.

    Args:
        steps: The steps.
        numbers: The column ``step``, [steps].

    Raises:
        BadInputError: With what is the case.
    """
    unknown = sorted(set(np.unique(steps.stage).tolist()) - set(STAGES))
    if unknown and len(steps):
        raise BadInputError(f"steps.parquet: unknown stage {unknown}; known: {', '.join(STAGES)}; {REPEAT}")
    if not np.array_equal(numbers, np.arange(len(steps))):
        raise BadInputError(f"steps.parquet: the steps are not numbered 0, 1, 2 and so on; {REPEAT}")
    sequences = (steps.seq_request, steps.seq_start, steps.seq_phase)
    if not all(np.array_equal(steps.seq_new.offsets, column.offsets) for column in sequences):
        raise BadInputError(
            "steps.parquet: seq_request, seq_start, seq_new and seq_phase have lists of different lengths; " + REPEAT
        )
    if not len(steps):
        return
    if steps.seq_new.lengths().min() < 1:
        raise BadInputError(f"steps.parquet: a step has no sequence; each step feeds at least one; {REPEAT}")
    if steps.duration_ns.min() <= 0:
        raise BadInputError(
            f"steps.parquet: a step lasts zero or negative time; every duration_ns must be positive; {REPEAT}"
        )
    if steps.seq_new.values.min() < 1 or steps.seq_start.values.min() < 0:
        raise BadInputError(
            f"steps.parquet: a sequence has no new token or a negative start; seq_new >= 1, seq_start >= 0; {REPEAT}"
        )
    if not np.isin(steps.seq_phase.values, list(Phase)).all():
        known = ", ".join(f"{phase.value} {phase.name.lower()}" for phase in Phase)
        raise BadInputError(f"steps.parquet: a sequence is in an unknown phase; known: {known}; {REPEAT}")
    if (steps.logits_tokens < 0).any() or (steps.logits_tokens > steps.tokens()).any():
        raise BadInputError(f"steps.parquet: logits_tokens is negative or larger than the tokens of its step; {REPEAT}")


def check_feeding(steps: Steps, requests: pd.DataFrame) -> None:
    """Refuse steps that do not feed each request its prompt and its answer, each token once, and so for each choice.

    What a prefix cache served of a prompt is not fed, nor is the last token of an answer; what a sequence lost that
    gave way is fed again, as a prompt, and the last token that it had answered for the first time. A request that did
    not complete may have been fed less; one that no step feeds at all has lost its steps with the engine. In decode
    more tokens may be fed than the answer has, since a speculating engine feeds drafts too. Passes that score given
    answers belong to no request.

    Raises:
        BadInputError: With the first request that is concerned.
    """
    of_requests = steps.seq_phase.values != Phase.SCORE
    if not of_requests.any():
        return
    asked = steps.seq_request.values[of_requests]
    table = requests.sort_values("request")
    ids = table["request"].to_numpy()
    row = np.searchsorted(ids, asked)
    unknown = row == len(ids)
    unknown[~unknown] = ids[row[~unknown]] != asked[~unknown]
    if unknown.any():
        raise BadInputError(
            f"steps.parquet: a step feeds request {asked[unknown][0]}, which requests.parquet does not have; {REPEAT}"
        )
    in_load = np.repeat(steps.stage == "load", steps.seq_new.lengths())[of_requests]
    elsewhere = (table["stage"] == "load").to_numpy()[row] != in_load
    if elsewhere.any():
        raise BadInputError(
            f"steps.parquet: a step feeds request {asked[elsewhere][0]} in another stage than its own; {REPEAT}"
        )
    new, phase = steps.seq_new.values[of_requests], steps.seq_phase.values[of_requests]
    fed = [np.bincount(row[phase == p], new[phase == p], len(ids)) for p in (Phase.PREFILL, Phase.DECODE)]
    completed = (table["status"] == "completed").to_numpy() & (fed[0] + fed[1] > 0)
    cached, choices = table["cached_tokens"].fillna(0), table["choices"].fillna(1)
    again = table["recomputed_tokens"].fillna(0)
    prompt = (table["input_tokens"].fillna(table["input_tokens_asked"]) * choices - cached + again).to_numpy()
    answer = (table["output_tokens"].fillna(0) - choices - again).to_numpy()
    for kind, wrong, should in (
        ("prompt", (fed[0] > prompt) | (completed & (fed[0] != prompt)), prompt),
        ("answer", completed & (fed[1] < answer), answer),
    ):
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            tokens = fed[0 if kind == "prompt" else 1][first]
            raise BadInputError(
                f"steps.parquet: {tokens:.0f} {kind} tokens are fed to request {ids[first]}, by requests.parquet it is "
                f"{should[first]:.0f}; {REPEAT}"
            )


def check_routing(routing: Routing, steps: Steps) -> None:
    """Refuse routed experts that are not those of each token of each step.

    Raises:
        BadInputError: With what is the case.
    """
    shapes = routing.experts.ndim == 3 and routing.token_step.shape == routing.experts.shape[:1]
    if not shapes or {routing.experts.dtype.kind, routing.token_step.dtype.kind} - {"i", "u"}:
        raise BadInputError(f"routing.npz has arrays of the wrong shape or type; {REPEAT}")
    if len(routing.token_step) and not 0 <= routing.token_step.min() <= routing.token_step.max() < len(steps):
        raise BadInputError(f"routing.npz names steps that steps.parquet does not have; {REPEAT}")
    if not np.array_equal(np.bincount(routing.token_step, minlength=len(steps)), steps.tokens()):
        raise BadInputError(f"routing.npz does not have the tokens of each step of steps.parquet; {REPEAT}")


def check_request_routing(routing: RequestRouting, requests: pd.DataFrame) -> None:
    """Refuse routed experts that are not those of tokens of requests, each token once.

    Raises:
        BadInputError: With what is the case.
    """
    experts, request, position = routing.experts, routing.token_request, routing.token_position
    shapes = experts.ndim == 3 and request.shape == position.shape == experts.shape[:1]
    if not shapes or {experts.dtype.kind, request.dtype.kind, position.dtype.kind} - {"i", "u"}:
        raise BadInputError(f"routing.npz has arrays of the wrong shape or type; {REPEAT}")
    if not len(request):
        return
    unknown = ~np.isin(request, requests["request"])
    if unknown.any():
        raise BadInputError(
            f"routing.npz has experts of request {request[unknown][0]}, which requests.parquet does not have; {REPEAT}"
        )
    table = requests.sort_values("request")
    length = (
        table["input_tokens"].fillna(table["input_tokens_asked"])
        + table["output_tokens"].fillna(table["output_tokens_asked"])
    ).to_numpy()[np.searchsorted(table["request"], request)]
    outside = (position < 0) | (position >= length)
    if outside.any():
        raise BadInputError(
            f"routing.npz has a token at position {position[outside][0]} of request {request[outside][0]}, which has "
            f"{length[outside][0]:.0f}; {REPEAT}"
        )
    place = request.astype(np.int64) * (int(position.max()) + 1) + position.astype(np.int64)
    if len(np.unique(place)) != len(place):
        raise BadInputError(f"routing.npz has a token of a request twice; {REPEAT}")
    if experts.min(initial=0) < 0:
        raise BadInputError(f"routing.npz names expert {experts.min()}; experts are numbered from 0; {REPEAT}")
