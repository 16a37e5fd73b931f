"""Serving: the closed form, the simulation, and that they agree."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from moecap.errors import BadInputError
from moecap.hardware.registry import load_profile
from moecap.metrics.latency import token_latencies
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.projection.capacity import LIMITS, EngineLimits, most_sequences, room, usable_bytes
from moecap.projection.coefficients import calibrated
from moecap.projection.deployment import Deployment
from moecap.projection.requests import Requests
from moecap.projection.routing import UNIFORM
from moecap.projection.simulation import simulate
from moecap.projection.steady import Load, _poisson_median, steady_plan, steady_state
from moecap.projection.step_table import StepTable
from moecap.projection.step_time import step_time
from moecap.projection.trace import observation_tables
from moecap.projection.work import StepShape, WorkModel

COEFFICIENTS = calibrated()


@pytest.fixture(scope="module")
def model(on_a100):
    return WorkModel(on_a100(4))


def _even(count, prompt, answer, **more):
    return Requests(np.full(count, prompt), np.full(count, answer), **more)


def _state(model, *load):
    return steady_state(steady_plan(model, Load.of(*load)), COEFFICIENTS, model.deployment.engine)


@pytest.mark.parametrize(
    ("chip", "mebibytes"),
    [("h100-sxm", 81_559), ("h200-sxm", 143_771), ("b200-sxm", 183_359), ("l40s", 46_068)],
)
def test_memory_of_devices_is_what_their_driver_reports(chip, mebibytes):
    assert usable_bytes(load_profile(chip)) == pytest.approx(mebibytes * 2**20, rel=0.01)


def test_a_size_that_is_no_whole_number_of_gb_is_a_drivers_own():
    probed = load_profile("h100-sxm").model_copy(update={"memory_bytes": 81_559 * 2**20})
    assert usable_bytes(probed) == 81_559 * 2**20


def test_room_for_caches_by_hand(on_a100):
    found = room(on_a100(4), LIMITS["vllm"])
    assert found.memory == pytest.approx(4 * 0.9 * usable_bytes(on_a100(4).hardware))
    assert found.cache == pytest.approx(found.memory - found.weights - 4 * 2e9)
    # 131,072 bytes a token (32 layers, 8 heads, 128, keys and values, bf16): 1,000 in and half of 1,000 out
    allowed = EngineLimits(0.9, 10**6, 8192, reserves=False)
    assert most_sequences(on_a100(4), allowed, 1000, 1000) == pytest.approx(found.cache / (1500 * 131072))
    whole = EngineLimits(0.9, 10**6, 8192, reserves=True)
    assert most_sequences(on_a100(4), whole, 1000, 1000) == pytest.approx(found.cache / (2000 * 131072))


def test_an_engine_may_take_a_share_of_what_weights_leave(on_a100):
    found = room(on_a100(4), LIMITS["trtllm"])
    assert found.cache == pytest.approx(0.9 * (4 * usable_bytes(on_a100(4).hardware) - found.weights - 4 * 2e9))
    assert found.memory == pytest.approx(found.weights + 4 * 2e9 + found.cache)


@pytest.fixture(scope="module")
def dense():
    """A dense model, so that replicas of it share nothing."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
    }
    return read_model(config, "dense")


@pytest.mark.parametrize(("prompt", "answer"), [(500, 500), (2000, 100)])
def test_four_whole_replicas_serve_four_times_what_one_serves(dense, prompt, answer):
    def serve(split):
        model = WorkModel(Deployment(dense, load_profile("h100"), split))
        return _state(model, np.inf, prompt, answer)

    one, four = serve(Parallelism()), serve(Parallelism(data=4, whole_replicas=True))
    assert four.running[0] == pytest.approx(4 * one.running[0])
    assert four.decode_step[0] == pytest.approx(one.decode_step[0], rel=1e-3)
    assert four.output_throughput[0] == pytest.approx(4 * one.output_throughput[0], rel=1e-3)


def test_whole_replicas_are_simulated_as_so_many_engines(dense):
    def rate(split, count):
        model = WorkModel(Deployment(dense, load_profile("h100"), split))
        run = simulate(model, COEFFICIENTS, _even(count, 500, 500, concurrency=count))
        return count * 500 / (run.start + run.duration)[-1]

    whole = Parallelism(data=4, whole_replicas=True)
    assert rate(whole, 4 * 500) == pytest.approx(4 * rate(Parallelism(), 500), rel=0.03)


def test_a_model_that_does_not_fit_has_no_numbers(on_a100):
    state = _state(WorkModel(on_a100(1)), 4, 100, 100)  # 93 GB of weights on one device of 80 GB
    assert np.isnan(state.tpot[0])
    assert np.isnan(state.output_throughput[0])
    with pytest.raises(BadInputError, match="does not fit in 1 of a100-sxm4-80gb; take more"):
        simulate(WorkModel(on_a100(1)), COEFFICIENTS, _even(2, 100, 10))


