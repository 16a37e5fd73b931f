"""How the experts of steps are known, against loads of which each token's experts are given."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_load import Job, served_load

from moecap.metrics.routing_source import estimated_experts, seen_steps
from moecap.models.reading import read_model
from moecap.observations.reader import Observations, Ragged, RequestRouting, Routing, Steps

LAYERS, EXPERTS, TOP_K = 3, 8, 2
CONFIG = {
    "model_type": "mixtral",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "num_local_experts": EXPERTS,
    "num_experts_per_tok": TOP_K,
    "max_position_embeddings": 4096,
}
SPEC = read_model(CONFIG, "tiny", weights="bf16", kv="bf16")
NONE = Ragged(np.empty(0, np.int64), np.zeros(1, np.int64))
NO_STEPS = Steps(
    np.empty(0, np.str_), np.empty(0, np.int64), np.empty(0, np.int64), NONE, NONE, NONE, NONE, np.empty(0, int), NONE
)


def observed(load, routing=None):
    nothing = pd.DataFrame()
    return Observations(
        requests=load.requests,
        chunks=load.chunks,
        steps=NO_STEPS,
        telemetry=nothing,
        peaks=nothing,
        server_metrics=nothing,
        routing=None,
        samples=(),
        request_routing=routing,
    )


def told(load, rng, *, of=None):
    """Random experts of every position of every request, prompt and answer but its last token."""
    rows = [
        (r, position)
        for r, prompt, answer in zip(
            *(load.requests[c] for c in ("request", "input_tokens", "output_tokens")), strict=True
        )
        for position in range(prompt + answer - 1)
        if of is None or r in of
    ]
    experts = np.argsort(rng.random((len(rows), LAYERS, EXPERTS)), axis=2)[:, :, :TOP_K].astype(np.uint8)
    request, position = np.array(rows, np.int32).reshape(-1, 2).T
    return RequestRouting(experts, request, position, "test")


def distinct_by_hand(load, routing):
    """Distinct experts of each step, step by step and layer by layer."""
    places = {
        (int(r), int(p)): e
        for r, p, e in zip(routing.token_request, routing.token_position, routing.experts, strict=True)
    }
    found = []
    for _, sequences in load.steps:
        rows = [places[r, p] for r, (start, new) in sequences.items() for p in range(start, start + new)]
        found.append([len({int(e) for row in rows for e in row[layer]}) for layer in range(LAYERS)])
    return found


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.builds(Job, prompt=st.integers(30, 60), answer=st.integers(1, 8), cached=st.sampled_from([0, 16])),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_steps_get_the_experts_of_the_tokens_that_they_fed(jobs, concurrency, seed):
    rng = np.random.default_rng(seed)
    load = served_load(jobs, concurrency=concurrency, rng=rng)
    routing = told(load, rng)
    seen = seen_steps(observed(load, routing), SPEC)
    assert (seen.source, seen.left_out, seen.estimate) == ("reconstructed", 0, None)
    distinct = seen.observations.steps.distinct_experts
    assert distinct.values.reshape(-1, LAYERS).tolist() == distinct_by_hand(load, routing)


def test_steps_with_a_request_of_unknown_experts_are_left_out_and_counted():
    load = served_load([Job(40, 4), Job(40, 4), Job(40, 9)], concurrency=1, rng=np.random.default_rng(0))
    seen = seen_steps(observed(load, told(load, np.random.default_rng(1), of={0, 2})), SPEC)
    assert seen.left_out == 4
    assert set(seen.observations.steps.seq_request.values.tolist()) == {0, 2}
    assert len(seen.observations.routing.token_step) == (40 + 3) + (40 + 8)


def test_experts_that_nobody_tells_are_estimated_between_their_bounds():
    load = served_load([Job(40, 4)] * 3, concurrency=3, rng=np.random.default_rng(0))
    seen = seen_steps(observed(load), SPEC)
    assert seen.source == "estimated"
    steps = seen.observations.steps
    # N(1 - (1 - k/N)^T) for a step of three sequences that decode
    assert steps.distinct_experts.values[-LAYERS:] == pytest.approx(8 * (1 - 0.75**3))
    assert seen.estimate.fewest.values[-LAYERS:] == pytest.approx(2)
    assert seen.estimate.most.values[-LAYERS:] == pytest.approx(6)


def test_the_routing_of_a_warm_up_is_none_of_the_load_whose_own_steps_were_lost():
    load, n = served_load([Job(40, 4)] * 3, concurrency=3, rng=np.random.default_rng(0)), 50
    each = np.arange(n + 1)
    one, layers = Ragged(np.ones(n, np.int64), each), Ragged(np.full(n * LAYERS, TOP_K), each * LAYERS)
    warm = Steps(np.full(n, "warmup"), each[:-1], each[1:], one, one, one, one, np.ones(n, np.int64), layers)
    routing = Routing(np.zeros((n, LAYERS, TOP_K), np.uint8), each[:-1].astype(np.int32), "test")
    seen = seen_steps(dataclasses.replace(observed(load), steps=warm, routing=routing), SPEC)
    assert set(seen.observations.steps.stage) == {"load"}
    assert seen.observations.routing is None


def test_an_estimate_never_counts_less_than_one_expert():
    # one of the two experts that a token selects of 4 has no weights
    layer = dataclasses.replace(SPEC.moe_layers[0], experts=4, top_k=1, zero_experts=4)
    spec = dataclasses.replace(SPEC, layers=tuple(dataclasses.replace(one, ffn=layer) for one in SPEC.layers))
    estimate = estimated_experts(spec, np.array([1]))
    assert estimate.fewest.values.tolist() == estimate.uniform.values.tolist() == [1.0] * LAYERS
