"""Remarks on loads over HTTP: whose server it is, whether the client kept up, what the server did otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import pandas as pd

from moecap.load.calibration import CLIENT_SHARE
from moecap.metrics.repeats import worst_value
from moecap.metrics.sessions import session_spans
from moecap.metrics.value import Metric
from moecap.result import BackendRecord, Flag

__all__ = ["queue_flags", "served_flags"]

CACHED_SHARE = 0.01
"""Share of the prompts' tokens from a prefix cache beyond which prefill is not what the prompt lengths say."""


ENDED_SHARE = 0.5
"""Share of an open loop's requests that have ended when the last one is due, below which it was not steady."""


def queue_flags(requests: pd.DataFrame) -> Iterator[Flag]:
    """A flag where an open loop ended long after its last arrival: then it never was in a steady state.

    Args:
        requests: All requests of the run.
    """
    load = session_spans(requests[requests["stage"] == "load"])
    ended = int((load["ended_ns"] <= load["scheduled_ns"].max()).sum())
    if ended < ENDED_SHARE * len(load):
        yield Flag(
            name="queue_grew",
            level="warning",
            text=f"When the last of {len(load)} arrivals was due, {ended} had ended: they came faster than the server "
            "answers, or the load is too short. Its rates are not those of a steady state, and latencies grow with it.",
        )


def served_flags(
    backend: BackendRecord,
    metrics: dict[str, Metric],
    requests: pd.DataFrame,
    *,
    exact: bool = True,
    marked: bool = True,
) -> Iterator[Flag]:
    """The flags of a load over HTTP; none for an engine in process.

    Args:
        backend: The engine.
        metrics: The run's metrics.
        requests: All requests of the run.
        exact: Whether answers were to have exactly the tokens asked for; else at most as many.
        marked: Whether prompts begin with a mark of the run, or may come from a cache since the user allows it.
    """
    if backend.attached:
        yield Flag(
            name="attached",
            level="info",
            text="The server was running already: its hardware, number format and settings are as the user says.",
        )
    use = worst_value(metrics, "client.utilisation")
    if use > CLIENT_SHARE:
        now = backend.client_processes or 1
        yield Flag(
            name="client_limit",
            level="invalid",
            text=f"The load generator was at {use:.0%} of what it can take, more than {CLIENT_SHARE:.0%}: its own "
            f"delays count as the server's. Add processes where there are cores for them (it had {now}; "
            f"--client-processes {ceil(now * use / CLIENT_SHARE)}), or lower the load.",
        )
    done = requests[(requests["stage"] == "load") & (requests["status"] == "completed")]
    for kind, what in (("output", "answers"), ("input", "prompts")):
        counted = done[done[f"{kind}_tokens"].notna()]
        counts, asked = counted[f"{kind}_tokens"], counted[f"{kind}_tokens_asked"]
        other = int(((counts > asked) if kind == "output" and not exact else (counts != asked)).sum())
        if other:
            yield Flag(
                name=f"{kind}_length",
                level="warning",
                text=f"{other} of {len(counted)} {what} have not the tokens that were asked for, as the server counts.",
            )
    cached = float(done["cached_tokens"].sum())
    prompts = float((done["input_tokens"] * done["choices"].fillna(1)).sum())
    if prompts and cached / prompts > CACHED_SHARE:
        yield Flag(
            name="prefix_cache",
            level="warning",
            text=f"A prefix cache served {cached / prompts:.0%} of the prompts' tokens: prefill is that much smaller.",
        )
    told = done["cached_tokens"].notna().any() or metrics["server.prefix_cache_hit_share"].value is not None
    if backend.attached and not marked and not told:
        yield Flag(
            name="prefix_cache_possible",
            level="warning",
            text="The requests are the questions of tasks, which bear no mark of the run, and the server does not say "
            "what came from a prefix cache: where others or solved examples in common have filled it, time to first "
            "token and prefill are better than of prompts that nobody has sent before.",
        )
