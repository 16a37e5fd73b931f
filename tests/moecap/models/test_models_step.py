"""Cache reads and attention pairs agree with a count of every single (query, key) pair."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.models.reading import read_model
from moecap.models.spec import Attention, ModelSpec, Span
from moecap.models.step import (
    attention_flops,
    dense_linear_flops_per_token,
    kv_read_bytes,
    linear_flops_per_token,
    lm_head_flops,
    paper_step_weights,
    step_weights,
)

CONFIG: dict[str, Any] = {
    "model_type": "mixtral",
    "hidden_size": 8,
    "intermediate_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "vocab_size": 10,
    "max_position_embeddings": 4096,
    "dtype": "bfloat16",
}
BYTES_OF_AN_ENTRY = 2 * 2 * 2 * 2  # keys and values, 2 heads, 2 elements, 2 bytes
FLOPS_OF_A_PAIR = 2 * 4 * (2 + 2)  # multiply and add, 4 heads, dk + dv

SPANS: st.SearchStrategy[tuple[Span, int]] = st.one_of(
    st.just(("full", 0)),
    st.tuples(st.just("sliding"), st.integers(1, 20)),
    st.tuples(st.just("chunked"), st.integers(1, 20)),
    st.just(("none", 0)),
)
SEQUENCES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), min_size=1, max_size=5)


def model_of(*attentions: Attention) -> ModelSpec:
    base = read_model(CONFIG, "toy")
    return replace(base, layers=tuple(replace(base.layers[0], attention=a) for a in attentions))


def attention_of(span: Span, window: int) -> Attention:
    return replace(read_model(CONFIG, "toy").layers[0].attention, span=span, window=window)


def attended(span: Span, window: int, position: int) -> set[int]:
    """The entries that one query attends, straight from the definition."""
    if span == "sliding":
        return set(range(max(0, position - window + 1), position + 1))
    if span == "none":
        return set()
    if span == "chunked":
        return {key for key in range(position + 1) if key // window == position // window}
    return set(range(position + 1))


@given(layers=st.lists(SPANS, min_size=1, max_size=4), sequences=SEQUENCES)
def test_reads_and_pairs_agree_with_counting(layers: list[tuple[Span, int]], sequences: list[tuple[int, int]]) -> None:
    model = model_of(*(attention_of(span, window) for span, window in layers))
    start, new = (np.array(column, dtype=np.int64) for column in zip(*sequences, strict=True))
    reads, flops = kv_read_bytes(model, start, new), attention_flops(model, start, new, new == 1)
    assert reads.dtype == flops.dtype == np.float64
    for i, (before, fed) in enumerate(sequences):
        entries = pairs = 0
        for span, window in layers:
            keys = [attended(span, window, position) for position in range(before, before + fed)]
            entries += len(set().union(*keys))
            pairs += sum(len(one) for one in keys)
        assert reads[i] == entries * BYTES_OF_AN_ENTRY
        assert flops[i] == pairs * FLOPS_OF_A_PAIR


@given(context=st.integers(1, 200), chunk=st.integers(1, 40), window=st.integers(1, 40))
def test_a_decoded_token_reads_what_the_design_page_says(context: int, chunk: int, window: int) -> None:
    start, one = np.array([context - 1]), np.array([1])
    entry = BYTES_OF_AN_ENTRY
    assert kv_read_bytes(model_of(attention_of("full", 0)), start, one)[0] == context * entry
    assert kv_read_bytes(model_of(attention_of("sliding", window)), start, one)[0] == min(context, window) * entry
    assert kv_read_bytes(model_of(attention_of("chunked", chunk)), start, one)[0] == ((context - 1) % chunk + 1) * entry


@given(
    span=SPANS, start=st.integers(0, 60), first=st.integers(0, 30), second=st.integers(0, 30), absorbed=st.booleans()
)
def test_pairs_of_two_chunks_are_those_of_one_prefill(
    span: tuple[Span, int], start: int, first: int, second: int, absorbed: bool
) -> None:
    model = model_of(attention_of(*span))
    form = np.array([absorbed])
    whole = attention_flops(model, np.array([start]), np.array([first + second]), form)
    parts = attention_flops(model, np.array([start, start + first]), np.array([first, second]), form.repeat(2))
    assert parts.sum() == whole[0]


def test_prefill_from_an_empty_cache_has_n_n_plus_1_over_2_pairs() -> None:
    flops = attention_flops(model_of(attention_of("full", 0)), np.array([0]), np.array([1000]), np.array([False]))
    assert flops[0] == 1000 * 1001 // 2 * FLOPS_OF_A_PAIR


def test_latent_attention_has_two_forms_and_one_cache() -> None:
    latent = replace(attention_of("full", 0), key_dim=24, value_dim=16, latent_rank=32, rope_dim=8, cached_elements=40)
    model = model_of(latent)
    start, new = np.array([9, 9]), np.array([1, 1])
    flops = attention_flops(model, start, new, np.array([True, False]))
    assert list(flops) == [10 * 2 * 4 * (2 * 32 + 8), 10 * 2 * 4 * (24 + 16)]
    assert list(kv_read_bytes(model, start, new)) == [10 * 40 * 2, 10 * 40 * 2]
    assert latent.kind == "mla"


def test_a_recurrent_state_is_read_whole_whatever_the_context() -> None:
    state = replace(attention_of("full", 0), span="state", cached_elements=0, state_bytes=1000, state_flops=70)
    model = model_of(state, attention_of("full", 0))
    start, new = np.array([0, 99, 5]), np.array([3, 1, 0])
    assert list(kv_read_bytes(model, start, new)) == [1000 + 3 * BYTES_OF_AN_ENTRY, 1000 + 100 * BYTES_OF_AN_ENTRY, 0]
    flops = attention_flops(model, start, new, new == 1)
    assert list(flops) == [3 * 70 + 6 * FLOPS_OF_A_PAIR, 70 + 100 * FLOPS_OF_A_PAIR, 0]


def test_an_empty_step_reads_nothing() -> None:
    none = np.array([], dtype=np.int64)
    model = model_of(attention_of("sliding", 4))
    assert kv_read_bytes(model, none, none).shape == (0,)
    assert attention_flops(model, none, none, none.astype(bool)).shape == (0,)


def test_a_million_sequences_at_a_million_tokens_do_not_overflow() -> None:
    start = np.full(1_000_000, 2**20, dtype=np.int64)
    flops = attention_flops(model_of(attention_of("full", 0)), start, start, np.full(len(start), False))
    pairs = 2**20 * 2**20 + 2**20 * (2**20 + 1) // 2
    assert flops[-1] == pytest.approx(pairs * FLOPS_OF_A_PAIR, rel=1e-15)


def test_weights_of_a_step_by_hand() -> None:
    weights = step_weights(read_model(CONFIG, "toy"))
    attention, expert = 8 * 8 + 2 * 8 * 4 + 8 * 8, 3 * 8 * 6
    assert weights.attention == 2 * attention
    assert weights.router == 2 * 4 * 8
    assert weights.shared_and_dense == 0
    assert weights.norms == 2 * 3 * 8
    assert weights.lm_head == 2 * 10 * 8
    assert weights.embedding_row == 2 * 8
    assert weights.expert.tolist() == [2.0 * expert]
    assert (weights.experts.tolist(), weights.top_k.tolist()) == ([4], [2])
    assert weights.experts.dtype == weights.top_k.dtype == np.int64


def test_flops_of_a_token_by_hand() -> None:
    model = read_model(CONFIG, "toy")
    attention, router, expert = 192, 32, 144
    assert linear_flops_per_token(model) == 2 * (attention + router + 2 * expert)
    assert dense_linear_flops_per_token(model) == 2 * (attention + router + 4 * expert)
    assert lm_head_flops(model) == 2 * 80


def test_a_model_without_experts_has_empty_columns() -> None:
    dense = {key: value for key, value in CONFIG.items() if "experts" not in key} | {"model_type": "llama"}
    model = read_model(dense, "dense")
    weights = step_weights(model)
    assert weights.expert.shape == weights.experts.shape == weights.top_k.shape == (0,)
    assert weights.shared_and_dense == 2 * 3 * 8 * 6
    assert dense_linear_flops_per_token(model) == linear_flops_per_token(model)
    assert not model.is_moe


def test_the_paper_counts_no_bias_norm_router_or_head() -> None:
    keys = {"model_type": "gpt_oss", "head_dim": 2, "sliding_window": 4, "num_hidden_layers": 2}
    model = read_model(CONFIG | keys, "biased")
    ours, paper = step_weights(model), paper_step_weights(model)
    assert (paper.router, paper.norms, paper.lm_head, paper.embedding_row) == (0, 0, 0, 0)
    biases_and_sinks = 8 + 4 + 4 + 8 + 4
    assert ours.attention - paper.attention == 2 * 2 * biases_and_sinks
    assert (ours.expert - paper.expert).tolist() == [2.0 * (2 * 6 + 8)] * 2


@given(topk=st.integers(1, 20), start=st.integers(0, 60), new=st.integers(0, 20))
def test_an_index_selects_k_entries_and_is_scanned_whole(topk: int, start: int, new: int) -> None:
    """Each query attends min(k, entries before it); together they read at most all entries, at most k each."""
    attention = replace(attention_of("indexed", topk), index_elements=3, index_flops=10)
    model = model_of(attention)
    columns = np.array([start]), np.array([new])
    positions = range(start, start + new)
    pairs = sum(min(topk, position + 1) for position in positions)
    scanned = sum(position + 1 for position in positions)
    entries = min(start + new, topk * new)
    read = entries * BYTES_OF_AN_ENTRY + (start + new) * (new > 0) * 3 * 2
    assert kv_read_bytes(model, *columns)[0] == read
    assert attention_flops(model, *columns, np.array([True]))[0] == pairs * FLOPS_OF_A_PAIR + scanned * 10


@given(start=st.integers(0, 60), new=st.integers(0, 20))
def test_a_state_is_read_whole_in_a_step_and_computed_for_every_token(start: int, new: int) -> None:
    model = model_of(replace(attention_of("state", 0), cached_elements=0, state_bytes=100, state_flops=70))
    columns = np.array([start]), np.array([new])
    assert kv_read_bytes(model, *columns)[0] == (100 if new else 0)
    assert attention_flops(model, *columns, np.array([False]))[0] == 70 * new
