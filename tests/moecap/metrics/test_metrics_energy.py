"""Energy and carbon of tokens against hand calculation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.config import CostConfig
from moecap.hardware.registry import load_profile
from moecap.metrics.constants import constants_in_force
from moecap.metrics.energy import counted_energy, energy_metrics, energy_scope
from moecap.metrics.value import absent, measured

S = 1_000_000_000
H100 = load_profile("h100")
RATE = measured(100.0, "tokens/s", 10)


def samples(times, joules):
    return pd.DataFrame({"time_ns": (np.asarray(times) * S).astype(np.int64), "energy_joules": joules})


def energies(telemetry, window=(0, 10 * S), rate=RATE, profile=H100, devices=1):
    found = constants_in_force(CostConfig(pue=1.5, gco2_per_kwh=400), None, profile, devices)
    return energy_metrics(telemetry, window, rate, profile, devices, found)


def test_energy_of_a_token_is_mean_power_over_tokens_a_second():
    times = np.arange(0, 10.5, 0.5)
    metrics = energies(samples(times, 5000 + 300 * times))
    assert metrics["energy.mean_power"].value == pytest.approx(300)
    assert metrics["energy_per_output_token"].value == pytest.approx(3.0)
    assert metrics["energy_per_output_token"].n == 21
    assert metrics["energy.coverage"].value == pytest.approx(1)


def test_carbon_is_energy_of_the_site_times_the_intensity_of_the_grid():
    times = np.arange(0, 10.5, 0.5)
    metrics = energies(samples(times, 360 * times))
    # 3.6 J a token are 1 kWh a million tokens; 1.5 kWh with the site; 400 g each
    assert metrics["carbon_per_million_output_tokens"].value == pytest.approx(600)


def test_intervals_that_cross_an_end_of_the_window_count_with_their_share():
    # 100 W for the first 2 s, 200 W after; the window is 1 s to 4 s: 100 + 400 J
    counted = counted_energy(np.array([0, 2, 4, 6]) * S, np.array([0.0, 200, 600, 1000]), (1 * S, 4 * S))
    assert (counted.joules, counted.seconds, counted.samples) == (500, 3, 3)


def test_unread_samples_are_left_out():
    counted = counted_energy(np.array([0, 1, 2]) * S, np.array([0.0, np.nan, 200]), (0, 2 * S))
    assert (counted.joules, counted.seconds) == (200, 2)


def test_a_counter_that_was_set_back_leaves_its_interval_uncovered():
    counted = counted_energy(np.arange(5) * S, np.array([900.0, 1000, 50, 150, 250]), (0, 4 * S))
    assert (counted.joules, counted.seconds) == (300, 3)


@pytest.mark.parametrize(("missing", "known"), [(0.4, True), (0.6, False)])
def test_samples_must_cover_95_percent_of_the_window(missing, known):
    times = np.arange(0, 10.01 - missing, 0.2)
    metrics = energies(samples(times, 300 * times))
    assert (metrics["energy_per_output_token"].value is not None) == known
    if not known:
        assert "cover 94% of the steady state, less than 95%" in metrics["energy_per_output_token"].reason
        assert metrics["energy.coverage"].value == pytest.approx(0.94)


def test_a_gap_of_more_than_two_seconds_is_not_covered():
    times = np.array([0, 1, 2, 3, 6, 7, 8, 9, 10.0])
    metrics = energies(samples(times, 300 * times))
    assert metrics["energy.coverage"].value == pytest.approx(0.7)
    assert metrics["energy_per_output_token"].value is None


def test_a_window_of_less_than_two_seconds_gives_no_energy():
    times = np.arange(0, 10, 0.1)
    metrics = energies(samples(times, 300 * times), window=(0, int(1.9 * S)))
    assert (
        metrics["energy_per_output_token"].reason == "the steady state lasted 1.90 s and a counter needs at least 2 s"
    )


@pytest.mark.parametrize(
    ("hw", "word"), [("h100", "NVML"), ("epyc-9654-1s", "/sys/class/powercap")], ids=["board", "package"]
)
def test_without_a_counter_the_reason_names_the_counter_that_is_missing(hw, word):
    metrics = energies(samples([0, 1, 2], [np.nan] * 3), profile=load_profile(hw))
    for name in ("energy_per_output_token", "carbon_per_million_output_tokens", "energy.mean_power"):
        assert metrics[name].value is None
        assert word in metrics[name].reason


def test_the_estimate_stands_apart_and_is_the_design_power_of_all_devices():
    metrics = energies(samples([0, 1, 2], [np.nan] * 3), devices=2)
    assert metrics["energy_per_output_token_estimated"].value == pytest.approx(2 * 700 / 100)
    assert metrics["energy_per_output_token"].value is None
    unknown = energies(samples([0], [np.nan]), profile=load_profile("generic-vm-2vcpu"))
    assert "thermal design power is not known" in unknown["energy_per_output_token_estimated"].reason


def test_without_throughput_power_stays_and_tokens_have_no_energy():
    times = np.arange(0, 10.5, 0.5)
    metrics = energies(samples(times, 300 * times), rate=absent("tokens/s", "nothing was answered"))
    assert metrics["energy.mean_power"].value == pytest.approx(300)
    assert metrics["energy_per_output_token"].reason == "nothing was answered"


def test_without_a_steady_state_or_samples_there_is_no_energy():
    assert energies(samples([0, 1], [0.0, 1.0]), window=None)["energy_per_output_token"].value is None
    assert energies(samples([], []))["energy_per_output_token"].value is None


@given(
    powers=st.lists(st.floats(0, 1e4), min_size=4, max_size=30),
    cut=st.floats(0.1, 0.9),
)
def test_energy_is_additive_over_windows(powers, cut):
    at = np.arange(len(powers) + 1, dtype=np.int64) * S
    count = np.concatenate([[0.0], np.cumsum(powers)])
    end = int(at[-1])
    middle = int(cut * end)
    parts = [counted_energy(at, count, w) for w in ((0, middle), (middle, end))]
    whole = counted_energy(at, count, (0, end))
    assert sum(p.joules for p in parts) == pytest.approx(whole.joules, rel=1e-9, abs=1e-6)
    assert sum(p.seconds for p in parts) == pytest.approx(whole.seconds)
    assert whole.joules == pytest.approx(sum(powers), rel=1e-9, abs=1e-9)


def test_why_nothing_was_counted_is_what_the_run_noted():
    times = np.arange(0, 10.5, 0.5)
    noted = samples(times, np.full(len(times), np.nan)).assign(energy_counter="none: Zeus sees 1 of 2 devices")
    assert energies(noted)["energy_per_output_token"].reason == "Zeus sees 1 of 2 devices"


def test_the_scope_of_the_energy_names_what_read_it():
    times = np.arange(3)
    read = {name: samples(times, 9.0 * times).assign(energy_counter=name) for name in ("nvml", "zeus 0.16.0")}
    assert energy_scope(read["nvml"], H100) == "accelerator boards (NVML); the host is not in it"
    assert energy_scope(read["zeus 0.16.0"], H100) == "accelerator boards (zeus 0.16.0); the host is not in it"
    assert (
        energy_scope(samples(times, 9.0 * times), H100) == energy_scope(None, H100) == energy_scope(read["nvml"], H100)
    )
