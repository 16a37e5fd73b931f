"""Where phases lie under the roofline, against arithmetic by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.metrics.roofline import Roofline, phase_point, ridge_metric, roofline_metrics
from moecap.metrics.steps import StepBytes, StepWork
from moecap.metrics.utilisation import Peaks
from moecap.observations.reader import Ragged, Steps

BOTH = np.array([True, True])
PEAKS = Peaks(2e9, "datasheet", None, {"bf16": 100e9})  # the roofs meet at 50 FLOP/B


def two_steps(kv=(4e6, 2e6), flops=(50e6, 10e6), ns=(4_000_000, 2_000_000), routed=True):
    none, read = np.zeros(2), np.array(kv)
    work = StepWork(
        StepBytes(none, none, none, none, none, none, none, read) if routed else None,
        read if routed else None,
        read,
        {"bf16": np.array(flops)},
        {"bf16": np.array(flops)},
        np.array([1, 1]),
        ~BOTH,
        BOTH,
        ~BOTH,
        ~BOTH,
    )
    empty = Ragged(np.empty(0, np.int64), np.zeros(3, np.int64))
    times = np.array(ns, np.int64)
    return work, Steps(
        stage=np.array(["load"] * 2),
        start_ns=np.cumsum(times) - times,
        duration_ns=times,
        seq_request=empty,
        seq_start=empty,
        seq_new=empty,
        seq_phase=empty,
        logits_tokens=np.ones(2, np.int64),
        distinct_experts=empty,
    )


def test_a_phase_lies_at_the_ratio_of_its_sums_and_under_the_slope_memory_binds():
    metrics = roofline_metrics("decode", *two_steps(), BOTH, PEAKS)
    assert metrics["decode.arithmetic_intensity"].value == pytest.approx(
        10
    )  # 60 MFLOP of 6 MB, not the mean of 12.5, 5
    assert metrics["decode.achieved_flops"].value == pytest.approx(10e9)  # in 6 ms
    assert metrics["decode.attainable_flops"].value == pytest.approx(20e9)  # 2 GB/s times 10 FLOP/B
    assert metrics["decode.intensity_over_ridge"].value == pytest.approx(10 / 50)
    assert {metric.n for metric in metrics.values()} == {2}
    assert ridge_metric(PEAKS, {})["roofline.ridge"].value == 50


def test_beyond_the_ridge_arithmetic_binds():
    metrics = roofline_metrics("prefill", *two_steps(kv=(1e5, 1e5)), BOTH, PEAKS)
    assert metrics["prefill.arithmetic_intensity"].value == pytest.approx(300)
    assert metrics["prefill.attainable_flops"].value == 100e9
    assert metrics["prefill.intensity_over_ridge"].value == pytest.approx(6)
    roofline = Roofline(2e9, 100e9)
    assert [roofline.bound(x) for x in (49.9, 50.0)] == ["memory", "arithmetic"]


@given(st.floats(1e6, 1e13), st.floats(1e6, 1e16), st.floats(1e-3, 1e6))
def test_the_lower_roof_binds(bandwidth, flops, intensity):
    roofline = Roofline(bandwidth, flops)
    assert roofline.attainable(intensity) <= flops
    assert roofline.attainable(intensity) <= bandwidth * intensity
    roof = {"memory": bandwidth * intensity, "arithmetic": flops}[roofline.bound(intensity)]
    assert roofline.attainable(intensity) == pytest.approx(roof, rel=1e-12)


def test_without_a_step_or_its_routing_there_is_no_place():
    work, steps = two_steps()
    nothing = roofline_metrics("mixed", work, steps, ~BOTH, PEAKS)
    assert {(m.value, m.reason) for m in nothing.values()} == {(None, "no mixed step in the window")}
    work, steps = two_steps(routed=False)
    assert phase_point(work, steps, BOTH) is None
    unknown = roofline_metrics("decode", work, steps, BOTH, PEAKS)
    assert all("were not captured" in m.reason for m in unknown.values())


def test_a_format_that_the_chip_lacks_leaves_the_intensity_without_a_roof():
    peaks = Peaks(2e9, "datasheet", None, {"fp8": None})
    metrics = roofline_metrics("decode", *two_steps(), BOTH, peaks)
    assert metrics["decode.arithmetic_intensity"].value == pytest.approx(10)
    assert metrics["decode.achieved_flops"].value == pytest.approx(10e9)
    for name in ("decode.attainable_flops", "decode.intensity_over_ridge"):
        assert metrics[name].reason == "this hardware has no native rate for fp8"
    assert ridge_metric(peaks, {})["roofline.ridge"].value is None
