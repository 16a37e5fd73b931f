"""What a projected result holds beside its times: intervals, power, memory, engine settings, formats; by hand."""

import json

import numpy as np
import pytest

from moecap.data.blank_words import BlankWords
from moecap.errors import BadInputError
from moecap.hardware.registry import load_profile
from moecap.metrics.value import absent, measured
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config
from moecap.observations.reader import Ragged, Steps
from moecap.projection.capacity import LIMITS, room
from moecap.projection.coefficients import calibrated
from moecap.projection.engine_settings import engine_settings
from moecap.projection.observed import memory_metrics, power_of_steps, step_shapes
from moecap.projection.power import computing_seconds, reading_seconds
from moecap.projection.precision import quantised_as
from moecap.projection.prediction import interval_quantities, predicted
from moecap.projection.routing_choice import chosen_routing
from moecap.projection.work import StepShape, WorkModel

COEFFICIENTS = calibrated()


def _steps(*rows):
    """Steps of (start, new, phase) a sequence, 10 ms each."""
    lengths = [len(row) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = [entry for row in rows for entry in row]
    start, new, phase = (Ragged(np.array([e[i] for e in flat]), offsets) for i in range(3))
    return Steps(
        stage=np.array(["load"] * len(rows)),
        start_ns=np.arange(len(rows)) * 10_000_000,
        duration_ns=np.full(len(rows), 10_000_000),
        seq_request=Ragged(np.zeros(len(flat), np.int64), offsets),
        seq_start=start,
        seq_new=new,
        seq_phase=phase,
        logits_tokens=np.ones(len(rows), np.int64),
        distinct_experts=Ragged(np.zeros(0, np.int64), np.zeros(len(rows) + 1, np.int64)),
    )


def test_the_shape_of_a_step_is_that_of_its_sequences():
    steps = _steps([(0, 300, 0)], [(300, 1, 1), (99, 1, 1), (0, 50, 0), (50, 150, 0)])
    shape = step_shapes(steps)
    assert shape.sequences.tolist() == [0, 2]
    assert shape.context.tolist() == [1, (301 + 100) / 2]
    assert shape.prompt_tokens.tolist() == [300, 200]
    assert shape.prompts.tolist() == [1, 2]
    assert shape.prompt_start.tolist() == [0, 25]


def test_power_is_the_models_share_of_the_design_power(on_a100):
    deployment = on_a100(2)
    steps = _steps([(100, 1, 1)] * 8, [(101, 1, 1)] * 8)
    mask, window = np.array([True, True]), (0, 20_000_000)
    work = WorkModel(deployment).work(StepShape.of(8.0, [101.0, 102.0]))
    shares = COEFFICIENTS.power
    drawn = (
        shares.idle
        + (shares.memory * reading_seconds(work).sum() + shares.compute * computing_seconds(work).sum()) / 0.02
    )
    found = power_of_steps(steps, mask, window, deployment, COEFFICIENTS)
    assert found.value == pytest.approx(2 * 400 * min(1.0, drawn))
    idle = power_of_steps(steps, mask, (0, 10**15), deployment, COEFFICIENTS)  # hardly anything runs
    assert idle.value == pytest.approx(2 * 400 * shares.idle, rel=1e-3)
    assert power_of_steps(steps, mask, None, deployment, COEFFICIENTS).value is None


def test_memory_in_use_is_that_of_the_fullest_step(on_a100):
    deployment, limits = on_a100(2), LIMITS["vllm"]
    found = memory_metrics(_steps([(1000, 1, 1)], [(1000, 1, 1), (0, 500, 0)]), deployment, limits, prefix_cache=False)
    whole = room(deployment, limits)
    assert found["memory.weights"].value == whole.weights
    assert found["memory.kv_cache"].value == whole.cache
    assert found["memory.kv_cache_used_max"].value == pytest.approx(1501 * 131072 / whole.cache)  # 128 KiB a token
    shared = memory_metrics(_steps([(1000, 1, 1)], [(1000, 1, 1)]), deployment, limits, prefix_cache=True)
    assert (shared["memory.kv_cache"], shared["memory.kv_cache_used_max"].value) == (found["memory.kv_cache"], None)


@pytest.mark.parametrize(
    ("name", "quantities"),
    [
        ("ttft.p99", ("ttft",)),
        ("ttft_from_schedule.p50", ("ttft",)),
        ("tpot.p50", ("tpot",)),
        ("itl.p50", ("itl_median",)),
        ("e2e.p50", ("ttft", "tpot")),
        ("decode.s_mbu", ("tpot",)),
        ("prefill.s_mfu", ("ttft",)),
        ("all.mbu", ("output_throughput",)),
        ("output_tokens_per_second_per_device", ("output_throughput",)),
        ("cost_per_million_output_tokens_at_utilisation", ("output_throughput",)),
        ("energy_per_output_token", ("energy_per_output_token",)),
        ("energy_per_output_token_estimated", ("output_throughput",)),
        ("failed_requests", ()),
        ("experts.distinct_mean", ()),
        ("decode.time", ()),
    ],
)
def test_each_metric_takes_the_interval_of_what_it_follows_from(name, quantities):
    assert interval_quantities(name) == quantities


def test_intervals_are_factors_and_shares_end_at_one():
    chip = load_profile("h100")
    metrics = {
        "e2e.p50": measured(2.0, "s", 10),
        "decode.s_mbu": measured(0.95, "1", 10),
        "decode.mbu": measured(0.95, "1", 10),
        "failed_requests": measured(0, "requests", 10),
        "tpot.p99": absent("s", "too few"),
        "client.utilisation": absent("1", "the engine runs in this process"),
    }
    found = predicted(metrics, COEFFICIENTS, chip)
    ttft, tpot = COEFFICIENTS.spread["ttft"], COEFFICIENTS.spread["tpot"]
    assert (found["e2e.p50"].low, found["e2e.p50"].high) == pytest.approx((2 / max(ttft, tpot), 2 * max(ttft, tpot)))
    assert found["decode.s_mbu"].high == 1.0
    assert found["decode.mbu"].high == pytest.approx(0.95 * tpot)
    assert found["failed_requests"] == metrics["failed_requests"]
    assert found["tpot.p99"] == metrics["tpot.p99"]
    assert found["client.utilisation"].reason == "projected: nothing was measured"


def test_settings_of_an_engine_override_its_defaults():
    found = engine_settings({"engine": "vLLM 0.11.0", "max_num_seqs": "64", "expert-parallel": "4"}, COEFFICIENTS)
    assert found.family == "vllm-before-0.14"
    assert found.limits.sequences == 64
    assert found.limits.step_tokens == LIMITS["vllm-before-0.14"].step_tokens
    assert (found.expert, found.data, found.block_tokens) == (4, 1, 16)
    with pytest.raises(BadInputError, match="less than max-num-seqs"):
        engine_settings({"max-num-batched-tokens": "512"}, COEFFICIENTS)


def test_a_precision_quantises_what_engines_quantise():
    config, ref = load_model_config("mixtral")
    spec = read_model(quantised_as(config, "fp8"), ref.id)
    assert {name: spec.weight_dtypes[name] for name in ("attention", "experts", "router", "lm_head")} == {
        "attention": "fp8",
        "experts": "fp8",
        "router": "bf16",
        "lm_head": "bf16",
    }
    assert spec.kv_dtype == "bf16"
    assert quantised_as(config, "bf16") == config
    with pytest.raises(BadInputError, match="quantised by itself"):
        quantised_as(quantised_as(config, "fp8"), "fp4")


def test_routing_is_said_in_words(mixtral):
    assert chosen_routing("auto", mixtral, COEFFICIENTS)[0].exponent == COEFFICIENTS.shared.popularity
    assert chosen_routing("uniform", mixtral, COEFFICIENTS)[0].exponent == 0
    found, words = chosen_routing("1.5", mixtral, COEFFICIENTS)
    assert (found.exponent, words) == (1.5, "a power law with exponent 1.5, as asked for")


def test_blank_words_tell_what_is_shared_and_nothing_else():
    words = BlankWords(shared=True)
    first, second = words.cut(3), words.cut(3)
    assert first != second
    assert words.block("a", 4) == words.block("a", 4) != words.block("b", 4)
    assert words.block("a", 2) == words.block("a", 4)[:2]
    assert words.marked("x", first) == first
    alike = BlankWords(shared=False)
    assert alike.cut(5) is alike.cut(5)


def test_a_record_survives_json(on_a100):
    from moecap.models.parallelism import Parallelism
    from moecap.projection.assumptions import projection_assumptions
    from moecap.projection.record import ProjectionRecord
    from moecap.projection.routing import Popularity

    settings, routing = engine_settings({}, COEFFICIENTS), Popularity(histogram=(3.0, 1.0))
    record = projection_assumptions(settings, Parallelism(tensor=2), (routing, "measured"), COEFFICIENTS)
    assert ProjectionRecord.model_validate(json.loads(record.model_dump_json())) == record
