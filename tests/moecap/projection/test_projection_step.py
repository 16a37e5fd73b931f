"""Work and time of single steps, against the accounting and by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import NotAvailableError
from moecap.hardware.registry import load_profile
from moecap.models.accounting import decode_step_bytes, expected_distinct_experts
from moecap.models.parallelism import Parallelism
from moecap.models.registry import load_model
from moecap.models.spec import WeightFormat
from moecap.projection.coefficients import calibrated, engine_family, generation
from moecap.projection.deployment import Deployment
from moecap.projection.kernels import launched_kernels
from moecap.projection.rates import product_rate
from moecap.projection.routing import UNIFORM
from moecap.projection.step_time import step_time
from moecap.projection.work import StepShape, WorkModel

PLAIN = calibrated().model_copy(
    update={
        "shared": calibrated().shared.model_copy(
            update={
                "weight_bandwidth": 1.0,
                "unpacking": 1e30,
                "cache_bandwidth": 1.0,
                "compute": dict.fromkeys(calibrated().shared.compute, 1.0),
                "grouped": 1.0,
                "scores": 1.0,
                "activation_passes": 0.0,
                "kernel": 0.0,
                "prompt_kernel": 0.0,
                "link_latency": 10e-6,
                "link_latency_rank": 0.0,
                "link_bandwidth": 1.0,
            }
        ),
        "engines": {"default": calibrated().engine("vllm").model_copy(update={"step": 0.0, "products": 1.0})},
    }
)
"""Every share 1 and every cost 0 but the latency of a link: the roofline itself."""


@pytest.mark.parametrize("tensor", [1, 2, 8])
@pytest.mark.parametrize("batch", [1, 16])
def test_bytes_of_all_devices_are_those_of_the_accounting(on_a100, mixtral, tensor, batch):
    work = WorkModel(on_a100(tensor)).work(StepShape.of(batch, 1000))
    experts = float(expected_distinct_experts(8, 2, batch))
    counted = decode_step_bytes(
        mixtral, batch=batch, context=1000, experts=experts, parallelism=Parallelism(tensor=tensor)
    )
    rows = batch * mixtral.embedding.format.matrix_bytes(1, mixtral.embedding.columns)
    assert tensor * sum(b[0] for b in work.bytes.values()) == pytest.approx(counted.total - rows, rel=1e-4)


def test_seconds_of_a_decode_step_at_batch_1_by_hand(on_a100):
    model = WorkModel(on_a100())
    time = step_time(model.work(StepShape.of(1, 1)), PLAIN, "default")
    # Two of eight experts of 3 matrices of 4096 x 14336 in 32 layers, read at 2,039 GB/s; computing takes far less,
    # also where each is padded to 16 rows.
    reading = 32 * 2 * 3 * 4096 * 14336 * 2 / 2039e9
    computing = 32 * 2 * 16 * 2 * 3 * 4096 * 14336 / 312e12
    assert time.experts[0] == pytest.approx((reading**4 + computing**4) ** 0.25)
    assert time.experts[0] == pytest.approx(reading, rel=1e-3)
    # Head: 32,000 x 4,096 in bf16.
    assert time.head[0] == pytest.approx(32000 * 4096 * 2 / 2039e9, rel=1e-4)
    # Keys and values of one entry: 8 heads of 128 in bf16.
    assert time.scores[0] == pytest.approx(32 * 2 * 8 * 128 * 2 / 2039e9, rel=1e-3)
    assert time.collectives[0] == 0.0


@pytest.mark.parametrize(("chip", "unpacks"), [("h200", True), ("b200", False)])
def test_narrow_weights_that_are_unpacked_have_a_rate_of_their_own(chip, unpacks):
    """Eight tokens read about 28 of 128 experts; Hopper unpacks MXFP4 to bf16, Blackwell multiplies it in fp8."""
    spec = load_model("gpt-oss-120b")[0]
    slow = PLAIN.model_copy(update={"shared": PLAIN.shared.model_copy(update={"unpacking": 1e12})})
    deployment = Deployment(spec, load_profile(chip), popularity=UNIFORM)
    work = WorkModel(deployment).work(StepShape.of(8, 100))
    read = work.bytes["experts"][0]
    expected = read / 1e12 if unpacks else read / deployment.hardware.memory_bandwidth
    assert step_time(work, slow, "default").experts[0] == pytest.approx(expected, rel=0.01)


def test_a_long_prompt_is_bound_by_computing(on_a100):
    model = WorkModel(on_a100())
    time = step_time(model.work(StepShape.of(0, 1, 8192)), PLAIN, "default")
    flops = 32 * 8192 * 2 * 2 * 3 * 4096 * 14336
    # 2,048 rows an expert: tiles of 128, half a tile more on average
    padded = flops * (2048 / 128 + 0.5 - 1 / 256) / (2048 / 128)
    assert time.experts[0] == pytest.approx(padded / 312e12, rel=1e-3)
    pairs = 8192 * 8193 / 2
    assert time.prompt_scores[0] == pytest.approx(32 * pairs * 2 * 32 * 2 * 128 / 312e12, rel=1e-2)


def test_collectives_by_hand(on_a100):
    model = WorkModel(on_a100(2))
    time = step_time(model.work(StepShape.of(4, 100)), PLAIN, "default")
    calls = 2 * 32 + 1
    wire = calls * 4 * 4096 * 2 * (2 * (2 - 1) / 2)
    assert time.collectives[0] == pytest.approx(calls * 10e-6 + wire / 300e9)


def test_messages_of_stages_and_replicas_by_hand(on_a100):
    row = 4096 * 2
    stages = WorkModel(dataclasses.replace(on_a100(), parallelism=Parallelism(pipeline=4))).work(StepShape.of(8, 100))
    assert stages.calls[0] == 3
    assert stages.wire_bytes[0] == pytest.approx(3 * 8 * row)
    replicas = Parallelism(data=4, expert=4)
    work = WorkModel(dataclasses.replace(on_a100(), parallelism=replicas)).work(StepShape.of(8, 100))
    assert work.calls[0] == 2 * 32  # a gather and a scatter around the mixtures alone: attention is each replica's own
    assert work.wire_bytes[0] == pytest.approx(32 * 8 * row * 2 * 3 / 4)


def test_replicas_of_dense_networks_send_nothing_for_them():
    spec = load_model("llama-4-maverick")[0]  # 24 mixtures and 24 dense networks, in turn
    split = Parallelism(data=8, expert=8, whole_replicas=True)
    whole = WorkModel(Deployment(spec, load_profile("h200"), split)).work(StepShape.of(8, 100))
    assert whole.calls[0] == 2 * 24
    shared = WorkModel(Deployment(spec, load_profile("h200"), dataclasses.replace(split, whole_replicas=False)))
    assert shared.work(StepShape.of(8, 100)).calls[0] == 2 * 48


def test_kernels_of_a_step_by_hand(mixtral):
    # Attention: 5 and the products before and after it; a mixture: 7 and two grouped products.
    assert launched_kernels(mixtral) == 32 * (5 + 2 + 7 + 2)
    quantised = load_model("minimax-m2.5")[0]
    assert launched_kernels(quantised) == 62 * (5 + 4 + 7 + 4)


def test_expert_parallel_devices_wait_for_the_busiest(on_a100, mixtral):
    shape = StepShape.of(2, 100)
    even = WorkModel(on_a100(4)).work(shape)
    shared = WorkModel(dataclasses.replace(on_a100(), parallelism=Parallelism(tensor=4, expert=4))).work(shape)
    assert shared.bytes["experts"][0] > even.bytes["experts"][0]


@pytest.mark.parametrize(
    ("chip", "form", "rate", "peak"),
    [
        ("h100", WeightFormat("bf16"), "bf16", 989.4e12),
        ("h100", WeightFormat("fp8", (0, 0), 4.0, inputs="fp8"), "fp8", 1978.9e12),
        ("h100", WeightFormat("fp8", (128, 128), 4.0, inputs="fp8"), "fp8_block", 1978.9e12),
        ("a100", WeightFormat("fp8", (0, 0), 4.0, inputs="fp8"), "widened", 312e12),
        ("h100", WeightFormat("fp4", (1, 32), 1.0), "widened", 989.4e12),
        ("b200", WeightFormat("fp4", (1, 32), 1.0), "fp8", 4500e12),
        ("b200", WeightFormat("fp4", (1, 16), 1.0, 4, inputs="fp4"), "fp4", 9000e12),
        ("h100", WeightFormat("fp4", (1, 16), 1.0, 4, inputs="fp4"), "widened", 989.4e12),
    ],
)
def test_products_run_at_the_rate_that_the_chip_has(chip, form, rate, peak):
    assert product_rate(form, "bf16", load_profile(chip)) == (rate, peak)


def test_devices_without_a_link_are_refused(mixtral):
    lone = load_profile("h100").model_copy(update={"interconnect": None, "pcie": None})
    with pytest.raises(NotAvailableError, match="has no link between devices"):
        WorkModel(Deployment(mixtral, lone, Parallelism(tensor=2)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2048), st.integers(1, 30_000), st.integers(0, 8192), st.floats(1.0, 4.0))
def test_more_bandwidth_is_never_slower(batch, context, prompt, factor):
    spec, _ = load_model("qwen3-30b-a3b")
    chip = load_profile("h100")
    faster = chip.model_copy(update={"memory_bandwidth": chip.memory_bandwidth * factor})
    shape = StepShape.of(batch, context, prompt)
    times = [
        step_time(WorkModel(Deployment(spec, c)).work(shape), calibrated(), "vllm").total[0] for c in (chip, faster)
    ]
    assert times[1] <= times[0] * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1000), st.integers(1, 8000), st.sampled_from(["h100", "l40s", "b200"]), st.sampled_from([1, 4]))
def test_a_larger_batch_never_makes_fewer_tokens_a_second(batch, context, chip, tensor):
    spec, _ = load_model("qwen3-30b-a3b")
    model = WorkModel(Deployment(spec, load_profile(chip), Parallelism(tensor=tensor)))
    sizes = np.array([batch, batch + 1, 2 * batch])
    rate = sizes / step_time(model.work(StepShape.of(sizes, context)), calibrated(), "vllm").total
    assert np.all(np.diff(rate) >= -1e-9 * rate[0])


def test_one_device_sends_nothing(on_a100):
    work = WorkModel(on_a100()).work(StepShape.of([1, 64], 1000, [0, 500]))
    assert not work.calls.any()
    assert not work.wire_bytes.any()
    assert not step_time(work, calibrated(), "vllm").collectives.any()


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("vLLM 0.18.0", "vllm"),
        ("vllm 0.11.2", "vllm-before-0.14"),
        ("vllm", "vllm"),
        ("TensorRT-LLM 0.17 (trtllm-bench)", "trtllm-before-1.0"),
        ("TensorRT-LLM 1.0 (PyTorch backend)", "trtllm"),
        ("trtllm gpt-oss-dev", "trtllm"),
        ("sglang 0.5.6.post2", "sglang"),
        ("LMDeploy 0.9", "lmdeploy"),
    ],
)
def test_families_of_engines(name, family):
    assert engine_family(name) == family


def test_engines_and_chips_without_rows_get_the_declared_defaults():
    found = calibrated()
    assert found.engine("lmdeploy") == found.engines["default"]
    assert generation(load_profile("h200-sxm")) in found.generations
    assert found.interval("tpot", load_profile("h200-sxm")) == found.spread["tpot"]
    assert found.interval("tpot", load_profile("mi300x")) == found.spread_elsewhere["tpot"]
