"""Models in several memories: bytes a tier against hand calculation and a published system."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.cli import main
from moecap.errors import BadInputError
from moecap.hardware.registry import load_profile
from moecap.metrics.memory_layout import Layout, read_layout, tier_rates
from moecap.metrics.tiers import PlacedStep, place_step
from moecap.models.registry import load_model
from moecap.models.summary import summarise

MIXTRAL, _ = load_model("mixtral", weights="bf16", kv="bf16")
EXPERT = 3 * 4096 * 14336 * 2  # bytes of w1, w2 and w3 of one expert
OFFLOADED = {
    "hardware": "rtx-a5000",
    "experts": "dram",
    "tiers": {"link": {"kind": "pcie4-x16"}, "dram": {"kind": "ddr4-3200", "units": 8}},
}
SSD = {
    "experts": "ssd",
    "tiers": {**OFFLOADED["tiers"], "hbm": {"bytes_per_second": 768e9}, "ssd": {"kind": "nvme-pcie4-x4"}},
}


def placed(layout: dict, *, batch: int = 1, context: int = 1024) -> PlacedStep:
    declared = Layout.model_validate(layout)
    profile = load_profile(declared.hardware) if declared.hardware else None
    summary = summarise(MIXTRAL, batch=batch, context=context)
    return place_step(MIXTRAL, summary.step, declared, profile, context=context, batch=batch)


def loads(step: PlacedStep) -> dict[str, float]:
    return {tier.name: tier.bytes for tier in step.tiers}


def test_mixtral_offloaded_over_pcie_4_to_an_a5000_takes_what_a_published_system_measures():
    step = placed({**OFFLOADED, "hit_rate": 0.2})
    # 32 layers x 2 experts, four fifths of them over a link of 24.8 GB/s
    assert loads(step)["link"] == pytest.approx(0.8 * 64 * EXPERT)
    assert step.binding.name == "link"
    assert step.seconds == pytest.approx(0.8 * 64 * EXPERT / 24.8e9)
    assert step.seconds == pytest.approx(0.735, rel=0.015)  # measured, published
    assert step.seconds < 0.735  # a lower bound


def test_every_byte_counts_where_it_lives_and_on_the_link_that_it_crosses():
    step = placed({**OFFLOADED, "hit_rate": 0.25, "cpu_share": 0.5})
    experts = 64 * EXPERT
    summary = summarise(MIXTRAL, batch=1, context=1024)
    always = summary.step.non_expert_weights + summary.step.kv_read
    assert loads(step) == pytest.approx(
        {"hbm": always + 0.25 * experts, "link": 0.375 * experts, "dram": 0.75 * experts, "ssd": 0}
    )


def test_experts_on_the_ssd_are_read_there_unless_the_memory_of_the_host_has_them():
    step = placed({**SSD, "dram_hit_rate": 0.9})
    experts = 64 * EXPERT
    assert loads(step)["ssd"] == pytest.approx(0.1 * experts)
    assert loads(step)["dram"] == pytest.approx(0.9 * experts)
    assert loads(step)["link"] == pytest.approx(experts)
    assert placed(SSD).binding.name == "ssd"
    assert placed(SSD).seconds == pytest.approx(experts / 7e9)


def test_weights_and_cache_in_the_hosts_memory_cross_the_link_in_each_step():
    step = placed({**OFFLOADED, "weights": "dram", "kv_cache": "dram"})
    total = summarise(MIXTRAL, batch=1, context=1024).step.total
    assert loads(step) == pytest.approx({"hbm": 0, "link": total, "dram": total, "ssd": 0})


def test_experts_computed_by_the_host_leave_the_link_free_and_its_memory_binds():
    step = placed({**OFFLOADED, "cpu_share": 1})
    assert loads(step)["link"] == 0
    assert step.binding.name == "dram"
    assert step.binding.bytes_per_second == 8 * 25.6e9


def test_utilisation_of_a_tier_is_its_least_time_over_the_measured_one():
    step = placed({**OFFLOADED, "hit_rate": 0.2})
    link = step.binding
    assert link.utilisation(0.735) == pytest.approx(0.8 * 64 * EXPERT / 24.8e9 / 0.735)
    assert step.tiers[3].utilisation(0.735) is None
    for time in (0, -1, float("nan")):
        with pytest.raises(BadInputError, match="above 0"):
            link.utilisation(time)


def test_the_purchase_covers_the_whole_system_or_names_what_is_missing():
    parts = {"board_usd": 800, "dram_usd": 1500, "ssd_usd": 200, "cpu_usd": 2000}
    assert placed({**OFFLOADED, "cost": parts}).purchase.value == 2400 + 800 + 1500 + 200 + 2000
    missing = placed({**OFFLOADED, "cost": {**parts, "dram_usd": None}}).purchase
    assert missing.value is None
    assert "the memory of the host" in missing.reason
    assert placed({**SSD, "cost": {"capital": 9000}}).purchase.value == 9000
    assert "names no hardware" in placed(SSD).purchase.reason


@given(hit=st.floats(0, 1), found=st.floats(0, 1), host=st.floats(0, 1), batch=st.integers(1, 64))
def test_each_byte_of_the_step_has_one_home_and_a_better_cache_is_never_slower(hit, found, host, batch):
    layout = {**SSD, "hit_rate": hit, "dram_hit_rate": found, "cpu_share": host}
    step = placed(layout, batch=batch)
    amounts = loads(step)
    total = summarise(MIXTRAL, batch=batch, context=1024).step.total
    assert amounts["hbm"] + amounts["dram"] + amounts["ssd"] == pytest.approx(total)
    assert amounts["link"] <= amounts["dram"] + amounts["ssd"] + 1
    assert step.seconds == max(tier.seconds for tier in step.tiers)
    better = placed({**layout, "hit_rate": (1 + hit) / 2}, batch=batch)
    assert all(amounts[name] >= loads(better)[name] - 1 for name in ("link", "dram", "ssd"))


BAD = [
    ({"experts": "hdd"}, "experts: Input should be 'hbm', 'dram' or 'ssd' (got 'hdd')"),
    ({"experts": "dram", "tiers": {"nvm": {}}}, "no key named 'tiers.nvm'; known: dram, hbm, link, ssd"),
    ({"experts": "dram", "surprise": 1}, "no key named 'surprise'"),
    ({"experts": "dram", "cost": {"wacc": 1}}, "no key named 'cost.wacc'; known: availability"),
    ({"experts": "dram", "hit_rate": 1.2}, "hit_rate: Input should be less than or equal to 1 (got 1.2)"),
    ({"experts": "dram", "hit_rate": -0.1}, "hit_rate: Input should be greater than or equal to 0 (got -0.1)"),
    ({"experts": "dram", "cpu_share": True}, "not true or false"),
    ({"experts": "dram", "devices": 0}, "devices: Input should be greater than 0 (got 0)"),
    ({"experts": "dram", "tiers": {"link": {"bytes_per_second": 0}}}, "Input should be greater than 0 (got 0)"),
    ({"experts": "dram", "tiers": {"link": {"bytes_per_second": float("nan")}}}, "finite number"),
    ({"experts": "dram", "tiers": {"link": {"kind": "pcie9"}}}, "no kind of memory or link named 'pcie9'"),
    ({"experts": "dram", "tiers": {"dram": {"kind": "ddr5-4800", "bytes_per_second": 1}}}, "give one"),
    ({"experts": "dram", "tiers": {"dram": {"units": 2, "bytes_per_second": 1}}}, "units count"),
    ({"experts": "hbm", "hit_rate": 0.5}, "leave hit_rate and cpu_share out"),
    ({"experts": "dram", "dram_hit_rate": 0.5}, "leave it out"),
    ({}, "experts: Field required"),
    ([1], "Input should be a valid dictionary"),
]


@pytest.mark.parametrize(("content", "text"), BAD, ids=[t[:40] for _, t in BAD])
def test_a_bad_layout_is_refused_in_one_line_with_what_is_accepted(tmp_path, content, text):
    file = tmp_path / "layout.yaml"
    file.write_text(json.dumps(content).replace("NaN", ".nan"))
    with pytest.raises(BadInputError) as caught:
        read_layout(file)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: [", b"a: &x [1]\nb: *x\n", b"#" * 100_000, b"[" * 5000, b""])
def test_a_hostile_file_ends_in_one_line(tmp_path, content):
    file = tmp_path / "layout.yaml"
    file.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        read_layout(file)
    assert str(caught.value).isprintable()
    with pytest.raises(BadInputError, match="check the path"):
        read_layout(tmp_path / "none.yaml")


def test_a_tier_that_is_used_needs_a_rate_and_room():
    with pytest.raises(BadInputError, match=r"22\.5 GB from link.*tiers\.link\.bytes_per_second"):
        placed({"hardware": "rtx-a5000", "experts": "dram", "tiers": {"dram": {"kind": "ddr4-3200"}}})
    small = {**OFFLOADED["tiers"], "dram": {"kind": "ddr4-3200", "memory_bytes": 64e9}}
    with pytest.raises(BadInputError, match=r"90\.19 GB into dram, which holds 64 GB"):
        placed({**OFFLOADED, "tiers": small})
    with pytest.raises(BadInputError, match=r"into hbm, which holds 24 GB"):
        placed({"hardware": "rtx-a5000", "experts": "hbm"})


def test_known_links_carry_the_published_rates():
    rates = tier_rates()
    assert (rates["pcie4-x16"].theoretical, rates["pcie4-x16"].rate) == (31.5e9, 24.8e9)
    assert rates["pcie6-x16"].rate == 126e9
    assert rates["nvlink-c2c"].rate == 450e9


def test_the_command_shows_the_binding_tier(tmp_path, capsys):
    file = tmp_path / "layout.yaml"
    file.write_text(json.dumps({**OFFLOADED, "hit_rate": 0.2}))
    assert main(["models", "show", "mixtral", "--weight-dtype", "bf16", "--layout", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["layout"]
    assert shown["binding_tier"] == "link"
    assert shown["step_seconds_at_least"] == pytest.approx(0.7274, rel=1e-3)
    assert main(["models", "show", "mixtral", "--layout", str(file)]) == 0
    text = capsys.readouterr().out
    assert "binding tier" in text
    assert "24.8 GB/s" in text
