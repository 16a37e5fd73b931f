"""Compressed entries, blocks that an index selects, mixed residual streams: DeepSeek-V4 and MiniMax-M3 by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.models.accounting import cache_bytes, checkpoint_bytes, count_parameters, kv_bytes, kv_bytes_per_token
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.models.registry import load_model, load_model_config
from moecap.models.spec import Attention, ModelSpec
from moecap.models.step import attention_flops, kv_read_bytes, step_weights


def only(model: ModelSpec, **changes: Any) -> ModelSpec:
    """The model with its indexed attention alone, changed, whose entries and pairs are each one byte and one FLOP."""
    layer = next(layer for layer in model.layers if layer.attention.span == "indexed")
    unit = {"cached_elements": 1, "index_elements": 0, "index_flops": 0, "heads": 1, "key_dim": 0, "value_dim": 0}
    attention = replace(layer.attention, **{**unit, **changes})
    return replace(model, layers=(replace(layer, attention=attention),), kv_dtype="int8")


def attended(context: int, attention: Attention) -> int:
    """Entries of the query whose context is given, counted one block after another."""
    entries = context // attention.stride
    blocks = [range(first, min(first + attention.block, entries)) for first in range(0, entries, attention.block)]
    kept = attention.window // attention.block
    return sum(len(block) for block in blocks[max(0, len(blocks) - kept) :])


sizes = st.integers(min_value=1, max_value=9)


@given(start=st.integers(0, 80), new=st.integers(0, 40), kept=sizes, size=sizes, compressed=st.booleans())
def test_an_index_reaches_what_counting_block_by_block_gives(
    start: int, new: int, kept: int, size: int, compressed: bool
) -> None:
    block, stride = (1, size) if compressed else (size, 1)
    model = only(
        load_model("minimax-m3")[0], window=kept * block, block=block, stride=stride, key_dim=1, cached_elements=1
    )
    attention = model.layers[0].attention
    flops = attention_flops(model, np.array([start]), np.array([new]), np.array([True]))
    assert flops[0] == 2 * sum(attended(context, attention) for context in range(start + 1, start + new + 1))
    read = kv_read_bytes(model, np.array([start]), np.array([new]))[0]
    each = [attended(context, attention) for context in range(start + 1, start + new + 1)]
    # the union of what the queries attend is no less than any one of them, no more than all together or all there is
    assert max(each, default=0) <= read <= min(sum(each), (start + new) // stride)
    if new == 1:
        assert read == each[0]


def test_minimax_m3_reads_sixteen_blocks_the_last_of_which_ends_at_the_query() -> None:
    model, _ = load_model("minimax-m3")
    full, indexed, entry, index = 3, 57, 2 * 4 * 128 * 2, 128 * 2
    for context, reached in ((2048, 2048), (2049, 1921), (2176, 2048), (100_000, 15 * 128 + 100_000 % 128)):
        assert kv_bytes(model, context) == full * context * entry + indexed * (reached * entry + context * index)
    assert kv_bytes_per_token(model) == 60 * entry + 57 * index
    assert cache_bytes(model, 4096) == 4096 * kv_bytes_per_token(model)


def test_deepseek_v4_reads_its_windows_and_one_entry_for_many_tokens() -> None:
    model, _ = load_model("deepseek-v4-flash")
    # 43 layers: two with a window alone, 21 with an entry for 4 tokens, 20 with one for 128; bf16 entries of 512
    spans = [layer.attention.kind for layer in model.layers]
    assert [spans.count(kind) for kind in ("sliding", "indexed 1/4", "full 1/128")] == [43, 21, 20]
    entry, index = 512 * 2, 128 * 2
    assert kv_bytes(model, 3) == 43 * 3 * entry
    assert kv_bytes(model, 1000) == 43 * 128 * entry + 21 * (250 * entry + 250 * index) + 20 * 7 * entry
    at_64k = 43 * 128 * entry + 21 * (512 * entry + 16384 * index) + 20 * 512 * entry
    assert kv_bytes(model, 65536) == at_64k
    assert cache_bytes(model, 65536) == 43 * 128 * entry + 21 * 16384 * (entry + index) + 20 * 512 * entry
    flops = attention_flops(model, np.array([65535]), np.array([1]), np.array([True]))[0]
    pairs = 43 * 128 + 21 * 512 + 20 * 512
    assert flops == pairs * 2 * 64 * (512 + 512) + 21 * 16384 * 2 * 64 * 128


def test_deepseek_v4_experts_are_fp4_with_a_scale_of_one_byte_for_32_inputs() -> None:
    model, _ = load_model("deepseek-v4-flash")
    elements = 3 * 4096 * 2048
    assert step_weights(model).expert.tolist() == [elements / 2 + elements / 32] * 43
    config, _ = load_model_config("deepseek-v4-flash")
    eight = read_model({key: value for key, value in config.items() if key != "expert_dtype"}, "fp8 experts")
    assert step_weights(eight).expert.tolist() == [elements + elements / 128**2] * 43
    float_scales = config | {"quantization_config": {**config["quantization_config"], "scale_fmt": "float"}}
    shared = step_weights(read_model(float_scales, "v4")).shared_and_dense - step_weights(model).shared_and_dense
    assert shared == 43 * 3 * elements // 3 // 128**2 * 3


def test_an_override_holds_for_the_streams_of_deepseek_v4_too() -> None:
    config, _ = load_model_config("deepseek-v4-flash")
    model = read_model(config, "v4", weights="bf16")
    assert set(model.weight_dtypes.values()) == {"bf16"}
    assert checkpoint_bytes(model) == 2 * count_parameters(model).total


def test_parallel_ranks_keep_what_makes_the_entries_of_deepseek_v4_and_the_entries() -> None:
    model, _ = load_model("deepseek-v4-flash")
    one, four = (step_weights(model, Parallelism(tensor=ranks)).attention for ranks in (1, 4))
    window, compressed = (model.layers[i].attention for i in (4, 5))
    assert [m.name for m in window.matrices if not m.whole] == ["q_b_proj", "o_a_proj", "o_b_proj"]
    assert all(m.whole for m in compressed.matrices)
    whole = sum(
        sum(m.bytes for m in layer.attention.matrices if m.whole) + 2 * layer.attention.whole_params
        for layer in model.layers
    )
    assert four - one == 3 * whole
    assert kv_bytes(model, 5000, Parallelism(tensor=4)) == 4 * kv_bytes(model, 5000)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("deepseek-v4-flash", {"compress_ratios": [0, 8]}, "compress_ratios = [0, 8]; it must be a list of 0, 4, 128"),
        ("deepseek-v4-flash", {"compress_ratios": [0] * 9}, "it must be 43 of sliding_attention"),
        ("deepseek-v4-flash", {"compress_ratios": None}, "lacks layer_types or compress_ratios"),
        ("deepseek-v4-flash", {"mlp_layer_types": ["moe"] * 2}, "mlp_layer_types = ['moe']; it must be 43 of hash_moe"),
        ("deepseek-v4-flash", {"expert_dtype": "int3"}, "expert_dtype = 'int3'; it must be fp4 or fp8"),
        ("deepseek-v4-flash", {"o_groups": 7}, "o_groups = 7; it must be a divisor of num_attention_heads = 64"),
        ("deepseek-v4-flash", {"compress_rates": {"heavily_compressed_attention": 0}}, "of positive integers"),
        ("minimax-m3", {"n_shared_experts": 2}, "n_shared_experts = 2; it must be 1 in a MiniMax-M3"),
        ("minimax-m3", {"attention_output_gate": True}, "attention_output_gate = True; it must be false"),
        ("minimax-m3", {"index_n_heads": 8, "sparse_attention_config": None, "layer_types": ["minimax_m3_sparse"] * 60},
         "lacks index_head_dim, index_block_size, index_topk_blocks"),
    ],
)  # fmt: skip
def test_what_these_readers_do_not_count_is_refused(name: str, keys: dict[str, Any], message: str) -> None:
    config, _ = load_model_config(name)
    with pytest.raises(BadInputError) as caught:
        read_model(config | keys, name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sparse_local_block", 0, "index_local_blocks = 0; it must be 1 or more"),
        ("sparse_init_block", 1, "sparse_init_block = 1; it must be 0"),
        ("sparse_disable_index_value", 0, "sparse_disable_index_value = 0; it must be 1"),
        ("sparse_num_index_heads", 8, "index_n_heads = 8; it must be 4, one a key and value head"),
    ],
)
def test_an_index_of_minimax_m3_that_selects_otherwise_is_refused(key: str, value: int, message: str) -> None:
    config, _ = load_model_config("minimax-m3")
    sparse = config["sparse_attention_config"] | {key: value}
    with pytest.raises(BadInputError) as caught:
        read_model(config | {"sparse_attention_config": sparse}, "m3")
    assert message in str(caught.value)


def test_a_minimax_m3_under_the_name_of_its_forerunner_is_refused() -> None:
    config, _ = load_model_config("minimax-m3")
    with pytest.raises(BadInputError, match="MiniMax-M3 is minimax_m3_vl_text"):
        read_model(config | {"model_type": "minimax_m2"}, "m2")
