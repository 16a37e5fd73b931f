"""S-MFU of models that compute in several number formats, Σ FLOPs_f / peak_f, against arithmetic by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.hardware.registry import load_profile
from moecap.metrics.roofline import Roofline, roofline_metrics
from moecap.metrics.steps import step_work
from moecap.metrics.summary import RunFacts, hardware_peaks
from moecap.metrics.utilisation import Peaks, utilisation
from moecap.models.formats import checkpoint_formats
from moecap.models.reading import read_model_as
from moecap.models.registry import load_model_config
from moecap.observations.reader import Ragged, Steps

H100_BF16, H100_FP8 = 989.4e12, 1978.9e12
ONE = np.array([True])
NVFP4 = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}

# DeepSeek-V3, one token: 61 layers of latent attention, 3 dense networks, 58 layers with 8 routed and 1 shared expert
ATTENTION = 61 * (7168 * 1536 + 1536 * 128 * 192 + 7168 * 576 + 512 * 128 * 256 + 128 * 128 * 7168)
NETWORKS = 3 * 3 * 7168 * 18432 + 58 * 9 * 3 * 7168 * 2048
ROUTERS = 58 * 7168 * 256
HEAD = 129_280 * 7168
SCORES = 61 * 2 * 128 * (2 * 512 + 64)  # of one query and one key, absorbed


def _decode(layers, experts, microseconds):
    """One sequence with 1000 entries that is fed one token."""
    one = Ragged(np.array([0]), np.array([0, 1]))
    return Steps(
        stage=np.array(["load"]),
        start_ns=np.array([0]),
        duration_ns=np.array([microseconds * 1000]),
        seq_request=one,
        seq_start=Ragged(np.array([1000]), np.array([0, 1])),
        seq_new=Ragged(np.array([1]), np.array([0, 1])),
        seq_phase=Ragged(np.array([1], np.int8), np.array([0, 1])),
        logits_tokens=np.array([1]),
        distinct_experts=Ragged(np.full(layers, experts), np.array([0, layers])),
    )


def _step(name, hardware, layers, experts, cache="bf16", changes=None):
    """Work, step and peaks of a model in its own formats with activations in bf16."""
    config = load_model_config(name)[0] | (changes or {})
    spec = read_model_as(config, name, checkpoint_formats("bf16", cache))
    facts, steps = RunFacts(spec, load_profile(hardware), 1, "bf16", 1, None), _decode(layers, experts, 1000)
    return step_work(spec, steps, facts.parallelism, facts.compute_dtype), steps, hardware_peaks(facts)


def test_fp8_projections_and_bf16_scores_router_and_head_each_have_their_own_peak():
    work, steps, peaks = _step("deepseek-v3", "h100", 58, 8)
    fp8, bf16 = 2 * (ATTENTION + NETWORKS), 2 * ROUTERS + 2 * HEAD + 1001 * SCORES
    assert (fp8, bf16) == (71_182_974_976, 19_073_417_216)
    assert {name: flops[0] for name, flops in work.flops_by_format.items()} == {"fp8": fp8, "bf16": bf16}
    metrics = utilisation("decode", work, steps, ONE, peaks, True)
    least = fp8 / H100_FP8 + bf16 / H100_BF16
    assert metrics["decode.s_mfu"].value == pytest.approx(least / 1e-3, rel=1e-12)
    assert least == pytest.approx(55.2487e-6, rel=1e-5)
    spare = 2 * 58 * (256 - 8) * 3 * 7168 * 2048
    assert metrics["decode.mfu"].value == pytest.approx((least + spare / H100_FP8) / 1e-3, rel=1e-12)


def test_a_cache_in_fp8_moves_the_scores_to_fp8():
    work, *_ = _step("deepseek-v3", "h100", 58, 8, cache="fp8")
    assert work.flops_by_format["bf16"][0] == 2 * ROUTERS + 2 * HEAD
    assert work.flops_by_format["fp8"][0] == 2 * (ATTENTION + NETWORKS) + 1001 * SCORES


def test_mxfp4_weights_are_held_against_the_peak_of_bf16():
    # gpt-oss-20b: 24 layers of 2880, 64 heads of 64, 8 KV heads, 4 of 32 experts of 2880; half the layers see 128
    work, steps, peaks = _step("gpt-oss-20b", "h100", 24, 4)
    token = 24 * (2880 * 64 * 64 * 2 + 2 * 2880 * 8 * 64 + 2880 * 32 + 4 * 3 * 2880 * 2880) + 201_088 * 2880
    pairs = 12 * (1001 + 128) * 2 * 64 * (64 + 64)
    assert work.flops.tolist() == [2 * token + pairs]
    assert dict(peaks.flops) == {"bf16": H100_BF16}
    metrics = utilisation("decode", work, steps, ONE, peaks, True)
    assert metrics["decode.s_mfu"].value == (2 * token + pairs) / (1e-3 * H100_BF16)


def test_a_chip_without_a_format_of_the_model_has_no_s_mfu_and_one_with_it_has():
    work, steps, peaks = _step("mixtral", "h100", 32, 2, changes=NVFP4)
    metrics = utilisation("decode", work, steps, ONE, peaks, True)
    assert metrics["decode.s_mfu"].value is None
    assert metrics["decode.s_mfu"].reason == "this hardware has no native rate for fp4"
    assert metrics["decode.s_mbu"].value > 0
    work, steps, peaks = _step("mixtral", "b200-sxm", 32, 2, changes=NVFP4)
    fp4 = 2 * 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 2 * 3 * 4096 * 14336)
    bf16 = 2 * 32 * 4096 * 8 + 2 * 32_000 * 4096 + 32 * 1001 * 4 * 32 * 128
    metrics = utilisation("decode", work, steps, ONE, peaks, True)
    assert metrics["decode.s_mfu"].value == pytest.approx((fp4 / 9000e12 + bf16 / 2250e12) / 1e-3, rel=1e-12)


def test_the_roof_of_a_phase_is_the_peak_of_its_own_mix():
    work, steps, peaks = _step("deepseek-v3", "h100", 58, 8)
    metrics = roofline_metrics("decode", work, steps, ONE, peaks)
    fp8, bf16 = (work.flops_by_format[name][0] for name in ("fp8", "bf16"))
    peak = (fp8 + bf16) / (fp8 / H100_FP8 + bf16 / H100_BF16)
    ridge = peak / 3.35e12
    intensity = (fp8 + bf16) / work.bytes.total()[0]
    assert metrics["decode.intensity_over_ridge"].value == pytest.approx(intensity / ridge, rel=1e-12)
    assert Roofline.of(peaks, {"fp8": fp8, "bf16": bf16}).ridge == pytest.approx(ridge, rel=1e-12)


def test_without_a_step_there_is_no_mix_of_several_formats():
    peaks = Peaks(1e12, "datasheet", None, {"fp8": 4e12, "bf16": 2e12})
    assert peaks.of_mix({"fp8": 0.0, "bf16": 0.0}) is None
    assert "not known how the work is shared between fp8 and bf16" in peaks.no_rate({})
    assert peaks.of_mix({"fp8": 3.0, "bf16": 0.0}) == 4e12
    lacking = Peaks(1e12, "datasheet", None, {"fp8": None, "bf16": 2e12})
    assert lacking.of_mix({"fp8": 1.0, "bf16": 5.0}) is None
    assert lacking.of_mix({"fp8": 0.0, "bf16": 5.0}) == 2e12


@given(st.dictionaries(st.sampled_from(["fp8", "bf16", "fp4", "int8"]), st.floats(1.0, 1e18), min_size=1))
def test_a_mix_is_no_faster_than_its_fastest_and_no_slower_than_its_slowest_format(work):
    rates = {"fp8": 2e15, "bf16": 1e15, "fp4": 4e15, "int8": 2e15}
    peaks = Peaks(1e12, "datasheet", None, rates)
    used = [rates[name] for name in work]
    mixed = peaks.of_mix(work)
    assert min(used) * (1 - 1e-12) <= mixed <= max(used) * (1 + 1e-12)
    assert sum(work.values()) / mixed == pytest.approx(sum(work[name] / rates[name] for name in work), rel=1e-12)
