"""Remarks that follow from a server's own counters, set against what the load asked of it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from moecap.metrics.value import Metric
from moecap.result import Flag

__all__ = ["server_flags"]

CACHED_SHARE = 0.01
"""Share of the prompt tokens from a prefix cache beyond which a cache that was to be off counts as on."""


def server_flags(
    metrics: dict[str, Metric], requests: pd.DataFrame, prefix_cache: bool, choices: int = 1
) -> Iterator[Flag]:
    """The flags of a server that publishes its own counters; none where it does not.

    Args:
        metrics: The run's metrics.
        requests: All requests of the run.
        prefix_cache: Whether the run let the engine serve prompts from a prefix cache.
        choices: Choices of each request; an engine may read the prompt anew for each of them, and once before them.
    """
    load = requests[requests["stage"] == "load"]
    for name, kind, verb in (
        ("server.generated_tokens", "output", "generated"),
        ("server.prompt_tokens", "input", "read as prompts"),
    ):
        counted, bounds = (
            metrics[name].value,
            _bounds(load, kind, choices + 1 if kind == "input" and choices > 1 else 1),
        )
        if counted is None or bounds is None or bounds[0] <= counted <= bounds[1]:
            continue
        own = f"{bounds[0]:.0f}" if bounds[0] == bounds[1] else f"{bounds[0]:.0f} to {bounds[1]:.0f}"
        why = (
            "others used it meanwhile, and every speed here is of a shared server"
            if counted > bounds[1]
            else "it did not compute all of them itself, or counts otherwise"
        )
        yield Flag(
            name=f"server_{kind}_tokens",
            level="invalid" if kind == "output" and counted > bounds[1] else "warning",
            text=f"By its own counters the server {verb} {counted:.0f} tokens during the load, whose requests have "
            f"{own}: {why}.",
        )
    share = metrics["server.prefix_cache_hit_share"].value or 0
    if not prefix_cache and share > CACHED_SHARE:
        yield Flag(
            name="prefix_cache_not_off",
            level="warning",
            text=f"By the server's own counters its prefix cache served {share:.0%} of the prompt tokens, although the "
            "run did not allow it (--allow-prefix-cache).",
        )
    preempted = metrics["server.preemptions"].value or 0
    if preempted:
        yield Flag(
            name="preempted",
            level="warning",
            text=f"The server preempted running sequences {preempted:.0f} times and computed them again: its KV cache "
            "is too small for this load.",
        )


def _bounds(load: pd.DataFrame, kind: str, times: int) -> tuple[float, float] | None:
    """Fewest and most tokens that the load's requests account for; ``None`` where a count is not known.

    A request that did not complete may have had any part of what it asked for; each may be
    counted several ``times``.
    """
    completed = load["status"] == "completed"
    known = load.loc[completed, f"{kind}_tokens"]
    if known.isna().any():
        return None
    fewest = float(known.sum())
    return fewest, times * (fewest + float(load.loc[~completed, f"{kind}_tokens_asked"].sum()))
