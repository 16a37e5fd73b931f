"""Dollars for tokens, from the rent of the whole system and the speed that was measured."""

from __future__ import annotations

from moecap.metrics.value import Metric, absent, measured

__all__ = ["cost_metrics"]


def cost_metrics(
    usd_per_hour: float | None,
    output_rate: Metric,
    prefill_seconds: float,
    decode_seconds: float,
    input_tokens: int,
    output_tokens: int,
    busy_fraction: Metric,
) -> dict[str, Metric]:
    """Dollars for a million tokens at the measured utilisation.

    ``cost_per_million_output_tokens`` charges everything to the answers: $/s of the system over output tokens/s.
    ``cost_per_million_tokens`` is the blend of three input tokens to one output token, where an input token costs the
    system's time in prefill and an output token its time in decode, both grown by the idle time between steps.

    Args:
        usd_per_hour: Rent of the whole system.
        output_rate: Output tokens a second over the steady state.
        prefill_seconds: Time of the prefill steps.
        decode_seconds: Time of the decode steps.
        input_tokens: Tokens that were prefilled in that time.
        output_tokens: Tokens that were decoded in that time.
        busy_fraction: Share of the window that is step time.
    """
    unit = "USD/1e6 tokens"
    names = (
        "cost_per_million_output_tokens",
        "cost_per_million_tokens",
        "cost.input_by_phase",
        "cost.output_by_phase",
    )
    if usd_per_hour is None:
        return {n: absent(unit, "no price is known for this hardware; give one with --price") for n in names}
    per_second = usd_per_hour / 3600
    costs = {n: absent(unit, "no steady-state throughput") for n in names}
    if output_rate.value:
        costs[names[0]] = measured(per_second / output_rate.value * 1e6, unit, output_rate.n or 0)
    if input_tokens and output_tokens and busy_fraction.value:
        rate = per_second / busy_fraction.value * 1e6
        into, out = rate * prefill_seconds / input_tokens, rate * decode_seconds / output_tokens
        costs[names[1]] = measured((3 * into + out) / 4, unit, output_tokens)
        costs[names[2]] = measured(into, unit, input_tokens)
        costs[names[3]] = measured(out, unit, output_tokens)
    return costs
