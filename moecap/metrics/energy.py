"""Joules and grams of CO2 for output tokens, from the device's own energy counter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.hardware.energy_source import NO_COUNTER, SILENT
from moecap.hardware.profile import HardwareProfile
from moecap.metrics.constants import Constant, constant_value
from moecap.metrics.value import Metric, absent, measured

__all__ = ["CountedEnergy", "counted_energy", "energy_metrics", "energy_scope"]

SCOPES = {
    "accelerator": ("accelerator boards", "NVML", "the host is not in it"),
    "host": ("host package", "RAPL", "memory, board and losses of the power supply are not in it"),
}
"""What the counter of each kind of hardware covers, by what it is read, and what it leaves out."""

COUNTER = {"accelerator": "nvml", "host": "rapl"}

MIN_SECONDS = 2.0
MIN_COVERAGE = 0.95
MAX_GAP_SECONDS = 2.0
"""Two samples further apart than this leave the time between them uncovered."""

JOULES_PER_KWH = 3.6e6
GRAMS = "gCO2/1e6 tokens"


@dataclass(frozen=True, slots=True)
class CountedEnergy:
    """What a counter says about a window.

    Attributes:
        joules: Energy of the time that samples cover.
        seconds: That time.
        samples: Samples that bear a count and bound it.
    """

    joules: float
    seconds: float
    samples: int


def energy_scope(telemetry: pd.DataFrame | None, profile: HardwareProfile) -> str:
    """What the counter of a run covers and by what it was read; without telemetry, what one would cover."""
    covered, own, without = SCOPES[profile.kind]
    name = None if telemetry is None else _counter(telemetry)
    return f"{covered} ({name if name and name.startswith('zeus') else own}); {without}"


def _counter(telemetry: pd.DataFrame) -> str | None:
    """What counted, as the run noted it; ``None`` where it did not."""
    if "energy_counter" not in telemetry:
        return None
    noted = telemetry["energy_counter"].dropna()
    return str(noted.iloc[0]) if len(noted) else None


def counted_energy(
    time_ns: npt.NDArray[np.int64], joules: npt.NDArray[np.float64], window: tuple[int, int]
) -> CountedEnergy:
    """The energy that a counter went up by inside a window.

    Power is taken as constant between two samples, so an interval that crosses an end of the window counts with the
    share of it that lies inside. An interval of more than 2 s, or in which the counter fell (it was set back), is not
    covered.

    Args:
        time_ns: When each sample was taken, monotonic ns, rising, [samples].
        joules: The counter, NaN where it was not read, [samples].
        window: Start and end, monotonic ns.
    """
    read = ~np.isnan(joules)
    at, count = time_ns[read], joules[read]
    length, used = np.diff(at) * 1e-9, np.diff(count)
    inside = (np.minimum(at[1:], window[1]) - np.maximum(at[:-1], window[0])) * 1e-9
    good = (inside > 0) & (length <= MAX_GAP_SECONDS) & (used >= 0)
    ends = np.zeros(len(at), bool)
    ends[:-1] |= good
    ends[1:] |= good
    share = inside[good] / length[good]
    return CountedEnergy(float(np.sum(used[good] * share)), float(np.sum(inside[good])), int(ends.sum()))


def energy_metrics(
    telemetry: pd.DataFrame,
    window: tuple[int, int] | None,
    output_rate: Metric,
    profile: HardwareProfile,
    devices: int,
    constants: Sequence[Constant],
    projected: Metric | None = None,
) -> dict[str, Metric]:
    """Energy and carbon of output tokens over the steady state.

    Args:
        telemetry: Samples with ``time_ns`` and ``energy_joules``, the sum over the counters of all devices.
        window: The steady state in monotonic ns, or ``None``.
        output_rate: Output tokens a second over it.
        profile: The hardware of one device.
        devices: Number of devices.
        constants: The constants in force, for carbon.
        projected: The mean power of a projection, which no counter counts.

    Returns:
        ``energy_per_output_token`` (mean power over output tokens a second), ``energy.mean_power``,
        ``energy.coverage`` (share of the steady state that samples cover), ``carbon_per_million_output_tokens``
        (energy · PUE · intensity of the grid) and ``energy_per_output_token_estimated``, which is no measurement: the
        thermal design power of all devices over output tokens a second, an upper bound of what they draw.
    """
    if projected is None:
        power, coverage = _mean_power(telemetry, window, profile)
    else:
        power, coverage = projected, absent("1", "projected: the power is that of a model and no counter was read")
    joules = _a_token(power, output_rate)
    return {
        "energy_per_output_token": joules,
        "energy_per_output_token_estimated": _a_token(_design_power(profile, devices), output_rate),
        "energy.mean_power": power,
        "energy.coverage": coverage,
        "carbon_per_million_output_tokens": _carbon(joules, constants),
    }


def _mean_power(
    telemetry: pd.DataFrame, window: tuple[int, int] | None, profile: HardwareProfile
) -> tuple[Metric, Metric]:
    joules = telemetry["energy_joules"].to_numpy(np.float64, na_value=np.nan)

    def neither(reason: str, n: int = 0) -> tuple[Metric, Metric]:
        return absent("W", reason, n), absent("1", reason, n)

    if np.isnan(joules).all():
        name = _counter(telemetry)
        silent = name is not None and name.startswith(NO_COUNTER)
        return neither(name.removeprefix(NO_COUNTER) if name and silent else SILENT[COUNTER[profile.kind]])
    if window is None:
        return neither("the target concurrency was never reached")
    length = (window[1] - window[0]) * 1e-9
    if length < MIN_SECONDS:
        return neither(f"the steady state lasted {length:.2f} s and a counter needs at least {MIN_SECONDS:g} s")
    counted = counted_energy(telemetry["time_ns"].to_numpy(np.int64), joules, window)
    share = counted.seconds / length
    coverage = measured(share, "1", counted.samples)
    if share < MIN_COVERAGE:
        reason = f"samples of the counter cover {share:.0%} of the steady state, less than {MIN_COVERAGE:.0%}"
        return absent("W", reason, counted.samples), coverage
    return measured(counted.joules / counted.seconds, "W", counted.samples), coverage


def _design_power(profile: HardwareProfile, devices: int) -> Metric:
    if profile.tdp_watts is None:
        return absent("W", "the hardware's thermal design power is not known")
    return Metric(value=profile.tdp_watts * devices, unit="W")


def _a_token(power: Metric, rate: Metric) -> Metric:
    unit = "J/token"
    if power.value is None:
        return absent(unit, power.reason or "", power.n or 0)
    if not rate.value:
        return absent(unit, rate.reason or "no output token in the steady state", rate.n or 0)
    return Metric(value=power.value / rate.value, unit=unit, n=power.n)


def _carbon(joules: Metric, constants: Sequence[Constant]) -> Metric:
    if joules.value is None:
        return absent(GRAMS, joules.reason or "", joules.n or 0)
    pue, intensity = (constant_value(constants, name) for name in ("pue", "gco2_per_kwh"))
    if pue is None or intensity is None:
        return absent(GRAMS, "the result does not hold PUE and the intensity of the grid", joules.n or 0)
    return Metric(value=joules.value * 1e6 / JOULES_PER_KWH * pue * intensity, unit=GRAMS, n=joules.n)