def test_one_request_at_a_time_is_never_interrupted(model):
    state = _state(model, 1, 1000, 500)
    decode = step_time(model.work(StepShape.of(1, 1250)), COEFFICIENTS, "vllm").total[0]
    assert state.tpot[0] == pytest.approx(decode)
    prefill = step_time(model.work(StepShape.of(1, 1250, 1000)), COEFFICIENTS, "vllm").total[0]
    costs = COEFFICIENTS.engine("vllm")
    request = costs.prompt + 1000 * costs.prompt_token + prefill + 499 * decode
    assert state.output_throughput[0] == pytest.approx(500 / request)


def test_the_budget_of_tokens_bounds_what_decodes(model):
    state = _state(model, np.inf, 4000, 100)
    assert state.running[0] == pytest.approx(8192 * 100 / 4100)
    assert state.mixed_share[0] == 1.0


def test_tables_give_step_times_within_1_per_cent(model):
    table = StepTable(model, COEFFICIENTS, sequences=1024, tokens=8192, context=9000)
    rng = np.random.default_rng(1)
    for _ in range(300):
        batch, context = int(rng.integers(1, 1024)), float(rng.integers(1, 9000))
        exact = step_time(model.work(StepShape.of(batch, context)), COEFFICIENTS, "vllm").total[0]
        assert table.decode(batch, context) == pytest.approx(exact, rel=0.01)
        start, new = int(rng.integers(0, 4000)), int(rng.integers(1, 4096))
        shape = StepShape.of(batch, context, new, 1, start)
        exact = step_time(model.work(shape), COEFFICIENTS, "vllm").total[0]
        assert table.mixed(batch, context, [(start, new)], 1) == pytest.approx(exact, rel=0.01)


def test_a_lone_request_is_simulated_as_its_steps_add_up(model):
    run = simulate(model, COEFFICIENTS, _even(1, 1000, 50))
    costs = COEFFICIENTS.engine("vllm")
    first = step_time(model.work(StepShape.of(0, 1, 1000)), COEFFICIENTS, "vllm").total[0]
    later = step_time(model.work(StepShape.of(np.ones(49), 1001 + np.arange(49))), COEFFICIENTS, "vllm").total
    ends = run.start + run.duration
    arrival = costs.prompt + 1000 * costs.prompt_token
    assert run.start[0] == pytest.approx(arrival)
    assert ends[0] == pytest.approx(arrival + first, rel=0.005)
    assert ends[-1] - ends[0] == pytest.approx(later.sum(), rel=0.005)
    assert run.token_steps(0).tolist() == list(range(50))


@pytest.mark.parametrize(
    ("concurrency", "prompt", "answer"), [(1, 1000, 200), (8, 200, 800), (64, 1000, 1000), (256, 500, 500)]
)
def test_simulation_and_closed_form_agree(model, concurrency, prompt, answer):
    count = 12 * concurrency
    run = simulate(model, COEFFICIENTS, _even(count, prompt, answer, concurrency=concurrency))
    rate = count * answer / (run.start + run.duration)[-1]
    assert rate == pytest.approx(_state(model, concurrency, prompt, answer).output_throughput[0], rel=0.06)


@pytest.mark.parametrize(
    ("count", "prompt", "answer"),
    [(500, 128, 2048), (800, 128, 2048), (1000, 1000, 1000), (4000, 128, 128), (3000, 2048, 128)],
)
def test_requests_that_are_queued_at_once_are_served_in_waves(on_a100, count, prompt, answer):
    model = WorkModel(on_a100(4, engine="trtllm"))  # there is room for 690 to 4,000 of them
    run = simulate(model, COEFFICIENTS, _even(count, prompt, answer, concurrency=count))
    rate = count * answer / (run.start + run.duration)[-1]
    assert rate == pytest.approx(_state(model, count, prompt, answer, 0.1, True).output_throughput[0], rel=0.02)


def test_a_prompt_above_the_budget_is_fed_in_chunks(model):
    limits = EngineLimits(0.9, 64, 512, reserves=False)
    run = simulate(model, COEFFICIENTS, _even(1, 1300, 3), limits)
    assert run.fed[:, 2:].tolist() == [[0, 512, 0], [512, 512, 0], [1024, 276, 1]]


def test_no_more_than_the_concurrency_is_ever_in_flight(model):
    rng = np.random.default_rng(2)
    requests = Requests(rng.integers(10, 2000, 200), rng.integers(1, 300, 200), concurrency=16)
    run = simulate(model, COEFFICIENTS, requests)
    tables = observation_tables(run, requests, model.deployment.spec, UNIFORM)
    sent = tables["requests.parquet"]["sent_ns"].to_numpy()
    ended = tables["requests.parquet"]["last_token_ns"].to_numpy()
    events = np.concatenate([sent, ended])
    change = np.concatenate([np.ones(200), -np.ones(200)])
    in_flight = np.cumsum(change[np.lexsort((change, events))])
    assert in_flight.max() == 16


