import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moecap.errors import UnknownNameError
from moecap.hardware.profile import HardwareProfile, KernelRate, Peak, Probe

TINY = {
    "id": "chip",
    "name": "Chip",
    "vendor": "V",
    "kind": "accelerator",
    "memory_bytes": 8_000_000_000,
    "memory_bandwidth": 1.0e12,
    "tdp_watts": 100,
    "dense_flops": {"bf16": 2.0e14, "fp8": None},
}


def rate(kernel: str, kind: str, best: float, dtype: str = "fp32") -> KernelRate:
    unit = "bytes/s" if kind == "bandwidth" else "FLOP/s"
    return KernelRate.model_validate(
        {
            "kernel": kernel,
            "kind": kind,
            "unit": unit,
            "best": best,
            "median": best / 2,
            "spread": 0.5,
            "repeats": 5,
            "threads": 2,
            "pinned": True,
            "dtype": dtype,
            "library": "numpy 2",
            "counted": "bytes",
            "work": 100,
        }
    )


def probe(*kernels: KernelRate) -> Probe:
    return Probe(
        version=1,
        date="2026-11-24T00:00:00+00:00",
        seconds=9,
        cpu_model="CPU",
        threads=2,
        memory_bytes=8 << 30,
        last_level_cache_bytes=None,
        array_bytes=256_000_000,
        loadavg_before=0.1,
        busy_before=0.0,
        loadavg_after=0.2,
        steal=0.0,
        flags=(),
        versions={},
        environment={},
        kernels=kernels,
        absent={},
        warnings=(),
    )


def test_a_missing_format_has_no_peak_and_never_borrows_the_next_wider_one():
    chip = HardwareProfile.model_validate(TINY)
    assert chip.peak_flops("fp8") is None
    assert chip.peak_flops("fp4") is None  # not even named in the file
    assert chip.peak_flops("bf16") == Peak(2.0e14, "datasheet", "evidence not graded")


def test_formats_are_known_under_the_names_that_configs_use():
    chip = HardwareProfile.model_validate(TINY)
    assert chip.peak_flops("torch.bfloat16") == chip.peak_flops("bf16")
    with pytest.raises(UnknownNameError):
        chip.peak_flops("bf17")


def test_a_host_without_datasheet_takes_the_best_probed_kernel():
    measured = probe(
        rate("numpy.copy", "bandwidth", 20e9),
        rate("torch.triad", "bandwidth", 30e9),
        rate("numpy.matmul.fp32", "matmul", 180e9),
        rate("torch.matmul.fp32", "matmul", 170e9),
        rate("torch.matmul.bf16", "matmul", 400e9, "bf16"),
    )
    host = HardwareProfile.model_validate(
        {**TINY, "kind": "host", "memory_bandwidth": None, "dense_flops": {}, "probe": measured}
    )
    assert host.peak_bandwidth == Peak(30e9, "probed", "torch.triad")
    assert host.peak_flops("fp32") == Peak(180e9, "probed", "numpy.matmul.fp32")
    assert host.peak_flops("bf16") == Peak(400e9, "probed", "torch.matmul.bf16")
    assert host.peak_flops("fp16") is None


def test_a_datasheet_figure_goes_before_a_probed_one():
    chip = HardwareProfile.model_validate({**TINY, "probe": probe(rate("numpy.copy", "bandwidth", 2e9))})
    assert chip.peak_bandwidth is not None
    assert (chip.peak_bandwidth.value, chip.peak_bandwidth.source) == (1.0e12, "datasheet")


def test_a_host_that_was_not_probed_has_no_peaks():
    host = HardwareProfile.model_validate({**TINY, "kind": "host", "memory_bandwidth": None, "dense_flops": {}})
    assert host.peak_bandwidth is None
    assert host.peak_flops("fp32") is None


@pytest.mark.parametrize("field", ["memory_bytes", "memory_bandwidth", "tdp_watts"])
@given(bad=st.one_of(st.floats(max_value=0), st.just(math.nan), st.just(math.inf), st.booleans(), st.just("1e999")))
def test_no_figure_is_negative_zero_infinite_or_a_truth_value(field, bad):
    with pytest.raises(ValidationError):
        HardwareProfile.model_validate({**TINY, field: bad})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0, True])
def test_no_peak_is_zero_or_worse(bad):
    with pytest.raises(ValidationError):
        HardwareProfile.model_validate({**TINY, "dense_flops": {"bf16": bad}})


@pytest.mark.parametrize(
    "change",
    [{"surprise": 1}, {"dense_flops": {"bf17": 1e12}}, {"memory_bandwidth": None}, {"name": "a\nb"}, {"id": "A b"}],
)
def test_unknown_keys_formats_and_unprintable_text_are_refused(change):
    with pytest.raises(ValidationError):
        HardwareProfile.model_validate({**TINY, **change})


def test_exponents_that_yaml_reads_as_text_are_numbers():
    assert HardwareProfile.model_validate({**TINY, "memory_bandwidth": "3.35e12"}).memory_bandwidth == 3.35e12


@given(gigabytes=st.integers(4, 512))
def test_a_size_in_gib_counts_as_the_same_number_of_gb(gigabytes):
    chip = HardwareProfile.model_validate({**TINY, "memory_bytes": gigabytes * 10**9})
    assert chip.holds_memory(gigabytes * 2**30) == gigabytes * 10**9
    assert chip.holds_memory(gigabytes * 2**30 // 2) is None
    assert chip.holds_memory(gigabytes * 2**31) is None
