"""Steps of a run in a declared layout: bytes and utilisation of each tier, against hand calculation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.hardware.registry import load_profile
from moecap.metrics.memory_layout import Layout
from moecap.metrics.steps import step_work
from moecap.metrics.summary import RunFacts, hardware_peaks
from moecap.metrics.tier_utilisation import SPREAD, binding_tier, tier_metrics
from moecap.metrics.utilisation import utilisation
from moecap.models.registry import load_model
from moecap.observations.reader import Ragged, Steps
from moecap.observations.schema import Phase
from moecap.runner.layout_flags import layout_flags

MIXTRAL, _ = load_model("mixtral", weights="bf16", kv="bf16")
A5000 = load_profile("rtx-a5000")
EXPERT = 3 * 4096 * 14336 * 2  # bytes of w1, w2 and w3 of one expert
LAYERS = 32
ATTENTION = 2 * (4096 * 4096 + 4096 * 1024) * 2  # bytes of q, o, k and v of a layer
HEAD = 32000 * 4096 * 2
KV_TOKEN = 2 * 8 * 128 * 2 * LAYERS
ALWAYS = LAYERS * (ATTENTION + 4096 * 8 * 2 + 2 * 4096 * 2) + 4096 * 2 + HEAD + 4096 * 2  # and one embedding row
OFFLOADED = {
    "experts": "dram",
    "hit_rate": 0.2,
    "tiers": {"link": {"kind": "pcie4-x16"}, "dram": {"kind": "ddr4-3200", "units": 8}},
}


def ragged(rows):
    return Ragged(np.array([x for row in rows for x in row], np.int64), np.cumsum([0, *map(len, rows)]))


def steps_of(*rows):
    """rows: (start, new, phase, distinct experts of each layer, seconds) of steps with one sequence."""
    start, new, phase, distinct, seconds = zip(*rows, strict=True)
    return Steps(
        stage=np.array(["load"] * len(rows)),
        start_ns=np.arange(len(rows), dtype=np.int64) * 10**10,
        duration_ns=np.array([round(1e9 * s) for s in seconds], np.int64),
        seq_request=ragged([[0]] * len(rows)),
        seq_start=ragged([[s] for s in start]),
        seq_new=ragged([[n] for n in new]),
        seq_phase=ragged([[p] for p in phase]),
        logits_tokens=np.ones(len(rows), np.int64),
        distinct_experts=ragged([[d] * LAYERS for d in distinct]),
    )


def metrics_of(steps, prefix, layout):
    work = step_work(MIXTRAL, steps)
    masks = {"decode": work.decode, "prefill": work.prefill, "all": work.decode | work.prefill}
    return tier_metrics(prefix, work, steps, masks[prefix], Layout.model_validate(layout), A5000)


def value(metrics, name):
    return metrics[name].value


DECODE = (1023, 1, Phase.DECODE, 2, 0.735)
PREFILL = (0, 512, Phase.PREFILL, 8, 5.0)


def test_decode_steps_of_an_offloaded_mixtral_are_bound_by_the_link_as_a_published_system_measures():
    """0.735 s a token of a system with a fifth of the experts found, over PCIe 4 at 24.8 GB/s."""
    found = metrics_of(steps_of(DECODE, DECODE), "decode", OFFLOADED)
    link = 0.8 * LAYERS * 2 * EXPERT
    assert value(found, "decode.tier.link.bytes_per_step") == pytest.approx(link)
    assert value(found, "decode.least_step_time") == pytest.approx(link / 24.8e9)
    assert value(found, "decode.least_step_time") == pytest.approx(0.727, abs=0.001)
    assert value(found, "decode.tier.link.utilisation") == pytest.approx(link / 24.8e9 / 0.735)
    assert binding_tier("decode", found) == "link"
    assert found["decode.least_step_time"].n == 2


def test_each_tier_is_held_against_its_own_peak():
    found = metrics_of(steps_of(DECODE), "decode", OFFLOADED)
    own = ALWAYS + 1024 * KV_TOKEN + 0.2 * LAYERS * 2 * EXPERT
    assert value(found, "decode.tier.hbm.bytes_per_step") == pytest.approx(own)
    assert value(found, "decode.tier.hbm.utilisation") == pytest.approx(own / 768e9 / 0.735)
    assert value(found, "decode.tier.dram.utilisation") == pytest.approx(0.8 * LAYERS * 2 * EXPERT / 204.8e9 / 0.735)
    assert value(found, "decode.tier.ssd.bytes_per_step") == 0
    assert found["decode.tier.ssd.utilisation"].value is None
    assert "neither the layout nor the hardware" in found["decode.tier.ssd.utilisation"].reason


def test_steps_that_feed_prompts_have_shares_of_their_own_and_all_is_the_sum():
    """As an engine does that computes experts on the host for a token and copies them over for a prompt."""
    layout = {**OFFLOADED, "hit_rate": 0, "cpu_share": 1, "prefill": {"cpu_share": 0}}
    both = steps_of(DECODE, PREFILL)
    decode, prefill, whole = (metrics_of(both, name, layout) for name in ("decode", "prefill", "all"))
    assert value(decode, "decode.tier.link.bytes_per_step") == 0
    assert binding_tier("decode", decode) == "dram"
    assert value(prefill, "prefill.tier.link.bytes_per_step") == pytest.approx(LAYERS * 8 * EXPERT)
    assert binding_tier("prefill", prefill) == "link"
    assert value(whole, "all.tier.link.bytes_per_step") == pytest.approx(LAYERS * 8 * EXPERT / 2)
    assert value(whole, "all.tier.dram.bytes_per_step") == pytest.approx(LAYERS * 10 * EXPERT / 2)


@given(hit=st.floats(0, 1), host=st.floats(0, 1), distinct=st.integers(1, 8), seconds=st.floats(0.01, 10))
def test_every_byte_has_one_home_and_the_binding_tier_is_the_busiest(hit, host, distinct, seconds):
    steps = steps_of((1023, 1, Phase.DECODE, distinct, seconds))
    found = metrics_of(steps, "decode", {**OFFLOADED, "hit_rate": hit, "cpu_share": host})
    work = step_work(MIXTRAL, steps)
    homes = sum(value(found, f"decode.tier.{name}.bytes_per_step") for name in ("hbm", "dram", "ssd"))
    assert homes == pytest.approx(work.bytes.total()[0])
    shares = {n: value(found, f"decode.tier.{n}.utilisation") for n in ("hbm", "link", "dram")}
    measured = steps.duration_ns[0] * 1e-9
    assert max(shares.values()) == pytest.approx(value(found, "decode.least_step_time") / measured)
    assert shares[binding_tier("decode", found)] == max(shares.values())


def test_without_steps_or_with_a_rate_missing_there_is_a_reason_and_no_number():
    found = metrics_of(steps_of(DECODE), "prefill", OFFLOADED)
    assert {m.value for m in found.values()} == {None}
    assert found["prefill.least_step_time"].reason == "no prefill step in the window"
    lacking = metrics_of(steps_of(DECODE), "decode", {**OFFLOADED, "tiers": {"dram": {"kind": "ddr4-3200"}}})
    assert lacking["decode.least_step_time"].reason == "the peak of a tier that is used is not known"
    assert value(lacking, "decode.tier.link.bytes_per_step") == pytest.approx(0.8 * LAYERS * 2 * EXPERT)
    assert binding_tier("decode", lacking) is None


def _peaks(**layout):
    declared = Layout.model_validate({**OFFLOADED, **layout}) if layout.get("experts") != "hbm" else Layout(**layout)
    return hardware_peaks(RunFacts(MIXTRAL, A5000, 1, "bf16", 1, None, layout=declared))


def test_bytes_that_lie_elsewhere_are_never_counted_against_the_accelerators_memory():
    steps = steps_of(DECODE)
    work, mask = step_work(MIXTRAL, steps), np.array([True])
    found = utilisation("decode", work, steps, mask, _peaks(hit_rate=0.2), True)
    for name in ("s_mbu", "s_mbu_paper", "s_mbu_probed", "mbu"):
        assert found[f"decode.{name}"].reason == SPREAD
    assert found["decode.s_mfu"].value is not None
    by_host = utilisation("decode", work, steps, mask, _peaks(cpu_share=0.5), True)
    assert "the host's processors compute experts" in by_host["decode.s_mfu"].reason
    together = utilisation("decode", work, steps, mask, _peaks(experts="hbm"), True)
    assert together["decode.s_mbu"].value == pytest.approx(
        (ALWAYS + 1024 * KV_TOKEN + LAYERS * 2 * EXPERT) / 768e9 / 0.735
    )


def test_a_layout_that_the_measured_time_contradicts_is_flagged():
    layout = Layout.model_validate(OFFLOADED)
    for seconds, contradicted in ((0.735, False), (0.7, True)):
        found = metrics_of(steps_of((*DECODE[:4], seconds)), "decode", OFFLOADED)
        flags = {flag.name: flag.text for flag in layout_flags(layout, found)}
        assert flags["binding_tier"].endswith("link in decode (727.4 ms of a mean step at least).")
        assert ("layout_contradicted" in flags) is contradicted
    assert "decode.tier.link.utilisation is 1.04" in flags["layout_contradicted"]
    assert not list(layout_flags(None, {}))