def test_the_last_admitted_gives_way_when_the_cache_is_full(model):
    whole = room(model.deployment, LIMITS["vllm"])
    share = 0.9 * (whole.memory - whole.cache + 131072 * 10_000) / whole.memory  # a cache of 10,000 tokens
    limits = EngineLimits(share, 64, 8192, reserves=False)
    requests = _even(40, 500, 1000, concurrency=16)
    run = simulate(model, COEFFICIENTS, requests, limits)
    assert run.preemptions > 0
    for request in range(40):
        assert len(run.token_steps(request)) == 1000
        assert len(set(run.token_steps(request).tolist())) == 1000
    reserving = EngineLimits(share, 64, 8192, reserves=True)
    assert simulate(model, COEFFICIENTS, requests, reserving).preemptions == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.integers(1, 60))
def test_every_token_is_made_once_and_in_order(model, seed, open_loop, concurrency):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    arrivals = np.cumsum(rng.exponential(0.2, count)) if open_loop else None
    requests = Requests(rng.integers(1, 3000, count), rng.integers(1, 200, count), arrivals, concurrency)
    run = simulate(model, COEFFICIENTS, requests)
    assert np.all(run.duration > 0)
    assert np.all(np.diff(run.start) > 0)
    made = run.decoded[:, 2].sum() + run.fed[:, 4].sum()
    assert made == requests.output_tokens.sum()
    assert run.fed[:, 3].sum() == requests.input_tokens.sum()
    for request in range(count):
        assert np.all(np.diff(run.token_steps(request)) > 0)


def test_observation_files_are_read_as_those_of_a_run(model, tmp_path):
    requests = _even(30, 300, 40, arrivals=np.arange(30) * 0.05)
    run = simulate(model, COEFFICIENTS, requests)
    tables = observation_tables(run, requests, model.deployment.spec, UNIFORM, origin_ns=10**9)
    names = Recorder(simulated=tables).write(tmp_path)
    assert names == ["requests.parquet", "chunks.parquet", "steps.parquet", "telemetry.parquet"]
    seen = read_observations(tmp_path)
    assert len(seen.requests) == 30
    assert len(seen.chunks) == 30 * 40
    ends = run.start + run.duration
    ttft = seen.requests["first_token_ns"].to_numpy() - seen.requests["sent_ns"].to_numpy()
    expected = [ends[run.token_steps(r)[0]] - run.sent[r] for r in range(30)]
    np.testing.assert_allclose(ttft / 1e9, expected, atol=2e-9)
    assert seen.steps.tokens().sum() == 30 * 300 + 30 * 39
    distinct = seen.steps.distinct_experts.values.reshape(-1, 32)
    on_average = UNIFORM.distinct(8, 2, seen.steps.tokens())
    np.testing.assert_allclose(distinct.mean(1), on_average, atol=1 / 64)  # whole numbers, right over all layers
    assert np.ptp(distinct, axis=1).max() == 1
    measured = token_latencies(seen.requests, seen.chunks)
    np.testing.assert_allclose(np.sort(measured["ttft"]), np.sort(expected), atol=2e-9)


def test_what_was_preempted_is_fed_again_and_the_files_say_so(model, tmp_path):
    whole = room(model.deployment, LIMITS["vllm"])
    share = LIMITS["vllm"].memory * (whole.memory - whole.cache + 131072 * 10_000) / whole.memory  # 10,000 tokens
    limits = replace(LIMITS["vllm"], memory=share, sequences=64)
    requests = _even(40, 500, 1000, concurrency=16)
    run = simulate(model, COEFFICIENTS, requests, limits)
    Recorder(simulated=observation_tables(run, requests, model.deployment.spec, UNIFORM)).write(tmp_path)
    seen = read_observations(tmp_path)  # which refuses steps that do not feed each request its tokens
    again = seen.requests["recomputed_tokens"].to_numpy()
    assert run.preemptions > 0
    assert again.sum() == run.fed[:, 3].sum() - 40 * 500
    assert (again > 0).sum() <= run.preemptions


@pytest.mark.parametrize(
    ("arrivals", "median"), [(0.1, 0), (0.69, 0), (0.7, 1), (1.0, 1), (1.67, 1), (1.7, 2), (2.0, 2), (5.0, 5)]
)
def test_the_median_number_of_prompts_in_a_step_is_that_of_a_poisson_variable(arrivals, median):
    assert _poisson_median(np.array([arrivals]))[0] == median == poisson.median(arrivals)


def test_a_plan_of_several_loads_is_that_of_each(model):
    several = _state(model, [1, 64, np.inf], [100, 2000, 500], [500, 100, 500])
    for i, load in enumerate([(1, 100, 500), (64, 2000, 100), (np.inf, 500, 500)]):
        one = _state(model, *load)
        for name in ("ttft", "tpot", "itl", "output_throughput"):
            assert getattr(several, name)[i] == pytest.approx(getattr(one, name)[0], rel=1e-12)
