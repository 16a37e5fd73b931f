"""The load that a result says was asked for against the requests that its observations hold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from moecap.config import RunConfig
from moecap.data.texts import TEXT_SETS
from moecap.observations.repeats import repeat_numbers
from moecap.runner.asked import asked_arrivals, asked_lengths, repeat_config

__all__ = ["load_pairs"]

DRAWN = ("poisson", "gamma")
"""Arrivals that a generator of NumPy draws, whose numbers may be others in another version."""

Stated = float | str | None
Pairs = dict[str, tuple[Stated, Stated]]


def load_pairs(workload: RunConfig, requests: pd.DataFrame, complete: bool, same_numpy: bool) -> Pairs:
    """Statements of a workload with what the requests say; a pair that differs is a contradiction.

    Every length that the configuration decides is compared request by request, and so is every time of arrival that it
    decides. What a data set decides is not in a result and cannot be compared; it must be a file whose digest is there.

    Args:
        workload: The configuration.
        requests: All requests of the run.
        complete: Whether the run ended.
        same_numpy: Whether NumPy has the version with which arrivals were drawn.
    """
    load = requests[requests["stage"] == "load"]
    pairs: Pairs = {}
    by_file = workload.lengths == "data" or workload.arrival == "trace" or workload.dataset not in TEXT_SETS
    if by_file and workload.dataset_sha256 is None:
        pairs["workload.dataset_sha256"] = (None, f"the digest of {workload.dataset}")
    number = repeat_numbers(load)
    if complete:
        pairs["workload.repeats"] = (_listed(range(workload.repeats)), _listed(np.unique(number).tolist()))
    for repeat in np.unique(number).tolist():
        drawn = repeat_config(workload, repeat)
        found = _repeat_pairs(drawn, load[number == repeat], complete, same_numpy)
        suffix = f" of repeat {repeat + 1}" if workload.repeats > 1 else ""
        pairs |= {f"{name}{suffix}": pair for name, pair in found.items()}
    return pairs


def _repeat_pairs(workload: RunConfig, load: pd.DataFrame, complete: bool, same_numpy: bool) -> Pairs:
    """Statements on one repeat of the load; the configuration has its seed."""
    pairs: Pairs = {}
    if complete:
        pairs["workload.num_requests"] = (workload.num_requests, len(load))
    place = _places(workload, load)
    if workload.lengths != "data":
        if place is None:
            return pairs | {"workload.num_requests": (workload.num_requests, "prompts with other numbers")}
        pairs |= _lengths(workload, load.assign(place=place))
    if place is not None:
        pairs |= _arrivals(workload, load.assign(place=place), complete, same_numpy)
    return pairs


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number + 1) for number in numbers)


def _places(workload: RunConfig, load: pd.DataFrame) -> pd.Series[int] | None:
    """The place of each request in the load by the number in its prompt's id, which goes on from the warm-up's."""
    warm = workload.warmup.max_batches * workload.concurrency
    numbers = pd.to_numeric(load["prompt_id"].str.rpartition("-")[2], errors="coerce") - warm
    if numbers.isna().any() or not numbers.between(0, workload.num_requests - 1).all() or numbers.duplicated().any():
        return None
    return numbers.astype(np.int64)


def _lengths(workload: RunConfig, load: pd.DataFrame) -> Pairs:
    asked = np.array(asked_lengths(workload, workload.num_requests))
    turns = workload.turns or 1
    place = load["place"].to_numpy()
    single = load["turn"].isna().to_numpy()
    turn = np.where(single, 0, load["turn"].fillna(0).to_numpy()).astype(np.int64)
    session = load["session"].fillna(-1).to_numpy(np.int64)
    first = turn == 0
    pairs: Pairs = {
        "workload.turns": _first_other(
            np.where(single, 1, turn + 1), place % turns + 1 if turns > 1 else 1 + 0 * place
        ),
        "workload.input_len": _first_other(load["input_tokens_asked"].to_numpy()[first], asked[place[first], 0]),
        "workload.output_len": _first_other(load["output_tokens_asked"].to_numpy(), asked[place, 1] * workload.n),
        "workload.n": _first_other(load["choices"].fillna(workload.n).to_numpy(), np.full(len(load), workload.n)),
    }
    if turns > 1:
        pairs["workload.sessions"] = _first_other(session, place // turns)
        conversation = load.sort_values(["session", "turn"]).groupby("session")
        grown = conversation["input_tokens_asked"].diff().loc[load.index].to_numpy()
        # a turn after one that failed was not sent, and its record holds its new tokens alone
        unsent = (conversation["status"].shift() == "failed").loc[load.index].to_numpy()
        more, new = np.where(unsent, load["input_tokens_asked"], grown), asked[place, 0]
        other = ~first & np.where(unsent, more != new, more < new)  # an answer may be read as no token: all reasoning
        pairs["workload.turns.input_len"] = (
            (f"{new[other][0]} more, and the answer", str(more[other][0])) if other.any() else (None, None)
        )
        waits = load["wait_ns"].to_numpy(np.float64)[~first]
        pairs["workload.turn_wait"] = _first_other(waits, np.full(len(waits), round(workload.turn_wait * 1e9)))
    return pairs


def _arrivals(workload: RunConfig, load: pd.DataFrame, complete: bool, same_numpy: bool) -> Pairs:
    """Times of arrival in ns since the first one, of sessions by their first turn."""
    firsts = load[load["turn"].fillna(0) == 0].sort_values("place")
    if workload.lengths == "data":  # which says how many turns each session has
        number = firsts["session"].fillna(firsts["place"]).to_numpy(np.int64)
        count = int(number.max()) + 1
        known = complete or workload.arrival != "ramp"  # the slope of a ramp needs the number of all sessions
    else:
        number = firsts["place"].to_numpy() // (workload.turns or 1)
        count, known = -(-workload.num_requests // (workload.turns or 1)), True
    due = asked_arrivals(workload, count)
    if due is None or not known or (workload.arrival in DRAWN and not same_numpy):
        return {}
    came = firsts["scheduled_ns"].to_numpy(np.int64)
    asked = np.round(due[number] * 1e9).astype(np.int64)
    return {"workload.arrival": _first_other(came - came[0], asked - asked[0])}


def _first_other(found: np.ndarray, asked: np.ndarray) -> tuple[Stated, Stated]:
    """What was asked for and what is there in the first place where the two differ; two times nothing if nowhere."""
    other = np.flatnonzero(found != asked)
    return (None, None) if not len(other) else (float(asked[other[0]]), float(found[other[0]]))
