"""A simulated load as observation files: the same tables as a measured run leaves, so every metric reads them.

Facts that a simulation has no way to know are absent: no routed experts by token, no telemetry. The distinct experts of
a step are whole numbers whose mean over the layers is the expectation of the routing model. The files do not say that
they are projected; the result does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moecap.models.spec import ModelSpec
from moecap.observations.schema import CHUNKS, REQUESTS, STEPS, TABLES, TELEMETRY, Phase
from moecap.projection.requests import Requests
from moecap.projection.routing import Popularity
from moecap.projection.scheduler import Simulation

__all__ = ["answer_tables", "observation_tables"]

Ints = npt.NDArray[np.int64]

_NS = 1e9


def observation_tables(
    simulation: Simulation,
    requests: Requests,
    spec: ModelSpec,
    popularity: Popularity,
    origin_ns: int = 0,
    names: Sequence[str] = (),
) -> dict[str, pa.Table]:
    """The observation files of a simulated load, by name.

    Args:
        simulation: What happened.
        requests: The load.
        spec: The model.
        popularity: How unevenly tokens choose experts.
        origin_ns: When the load starts, monotonic ns.
        names: The id of each request's prompt; ``simulated-0`` and so on where not given, [R].
    """
    ends = origin_ns + np.rint((simulation.start + simulation.duration) * _NS).astype(np.int64)
    starts = origin_ns + np.rint(simulation.start * _NS).astype(np.int64)
    tables = answer_tables(simulation, requests, origin_ns, names)
    tables["steps.parquet"] = _steps(simulation, starts, ends, spec, popularity)
    tables["telemetry.parquet"] = TELEMETRY.empty_table()
    return {name: tables[name] for name in TABLES}


def answer_tables(
    simulation: Simulation, requests: Requests, origin_ns: int = 0, names: Sequence[str] = ()
) -> dict[str, pa.Table]:
    """The tables of what a client sees: requests and chunks.

    Args:
        simulation: What happened.
        requests: The load.
        origin_ns: When the load starts, monotonic ns.
        names: The id of each request's prompt; ``simulated-0`` and so on where not given, [R].
    """
    ends = origin_ns + np.rint((simulation.start + simulation.duration) * _NS).astype(np.int64)
    first = simulation.fed[simulation.fed[:, 4] == 1]
    ones = np.ones(len(first), np.int64)  # the end of a prompt makes a token: a stretch of one step
    stretches = np.concatenate([simulation.decoded, np.column_stack([first[:, 0], first[:, 1], ones, 0 * ones])])
    of, made_in, _ = _expanded(stretches[np.lexsort((stretches[:, 1], stretches[:, 0]))])
    at = ends[made_in]
    return {
        "requests.parquet": _requests(simulation, requests, of, at, origin_ns, names),
        "chunks.parquet": _chunks(of, at),
    }


def _expanded(stretches: Ints) -> tuple[Ints, Ints, Ints]:
    """Request, step and cache entries before the step of every token of stretches of steps, int64 [tokens]."""
    request, first, count, base = stretches.T
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(request, count), np.repeat(first, count) + within, np.repeat(base, count) + within


def _requests(
    simulation: Simulation, requests: Requests, of: Ints, at: Ints, origin_ns: int, names: Sequence[str]
) -> pa.Table:
    count = len(requests.input_tokens)
    number = np.arange(count)
    sent = origin_ns + np.rint(simulation.sent * _NS).astype(np.int64)
    first = at[np.searchsorted(of, number, side="left")]
    last = at[np.searchsorted(of, number, side="right") - 1]
    fed = np.bincount(simulation.fed[:, 0], weights=simulation.fed[:, 3], minlength=count).astype(np.int64)
    again = fed - (requests.prompts - simulation.cached)
    columns: dict[str, object] = {
        "request": number,
        "stage": ["load"] * count,
        "prompt_id": names or [f"simulated-{n}" for n in number.tolist()],
        "scheduled_ns": sent,
        "sent_ns": sent,
        "first_token_ns": first,
        "last_token_ns": last,
        "ended_ns": last,
        "input_tokens_asked": requests.prompts,
        "output_tokens_asked": requests.output_tokens,
        "input_tokens": requests.prompts,
        "output_tokens": requests.output_tokens,
        "status": ["completed"] * count,
        "cached_tokens": simulation.cached,
        "recomputed_tokens": again,
        "finish_reason": ["length"] * count,
    }
    if requests.sessions is not None:
        waits = np.zeros(count) if requests.waits is None else requests.waits
        columns["session"], columns["turn"] = requests.sessions, requests.turns
        columns["wait_ns"] = np.rint(waits * _NS).astype(np.int64)
    return _table(columns, REQUESTS, count)


def _chunks(of: Ints, at: Ints) -> pa.Table:
    each = np.bincount(of)
    so_far = np.arange(1, len(of) + 1) - np.repeat(np.cumsum(each) - each, each)
    kind = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(of), np.int8)), pa.array(["content"])).cast(pa.string())
    return _table({"request": of, "time_ns": at, "tokens": so_far, "kind": kind}, CHUNKS, len(of))


def _steps(simulation: Simulation, starts: Ints, ends: Ints, spec: ModelSpec, popularity: Popularity) -> pa.Table:
    request, step, cached = _expanded(simulation.decoded)
    count, fed = len(starts), simulation.fed
    of = np.concatenate([step, fed[:, 1]])
    order = np.argsort(of.astype(np.int32), kind="stable")
    new = np.concatenate([np.ones_like(step), fed[:, 3]])
    phase = np.concatenate([np.full(len(step), Phase.DECODE, np.int8), np.full(len(fed), Phase.PREFILL, np.int8)])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=count))]).astype(np.int32)
    tokens = np.bincount(of, weights=new, minlength=count)
    logits = np.bincount(step, minlength=count) + np.bincount(fed[:, 1], weights=fed[:, 4], minlength=count)

    def lists(values: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values[order]).cast(kind))

    layers = _distinct(spec, popularity, np.asarray(tokens, np.float64))
    flat = np.stack(layers, axis=1).ravel() if layers else np.zeros(0, np.int32)
    columns: dict[str, object] = {
        "step": np.arange(count),
        "stage": ["load"] * count,
        "start_ns": starts,
        "duration_ns": ends - starts,
        "seq_request": lists(np.concatenate([request, fed[:, 0]]), pa.int32()),
        "seq_start": lists(np.concatenate([cached, fed[:, 2]]), pa.int32()),
        "seq_new": lists(new, pa.int32()),
        "seq_phase": lists(phase, pa.int8()),
        "logits_tokens": logits,
        "distinct_experts": pa.ListArray.from_arrays(
            pa.array(np.arange(count + 1, dtype=np.int32) * len(layers)), pa.array(flat)
        ),
    }
    return _table(columns, STEPS, count)


def _distinct(spec: ModelSpec, popularity: Popularity, tokens: npt.NDArray[np.float64]) -> list[npt.NDArray[np.int32]]:
    """Distinct experts of each step in each MoE layer, whole numbers whose mean over the layers is what is expected.

    Which layers are rounded up moves on from step to step, so that no layer is above the others in the long run.
    """
    kinds = [(ffn.experts, ffn.used_experts) for ffn in spec.moe_layers]
    expected = {kind: popularity.distinct(*kind, tokens) for kind in set(kinds)}
    number, place = np.arange(len(tokens)), dict.fromkeys(expected, 0)
    layers = []
    for kind in kinds:
        count = kinds.count(kind)
        share = ((place[kind] + number) % count + 0.5) / count
        place[kind] += 1
        layers.append(np.floor(expected[kind] + share).astype(np.int32))
    return layers


def _table(columns: dict[str, object], schema: pa.Schema, count: int) -> pa.Table:
    """A table of a schema; columns that are not given are null."""
    arrays = []
    for field in schema:
        given = columns.get(field.name)
        if given is None:
            arrays.append(pa.nulls(count, field.type))
        elif isinstance(given, pa.Array):
            arrays.append(given)
        else:
            arrays.append(pa.array(given).cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
