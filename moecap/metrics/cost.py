"""Dollars for tokens, from what the whole system costs an hour and the speed that was measured."""

from __future__ import annotations

from moecap.metrics.value import Metric, absent, measured

__all__ = ["AT_UTILISATION", "COSTS", "cost_metrics"]

COSTS = (
    "cost_per_million_output_tokens",
    "cost_per_million_tokens",
    "cost.input_by_phase",
    "cost.output_by_phase",
)
AT_UTILISATION = "_at_utilisation"
UNIT = "USD/1e6 tokens"


def cost_metrics(
    usd_per_hour: Metric,
    output_rate: Metric,
    prefill_seconds: float,
    decode_seconds: float,
    input_tokens: int,
    output_tokens: int,
    busy_fraction: Metric,
    utilisation: float | None,
) -> dict[str, Metric]:
    """Dollars for a million tokens at the measured speed.

    ``cost_per_million_output_tokens`` charges everything to the answers: $/s of the system over output tokens/s.
    ``cost_per_million_tokens`` is the blend of three input tokens to one output token, where an input token costs the
    system's time in prefill and an output token its time in decode, both grown by the idle time between steps.

    These are at full utilisation: the speed of the steady state in every hour that is paid. With the ending
    ``_at_utilisation`` the same load fills only the share U of the paid hours and nothing runs in the others, so each
    token costs 1/U as much.

    Args:
        usd_per_hour: What the whole system costs an hour, rented or owned; its reason becomes that of the costs.
        output_rate: Output tokens a second over the steady state.
        prefill_seconds: Time of the prefill steps.
        decode_seconds: Time of the decode steps.
        input_tokens: Tokens that were prefilled in that time.
        output_tokens: Tokens that were decoded in that time.
        busy_fraction: Share of the window that is step time.
        utilisation: U, the share of the paid hours that the load fills, in (0, 1], or ``None`` where it is not known.
    """
    full = _full(usd_per_hour, output_rate, prefill_seconds, decode_seconds, input_tokens, output_tokens, busy_fraction)
    return full | {name + AT_UTILISATION: _at(metric, utilisation) for name, metric in full.items()}


def _full(
    usd_per_hour: Metric,
    output_rate: Metric,
    prefill_seconds: float,
    decode_seconds: float,
    input_tokens: int,
    output_tokens: int,
    busy_fraction: Metric,
) -> dict[str, Metric]:
    if usd_per_hour.value is None:
        return {name: absent(UNIT, usd_per_hour.reason or "no price is known") for name in COSTS}
    per_second = usd_per_hour.value / 3600
    slow = "no steady-state throughput"
    unsplit = busy_fraction.reason or "no step of the steady state only prefills, or none only decodes"
    costs = {name: absent(UNIT, unsplit if output_rate.value and i else slow) for i, name in enumerate(COSTS)}
    if output_rate.value:
        costs[COSTS[0]] = measured(per_second / output_rate.value * 1e6, UNIT, output_rate.n or 0)
    if input_tokens and output_tokens and busy_fraction.value:
        rate = per_second / busy_fraction.value * 1e6
        into, out = rate * prefill_seconds / input_tokens, rate * decode_seconds / output_tokens
        costs[COSTS[1]] = measured((3 * into + out) / 4, UNIT, output_tokens)
        costs[COSTS[2]] = measured(into, UNIT, input_tokens)
        costs[COSTS[3]] = measured(out, UNIT, output_tokens)
    return costs


def _at(metric: Metric, utilisation: float | None) -> Metric:
    if metric.value is None:
        return metric
    if not utilisation:
        return absent(UNIT, "the share of the paid hours that the load fills is not known", metric.n or 0)
    return metric.model_copy(update={"value": metric.value / utilisation})
