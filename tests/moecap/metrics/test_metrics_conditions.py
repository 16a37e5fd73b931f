"""Who else used the processors and how the memory bandwidth stood, against arithmetic that is written out."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.hardware.profile import HardwareProfile, KernelRate, Probe
from moecap.hardware.registry import load_profile
from moecap.metrics.conditions import condition_metrics

SECOND = 10**9
COLUMNS = ["time_ns", "cpu_seconds", "processors_busy_seconds", "processors_steal_seconds"]


def _kernel(name, best):
    return KernelRate(
        kernel=name,
        kind="bandwidth",
        unit="bytes/s",
        best=best,
        median=best,
        spread=0.0,
        repeats=9,
        threads=2,
        pinned=True,
        dtype="fp32",
        library="none",
        counted="bytes",
        work=1e6,
    )


HOST = HardwareProfile(
    id="host",
    name="Host",
    vendor="Nobody",
    kind="host",
    cores=2,
    memory_bytes=10**10,
    memory_bandwidth=None,
    tdp_watts=None,
    dense_flops={},
    probe=Probe(
        version=2,
        date="2026-01-02T03:04:05+00:00",
        seconds=1.0,
        cpu_model="Host",
        threads=2,
        memory_bytes=10**10,
        last_level_cache_bytes=None,
        array_bytes=10**8,
        loadavg_before=None,
        loadavg_after=None,
        busy_before=None,
        steal=None,
        flags=(),
        versions={},
        environment={},
        kernels=(_kernel("numpy.max", 40e9), _kernel("torch.triad", 50e9)),
        absent={},
        warnings=(),
    ),
)


def _conditions(rows=(), peaks=(), *, processors=2, usable=2.0, window=(0, 10 * SECOND), profile=HOST):
    """rows: (seconds, own, busy, stolen), counters in seconds; peaks: (moment, kernel, bytes a second)."""
    telemetry = pd.DataFrame([(int(t * SECOND), *rest) for t, *rest in rows], columns=COLUMNS)
    telemetry = telemetry.assign(processors=processors, usable_processors=usable)
    checks = pd.DataFrame(peaks, columns=["moment", "kernel", "bytes_per_second"])
    return condition_metrics(SimpleNamespace(telemetry=telemetry, peaks=checks), profile, window, attached=False)


def _others(rows, **how):
    return _conditions(rows, **how)["others_cpu_share"]


def test_others_are_what_the_processors_did_beside_this_process_and_what_the_hypervisor_took():
    # 10 s on two processors: 16 s busy, 12 of them this process's; 1 s stolen. (16 - 12 + 1) / (10 * 2)
    share = _others([(0, 5.0, 100.0, 3.0), (5, 11.0, 108.0, 3.5), (10, 17.0, 116.0, 4.0)])
    assert share.value == pytest.approx(0.25)
    assert share.n == 3


def test_a_quota_makes_others_count_only_as_far_as_they_leave_less_than_it():
    # 64 processors, a quota of 2: others may use 62 of them and take nothing away
    quiet = _others([(0, 0.0, 0.0, 0.0), (10, 20.0, 20.0 + 620.0, 0.0)], processors=64)
    assert quiet.value == 0
    # they use 63: one of the two is gone
    busy = _others([(0, 0.0, 0.0, 0.0), (10, 10.0, 10.0 + 630.0, 0.0)], processors=64)
    assert busy.value == pytest.approx(0.5)


def test_two_samples_do_where_they_span_four_fifths_of_the_window():
    rows = [(0.1, 0.0, 0.0, 0.0), (0.9, 0.8, 1.2, 0.0)]  # 0.4 s of others in 0.8 s of two processors
    share = _others(rows, window=(0, SECOND))
    assert (share.value, share.n) == (pytest.approx(0.25), 2)


def test_a_short_window_takes_the_nearest_samples_outside():
    rows = [(0.0, 9.0, 9.0, 0.0), (0.3, 0.0, 10.0, 0.0), (0.4, 0.1, 10.1, 0.0), (0.5, 0.2, 10.3, 0.0), (9, 0, 99, 0)]
    share = _others(rows, window=(int(0.35 * SECOND), int(0.45 * SECOND)))
    assert share.n == 3
    assert share.value == pytest.approx(0.1 / (0.2 * 2))


def test_samples_outside_are_not_used_where_those_inside_suffice():
    rows = [(0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 2.0, 0.0), (2.0, 2.0, 3.0, 0.0), (3.0, 3.0, 5.0, 0.0)]
    assert _others(rows, window=(SECOND, 2 * SECOND)).value == 0


@pytest.mark.parametrize(
    ("rows", "how", "reason"),
    [
        ([], {}, "span less than 80%"),
        ([(5, 0.0, 0.0, 0.0)], {}, "span less than 80%"),
        ([(0, 0.0, 0.0, 0.0), (7.9, 1.0, 1.0, 0.0)], {}, "span less than 80%"),
        ([(10, 1.0, 1.0, 0.0), (0, 0.0, 0.0, 0.0)], {}, "span less than 80%"),
        ([(0, 0.0, math.nan, math.nan), (10, 1.0, math.nan, math.nan)], {}, "does not list it"),
        ([(0, 0.0, 0.0, 0.0), (10, 9.0, 0.0, 0.0)], {}, "did not advance"),
        ([(0, 0.0, 0.0, 0.0), (10, 9.0, 9.0, 0.0)], {"window": None}, "never reached"),
        ([(0, 0.0, 0.0, 0.0), (10, 9.0, 9.0, 0.0)], {"profile": load_profile("h100")}, "not this host's"),
    ],
)
def test_a_share_that_cannot_be_known_has_a_reason(rows, how, reason):
    share = _others(rows, **how)
    assert share.value is None
    assert reason in share.reason


@given(
    st.integers(1, 64).flatmap(lambda n: st.tuples(st.just(n), st.floats(0.1, n))),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.2, 5),
)
def test_the_share_lies_between_nothing_and_all_and_grows_with_what_others_do(machine, own, others, seconds):
    processors, usable = machine
    mine = own * usable * seconds
    room = processors * seconds - mine
    rows = [(0, 0.0, 0.0, 0.0), (seconds, mine, mine + others * room + 1e-6, 0.0)]
    more = [rows[0], (seconds, mine, mine + room + 1e-6, 0.0)]
    window = (0, int(seconds * SECOND))
    low, high = (_others(r, processors=processors, usable=usable, window=window).value for r in (rows, more))
    assert 0 <= low <= high + 1e-9
    assert high <= 1 + 1e-3


def test_the_bandwidth_beside_the_load_is_compared_with_the_same_kernel_of_the_probe():
    metrics = _conditions(peaks=[("before", "numpy.max", 30e9), ("after", "torch.triad", 60e9)])
    assert metrics["peak_bandwidth_before"].value == 30e9
    assert metrics["peak_bandwidth_before"].unit == "B/s"
    assert metrics["peak_change_before"].value == pytest.approx(30 / 40 - 1)
    assert metrics["peak_bandwidth_after"].value == 60e9
    assert metrics["peak_change_after"].value == pytest.approx(60 / 50 - 1)


def test_a_bandwidth_that_was_not_checked_has_a_reason():
    before = _conditions(peaks=[("after", "numpy.max", 30e9)])
    assert "before the load" in before["peak_bandwidth_before"].reason
    assert "before the load" in before["peak_change_before"].reason
    assert before["peak_change_after"].value is not None
    chip = _conditions(peaks=[("before", "numpy.max", 30e9)], profile=load_profile("h100"))
    assert "no host whose peak" in chip["peak_bandwidth_before"].reason
    unknown = _conditions(peaks=[("before", "fortran.sum", 30e9)])
    assert unknown["peak_bandwidth_before"].value == 30e9
    assert "no kernel 'fortran.sum'" in unknown["peak_change_before"].reason
