"""Experts outside the devices' memory: what a step takes, and the layout that fits."""

import numpy as np
import pytest
import yaml

from moecap.errors import BadInputError
from moecap.hardware.registry import load_profile
from moecap.metrics.memory_layout import Layout, parse_layout
from moecap.models.registry import load_model
from moecap.projection.capacity import LIMITS, expert_bytes, room
from moecap.projection.coefficients import calibrated
from moecap.projection.deployment import Deployment
from moecap.projection.offloading import binding_tier, default_host, layout_hint, offloaded
from moecap.projection.placement import Placement
from moecap.projection.routing import UNIFORM
from moecap.projection.steady import Load, steady_plan, steady_state
from moecap.projection.step_time import step_time
from moecap.projection.work import StepShape, WorkModel

PLAIN = calibrated().model_copy(
    update={"host": calibrated().host.model_copy(update={"memory": 1.0, "compute": 1.0, "further_socket": 1.0})}
)
XEON = load_profile("xeon-6454s-1s")


def _layout(**more):
    tiers = {"link": {"bytes_per_second": 25e9}, "dram": {"bytes_per_second": 200e9}, "ssd": {"bytes_per_second": 5e9}}
    return Layout.model_validate({"experts": "dram", "tiers": tiers} | more)


@pytest.fixture(scope="module")
def deploy(mixtral):
    def make(layout=None, **more):
        placement = None if layout is None else Placement(layout, **more)
        return Deployment(mixtral, load_profile("a100"), engine="offloading", popularity=UNIFORM, placement=placement)

    return make


def _experts(deployment, shape, coefficients=PLAIN):
    return float(step_time(WorkModel(deployment).work(shape), coefficients, deployment.engine).experts[0])


TWO_EXPERTS = 32 * 2 * 3 * 4096 * 14336 * 2
"""Bytes of two experts in each of 32 layers in bf16: what one token reads."""


def test_experts_that_are_moved_take_the_time_of_the_link(deploy):
    found = _experts(deploy(_layout()), StepShape.of(1, 100))
    on_device = _experts(deploy(), StepShape.of(1, 100))
    assert found - on_device == pytest.approx(TWO_EXPERTS / 25e9, rel=1e-6)


def test_a_share_that_is_found_in_the_device_is_not_moved(deploy):
    found = _experts(deploy(_layout(hit_rate=0.75)), StepShape.of(1, 100))
    on_device = _experts(deploy(), StepShape.of(1, 100))
    assert found - on_device == pytest.approx(0.25 * TWO_EXPERTS / 25e9, rel=1e-6)


def test_experts_that_the_host_computes_are_read_there_and_not_on_the_device(deploy):
    found = _experts(deploy(_layout(cpu_share=1), host=XEON), StepShape.of(1, 100))
    reading, computing = TWO_EXPERTS / 200e9, TWO_EXPERTS / 21e12  # 2 FLOPs for each element of 2 bytes
    assert found == pytest.approx((reading**4 + computing**4) ** 0.25, rel=1e-6)


def test_long_prompts_are_bound_by_the_processors(deploy):
    found = _experts(deploy(_layout(cpu_share=1), host=XEON), StepShape.of(0, 1, 4096))
    reading, computing = 4 * TWO_EXPERTS / 200e9, 4096 * TWO_EXPERTS / 21e12  # all eight experts, two for each token
    assert found == pytest.approx((reading**4 + computing**4) ** 0.25, rel=1e-6)
    assert computing > 5 * reading


def test_prefill_may_have_other_shares(deploy):
    layout = _layout(cpu_share=1, prefill={"cpu_share": 0})
    moved = _experts(deploy(layout, host=XEON), StepShape.of(0, 1, 4096))
    assert moved == pytest.approx(_experts(deploy(_layout()), StepShape.of(0, 1, 4096)))
    assert _experts(deploy(layout, host=XEON), StepShape.of(1, 100)) < moved


def test_what_is_prefetched_hides_behind_the_rest_of_the_step(deploy):
    shape = StepShape.of(1, 100)
    late = _experts(deploy(_layout(hit_rate=0.9)), shape)
    half = _experts(deploy(_layout(hit_rate=0.9), prefetched=0.5), shape)
    none = _experts(deploy(), shape)
    moving = 0.1 * TWO_EXPERTS / 25e9
    assert late - none == pytest.approx(moving, rel=1e-6)
    rest = float(step_time(WorkModel(deploy()).work(shape), PLAIN, "offloading").total[0]) - _engine(shape, deploy)
    assert half - none == pytest.approx(0.5 * moving + max(0.0, 0.5 * moving - rest), rel=1e-6)


def _engine(shape, deploy):
    return float(step_time(WorkModel(deploy()).work(shape), PLAIN, "offloading").engine[0])


