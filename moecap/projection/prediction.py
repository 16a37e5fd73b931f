"""Prediction intervals of a projection's metrics, and what a projection has no value for.

An interval is the factor within which eight of ten published values lay from what was projected for them, their model
left out of the fit (:class:`~moecap.projection.coefficients.Coefficients`). A metric that was not published takes the
factor of the one that it follows from: shares of peaks and costs that of the time or rate in them, a whole request the
wider one of its two parts.
"""

from __future__ import annotations

from collections.abc import Mapping

from moecap.hardware.profile import HardwareProfile
from moecap.metrics.value import Metric
from moecap.projection.coefficients import Coefficients

__all__ = ["NOT_MEASURED", "interval_quantities", "predicted"]

NOT_MEASURED = "projected: nothing was measured"

_BEGINNINGS: dict[str, tuple[str, ...]] = {
    "ttft": ("ttft",),
    "ttfo": ("ttft",),
    "tpot": ("tpot",),
    "itl": ("itl_median",),
    "e2e": ("ttft", "tpot"),
    "session.e2e": ("ttft", "tpot"),
    "output_tokens_per_second": ("output_throughput",),
    "input_tokens_per_second": ("output_throughput",),
    "requests_per_second": ("output_throughput",),
    "cost_per_million": ("output_throughput",),
    "cost.input_by_phase": ("output_throughput",),
    "cost.output_by_phase": ("output_throughput",),
    "energy_per_output_token_estimated": ("output_throughput",),
    "energy_per_output_token": ("energy_per_output_token",),
    "carbon_per_million": ("energy_per_output_token",),
    "energy.mean_power": ("gpu_power_avg_sum",),
}
_PHASES = {"decode": ("tpot",), "prefill": ("ttft",), "mixed": ("ttft", "tpot"), "all": ("output_throughput",)}
_SHARES = ("s_mbu", "s_mbu_paper", "s_mbu_probed", "mbu", "s_mfu", "mfu", "achieved_flops")
_AT_MOST_ONE = (".s_mbu", ".s_mbu_paper", ".s_mfu")
_MEASURED = ("client.", "server.", "others_cpu_share", "peak_bandwidth_", "peak_change_", "peak_memory_bytes")
"""Beginnings of the names of metrics that only a measurement has."""


def interval_quantities(name: str) -> tuple[str, ...]:
    """The published quantities whose factors bound a metric; none for one that has no interval."""
    phase, _, share = name.partition(".")
    if phase in _PHASES and share in _SHARES:
        return _PHASES[phase]
    return next((quantities for start, quantities in _BEGINNINGS.items() if name.startswith(start)), ())


def predicted(
    metrics: Mapping[str, Metric], coefficients: Coefficients, hardware: HardwareProfile
) -> dict[str, Metric]:
    """The metrics of a projection with their 80 % prediction intervals.

    Args:
        metrics: As they follow from the simulated observations.
        coefficients: Efficiencies, costs and the factors of the intervals.
        hardware: The profile of one device.
    """
    return {name: _one(name, metric, coefficients, hardware) for name, metric in metrics.items()}


def _one(name: str, metric: Metric, coefficients: Coefficients, hardware: HardwareProfile) -> Metric:
    if metric.value is None:
        return metric.model_copy(update={"reason": NOT_MEASURED}) if name.startswith(_MEASURED) else metric
    quantities = interval_quantities(name)
    if not quantities:
        return metric
    factor = max(coefficients.interval(quantity, hardware) for quantity in quantities)
    high = metric.value * factor
    if name.endswith(_AT_MOST_ONE):
        high = max(metric.value, min(high, 1.0))
    return metric.model_copy(update={"low": metric.value / factor, "high": high, "basis": "prediction"})
