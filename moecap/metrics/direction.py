"""Which direction of a metric is better: the one place where that is said."""

from __future__ import annotations

from typing import Literal

from moecap.metrics.accuracy import is_score

__all__ = ["Better", "better_of"]

Better = Literal["higher", "lower", "neither"]

_HIGHER = ("output_tokens_per_second", "input_tokens_per_second", "tokens_per_second", "requests_per_second", "goodput")
_LOWER = (
    *("ttft", "ttfo", "tpot", "itl", "icl", "e2e", "session.e2e"),
    *("cost_per_million", "cost.input_by_phase", "cost.output_by_phase", "cost.own_usd_per_hour", "cost.purchase_usd"),
    *("energy_per_output_token", "energy.mean_power", "carbon_per_million_output_tokens"),
    *("failed_requests", "peak_memory_bytes"),
)
_PHASES = ("prefill", "decode", "mixed", "all", "score")
_UTILISATIONS = ("s_mbu", "s_mbu_paper", "s_mbu_probed", "s_mfu")


def better_of(name: str) -> Better:
    """Which direction of a metric is better; ``neither`` where more is neither good nor bad, or that is not known.

    Utilisation counts as better when higher, though a slower engine that reads more can have more of it; ``mbu`` and
    ``mfu`` count work that is not done, so that more of them says nothing.

    Args:
        name: Name of a metric of a result.
    """
    if name.startswith("accuracy."):
        return "higher" if is_score(name) else "neither" if name.endswith("_stderr") else "lower"
    phase, _, kind = name.partition(".")
    if phase in _PHASES and kind in _UTILISATIONS:
        return "higher"
    if name.startswith(_HIGHER):
        return "higher"
    return "lower" if name.startswith(_LOWER) else "neither"