def test_the_ssd_binds_where_experts_live_there(deploy):
    found = _experts(deploy(_layout(experts="ssd", dram_hit_rate=0.5)), StepShape.of(1, 100))
    on_device = _experts(deploy(), StepShape.of(1, 100))
    assert found - on_device == pytest.approx(0.5 * TWO_EXPERTS / 5e9, rel=1e-6)
    assert binding_tier(deploy(_layout(experts="ssd")), context=100, sequences=1) == "ssd"
    assert binding_tier(deploy(_layout()), context=100, sequences=1) == "link"
    assert binding_tier(deploy(_layout(cpu_share=1), host=XEON), context=100, sequences=1) == "dram"
    assert binding_tier(deploy(), context=100, sequences=1) == "hbm"


def test_a_second_socket_adds_what_the_coefficients_say(deploy):
    half = PLAIN.model_copy(update={"host": PLAIN.host.model_copy(update={"further_socket": 0.5})})
    shape = StepShape.of(1, 100)
    one = _experts(deploy(_layout(cpu_share=1), host=XEON), shape, half)
    twice = {"link": {"bytes_per_second": 25e9}, "dram": {"bytes_per_second": 400e9}}
    two = _experts(deploy(_layout(cpu_share=1, tiers=twice), host=XEON, sockets=2), shape, half)
    assert one / two == pytest.approx(1.5, rel=1e-6)


@pytest.mark.parametrize(
    ("layout", "more", "says"),
    [
        ({"cpu_share": 1}, {}, "the rate of host 'none' is not known"),
        ({"cpu_share": 1}, {"host": load_profile("epyc-9654-1s")}, "the rate of host 'epyc-9654-1s' is not known"),
        ({"kv_cache": "dram"}, {}, "kv_cache in the host's memory is not projected"),
        ({}, {"prefetched": 1.5}, "0 to 1 prefetched"),
    ],
)
def test_a_placement_that_cannot_be_projected_is_refused(layout, more, says):
    with pytest.raises(BadInputError, match=says):
        Placement(_layout(**layout), **more)


def test_a_tier_without_a_rate_is_refused(deploy):
    bare = Layout.model_validate({"experts": "dram"})
    with pytest.raises(BadInputError, match="the layout gives no rate; give tiers"):
        WorkModel(deploy(bare)).work(StepShape.of(1, 100))


def test_the_layout_that_fits_keeps_what_it_can_in_the_device(deploy):
    whole = deploy()  # 93 GB of weights on one device of 80
    host = default_host()
    ways = list(offloaded(whole, host, input_tokens=1000, output_tokens=250, sequences=4))
    assert [way.placement.layout.cpu_share for way in ways] == [1.0, 0.0]
    for way in ways:
        found = room(way, LIMITS["offloading"])
        assert found.fits
        caches = 4 * 1250 * 131_072  # 32 layers, 8 heads, 128, keys and values, bf16
        assert found.cache == pytest.approx(caches, rel=1e-6)
        assert way.placement.layout.hit_rate == pytest.approx(way.placement.cached_bytes / expert_bytes(way))
        state = steady_state(steady_plan(WorkModel(way), Load.of(4, 1000, 250)), calibrated(), way.engine)
        assert np.isfinite(state.tpot[0])


def test_experts_that_the_hosts_memory_does_not_hold_lie_on_its_drive():
    spec = load_model("deepseek-v3")[0]
    card = Deployment(spec, load_profile("rtx-5090"))
    experts = expert_bytes(card)
    way = next(offloaded(card, default_host(256e9), input_tokens=1000, output_tokens=250, sequences=1))
    assert way.placement.layout.experts == "ssd"
    assert way.placement.layout.dram_hit_rate == pytest.approx(0.9 * 256e9 / experts)


def test_the_layout_that_fits_is_a_line_that_a_file_can_hold(deploy):
    hint = layout_hint(deploy(), 1250)
    layout = parse_layout(yaml.safe_load(hint), "the hint")
    assert (layout.experts, layout.cpu_share) == ("dram", 0.0)
    assert (layout.tiers.link.kind, layout.tiers.dram.kind) == ("pcie4-x16", "ddr5-4800")
    way = deploy(layout)
    assert room(way, LIMITS["offloading"]).fits
    assert layout_hint(Deployment(load_model("deepseek-v3")[0], load_profile("t4")), 100) == ""


def test_nothing_is_offered_where_not_even_the_rest_of_the_model_fits():
    spec = load_model("deepseek-v3")[0]  # 17 GB beside the experts
    assert not list(
        offloaded(Deployment(spec, load_profile("t4")), default_host(), input_tokens=1, output_tokens=1, sequences=1)
    )
