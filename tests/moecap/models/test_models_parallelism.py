"""Bytes over all devices of a split model: rank by rank by hand, the published vectors, and what must always hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.errors import BadInputError, NotAvailableError
from moecap.models.accounting import decode_step_bytes
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.reading import read_model
from moecap.models.registry import load_model, load_model_config, packaged_models
from moecap.models.spec import ModelSpec
from moecap.models.step import kv_read_bytes, paper_step_weights, step_weights

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))

GROUPED: dict[str, Any] = {
    "model_type": "gpt_oss",
    "hidden_size": 16,
    "head_dim": 2,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "sliding_window": 8,
    "layer_types": ["full_attention"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "vocab_size": 24,
    "max_position_embeddings": 64,
    "dtype": "bfloat16",
}
LATENT: dict[str, Any] = {
    "model_type": "deepseek_v32",
    "hidden_size": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 8,
    "num_hidden_layers": 2,
    "first_k_dense_replace": 1,
    "num_attention_heads": 4,
    "q_lora_rank": 6,
    "kv_lora_rank": 5,
    "qk_nope_head_dim": 3,
    "qk_rope_head_dim": 2,
    "v_head_dim": 4,
    "index_n_heads": 2,
    "index_head_dim": 7,
    "index_topk": 3,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "attention_bias": True,
    "vocab_size": 24,
    "max_position_embeddings": 64,
    "dtype": "bfloat16",
}
MAMBA: dict[str, Any] = {
    "model_type": "granitemoehybrid",
    "hidden_size": 16,
    "intermediate_size": 12,
    "shared_intermediate_size": 8,
    "num_hidden_layers": 1,
    "layer_types": ["mamba"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "mamba_n_heads": 4,
    "mamba_d_state": 3,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_proj_bias": True,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "vocab_size": 24,
    "max_position_embeddings": 64,
    "dtype": "bfloat16",
}


@pytest.mark.parametrize("row", VECTORS["metric_vectors"], ids=lambda row: row["model"])
def test_s_mbu_under_tensor_parallelism_is_that_of_the_vectors(row: dict[str, Any]) -> None:
    config, _ = load_model_config(row["model"])
    step = decode_step_bytes(
        read_model(config, row["model"], kv="bf16"),
        batch=row["batch"],
        context=row["context"],
        experts=row["distinct_experts"],
        parallelism=Parallelism(tensor=row["n_gpus"]),
    )
    s_mbu = step.total / (row["step_seconds"] * row["n_gpus"] * row["peak_bw"])
    assert s_mbu == pytest.approx(row["s_mbu_tensor_parallel"], rel=1e-9)


def test_what_four_ranks_of_a_grouped_model_hold_adds_up() -> None:
    """One rank has 2 of 8 query heads and, of 2 key and value heads, the one that its query heads use."""
    model, ranks = read_model(GROUPED, "toy"), Parallelism(tensor=4)
    hidden, dim = 16, 2
    projections = 2 * dim * hidden + 2 * dim * hidden + hidden * 2 * dim  # q of 2 heads; k and v of one; o of 2
    of_heads = 2 * dim + 2 * dim + 2  # biases of q, of k and v; sinks
    weights = step_weights(model, ranks)
    assert weights.attention == 2 * (4 * (projections + of_heads) + hidden)  # the bias of o is added by one rank
    assert paper_step_weights(model, ranks).attention == 2 * 4 * projections
    assert weights.router == 4 * 2 * (4 * hidden + 4)
    assert weights.norms == 4 * 2 * 3 * hidden
    alone = step_weights(model)
    assert (weights.lm_head, weights.embedding_row) == (alone.lm_head, alone.embedding_row)
    assert weights.expert.tolist() == alone.expert.tolist()
    one = np.array([1])
    entry_of_a_head = 2 * 2 * dim
    assert kv_read_bytes(model, np.array([9]), one, ranks)[0] == 4 * 10 * entry_of_a_head
    assert kv_read_bytes(model, np.array([9]), one, Parallelism(tensor=2))[0] == 2 * 10 * entry_of_a_head


def test_two_ranks_of_a_latent_model_both_hold_its_down_projections_cache_and_index() -> None:
    model, ranks = read_model(LATENT, "toy"), Parallelism(tensor=2)
    hidden, rank, latent, rope, index = 16, 6, 5, 2, 7
    kept = rank * hidden + (latent + rope) * hidden + 2 * index * rank + index * hidden + 2 * hidden
    kept_vectors = rank + latent + rank + latent + rope + 2 * index  # two norms, biases of q_a and kv_a, the index's
    once = 4 * (3 + 2) * rank + 4 * (3 + 4) * latent + hidden * 4 * 4
    layers = 2
    assert step_weights(model).attention == layers * 2 * (once + hidden + kept + kept_vectors)
    assert step_weights(model, ranks).attention == layers * 2 * (once + hidden + 2 * (kept + kept_vectors))
    assert paper_step_weights(model, ranks).attention == layers * 2 * (once + 2 * kept)
    read = layers * (3 * (latent + rope) + 10 * index) * 2  # 3 selected latents and an index of 10 entries
    assert kv_read_bytes(model, np.array([9]), np.array([1]), ranks)[0] == 2 * read


def test_ranks_of_a_state_space_split_its_heads_and_share_its_one_group() -> None:
    """Inner 32 channels in 4 heads of 8; B and C of 3 elements each; the state in fp32, 3 inputs in bf16."""
    model, ranks = read_model(MAMBA, "toy"), Parallelism(tensor=4)
    hidden, inner, group, heads, kernel = 16, 32, 2 * 3, 4, 4
    projections = (2 * inner + heads) * hidden + hidden * inner + inner * kernel
    vectors = 3 * heads + inner + inner + (2 * inner + heads) + hidden  # A, D, dt; norm; biases
    shared = group * hidden + group * kernel
    shared_vectors = group + group  # biases of the convolution and of the projection
    assert step_weights(model).attention == 2 * (projections + vectors + shared + shared_vectors)
    assert step_weights(model, ranks).attention == 2 * (projections + vectors + 4 * (shared + shared_vectors))
    state = 4 * inner * 3 + 2 * 3 * inner
    one = np.array([1])
    assert kv_read_bytes(model, one, one)[0] == state + 2 * 3 * group
    assert kv_read_bytes(model, one, one, ranks)[0] == state + 4 * 2 * 3 * group


@pytest.mark.parametrize(("name", "extra"), [("olmoe", (16 + 16) * 128), ("qwen3-30b-a3b", 2 * 128)])
def test_norms_inside_attention_are_kept_by_every_rank(name: str, extra: int) -> None:
    """OLMoE norms queries and keys over all 16 heads of 128, Qwen3 over one head."""
    model, _ = load_model(name)
    grown = step_weights(model, Parallelism(tensor=2)).attention - step_weights(model).attention
    assert grown == 2 * len(model.layers) * extra


def test_the_norms_of_minimax_are_split_with_the_heads() -> None:
    """8 key and value heads on 16 ranks: k and v with the norm of the keys twice, 6144 columns, 128 a head."""
    config, _ = load_model_config("minimax-m2.5")
    model = read_model(config, "m2.5", weights="bf16")
    grown = step_weights(model, Parallelism(tensor=16)).attention - step_weights(model).attention
    assert grown == 2 * 62 * (2 * 8 * 128 * 3072 + 8 * 128)
    assert step_weights(model, Parallelism(tensor=8)).attention == step_weights(model).attention


def test_a_fused_projection_repeats_only_its_keys_and_values() -> None:
    config = {
        "model_type": "dbrx",
        "d_model": 16,
        "n_layers": 1,
        "n_heads": 8,
        "max_seq_len": 64,
        "vocab_size": 24,
        "attn_config": {"kv_n_heads": 2},
        "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
        "dtype": "bfloat16",
    }
    model = read_model(config, "dbrx")
    grown = step_weights(model, Parallelism(tensor=8)).attention - step_weights(model).attention
    assert grown == 3 * 2 * (2 * 2 * 2) * 16


def test_projections_around_latent_experts_and_gates_of_shared_experts_are_kept_by_every_rank() -> None:
    nemotron, _ = load_model("nemotron-3-super")
    nemotron = nemotron.with_dtypes("bf16")
    grown = step_weights(nemotron, Parallelism(tensor=2)).shared_and_dense - step_weights(nemotron).shared_and_dense
    assert grown == 2 * len(nemotron.moe_layers) * 2 * 4096 * 1024
    qwen, _ = load_model("qwen1.5-moe-a2.7b")
    grown = step_weights(qwen, Parallelism(tensor=2)).shared_and_dense - step_weights(qwen).shared_and_dense
    assert grown == 2 * 24 * 2048


@pytest.mark.parametrize("whole", [False, True])
def test_replicas_of_the_attention_read_it_each_and_the_cache_once(whole: bool) -> None:
    """Two replicas of two ranks: four devices read router and norms, each replica its attention."""
    model, _ = load_model("deepseek-v2-lite")
    alone, two = step_weights(model), step_weights(model, Parallelism(tensor=2))
    both = Parallelism(tensor=2, data=2, expert=4, whole_replicas=whole)
    have = step_weights(model, both)
    assert have.attention == 2 * two.attention
    assert (have.router, have.norms) == (4 * alone.router, 4 * alone.norms)
    copies = 2 if whole else 1
    assert have.shared_and_dense == copies * alone.shared_and_dense
    assert have.lm_head == copies * alone.lm_head
    assert have.expert.tolist() == alone.expert.tolist()
    start, one = np.array([5, 9]), np.array([1, 1])
    assert (kv_read_bytes(model, start, one, both) == kv_read_bytes(model, start, one, Parallelism(tensor=2))).all()


@pytest.mark.parametrize("split", [Parallelism(pipeline=4), Parallelism(pipeline=3, tensor=1)])
def test_stages_read_what_one_device_reads(split: Parallelism) -> None:
    model, _ = load_model("mixtral")
    step = {"batch": 4, "context": 100, "experts": 5}
    assert decode_step_bytes(model, **step, parallelism=split) == decode_step_bytes(model, **step)
    assert split.devices == split.pipeline


def test_experts_that_are_moved_between_the_ranks_are_read_as_often() -> None:
    model, _ = load_model("qwen3-30b-a3b")
    step = {"batch": 4, "context": 100, "experts": 30}
    moved = decode_step_bytes(model, **step, parallelism=Parallelism(tensor=4, expert=4))
    assert moved == decode_step_bytes(model, **step, parallelism=Parallelism(tensor=4))


@given(
    chosen=st.sets(st.integers(0, 127), min_size=8),
    groups=st.sampled_from([1, 2, 4, 8]),
)
def test_experts_of_all_devices_are_the_distinct_experts(chosen: set[int], groups: int) -> None:
    """The sum of the experts that each device reads is the size of their union: the devices' sets are disjoint."""
    per_device = [sum(expert // (128 // groups) == device for expert in chosen) for device in range(groups)]
    model, _ = load_model("qwen3-30b-a3b")
    split = Parallelism(tensor=8, expert=groups)
    step = decode_step_bytes(model, batch=1, context=10, experts=len(chosen), parallelism=split)
    assert step.expert_weights == sum(per_device) * round(step_weights(model).expert.sum())


def packaged() -> list[ModelSpec]:
    return [load_model(model.name)[0] for model in packaged_models()]


@pytest.mark.parametrize("model", packaged(), ids=lambda model: model.name)
def test_bytes_never_fall_with_more_ranks_and_one_rank_is_no_split(model: ModelSpec) -> None:
    experts = min((ffn.experts for ffn in model.moe_layers), default=0)
    step = {"batch": 3, "context": 500, "experts": experts}
    before = decode_step_bytes(model, **step).total
    assert decode_step_bytes(model, **step, parallelism=Parallelism(tensor=1)).total == before
    splits = 0
    for tensor in (2, 4, 8, 16, 32):
        try:
            now = decode_step_bytes(model, **step, parallelism=Parallelism(tensor=tensor)).total
        except (BadInputError, NotAvailableError):
            continue
        assert before < now < tensor * decode_step_bytes(model, **step).total
        before, splits = now, splits + 1
    assert splits >= 2


@given(
    heads=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 4]),
    tensor=st.sampled_from([1, 2, 4, 8]),
    start=st.lists(st.integers(0, 40), min_size=1, max_size=5),
)
def test_a_cache_of_few_heads_is_read_by_each_rank_that_needs_it(
    heads: int, groups: int, tensor: int, start: list[int]
) -> None:
    config = GROUPED | {"num_attention_heads": 8 * heads, "num_key_value_heads": groups, "intermediate_size": 16}
    model = read_model(config, "toy")
    columns = np.array(start), np.ones(len(start), np.int64)
    of_a_rank = {rank * groups // tensor for rank in range(tensor)} if tensor > groups else set(range(groups))
    ranks_a_head = tensor / len(of_a_rank) if tensor > groups else 1
    assert (
        kv_read_bytes(model, *columns, Parallelism(tensor=tensor)) == ranks_a_head * kv_read_bytes(model, *columns)
    ).all()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"tensor": 0}, "tensor parallelism of 0 is outside 1 to 65536"),
        ({"pipeline": -1}, "pipeline parallelism of -1 is outside"),
        ({"tensor": 4, "expert": 3}, "expert parallelism of 3 does not divide the 4 devices of a stage"),
    ],
)
def test_splits_that_cannot_be_are_refused(split: dict[str, int], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Parallelism(**split)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("mixtral", Parallelism(tensor=3), "3 tensor-parallel ranks cannot share the 32 heads"),
        ("mixtral", Parallelism(pipeline=33), "33 pipeline stages are more than the 32 layers"),
        ("mixtral", Parallelism(tensor=16, expert=16), "expert parallelism of 16 is more than the 8 routed experts"),
        ("deepseek-v2-lite", Parallelism(data=128), "128 parallel ranks cannot share a dense network"),
    ],
)
def test_splits_that_the_model_does_not_allow_are_refused(name: str, split: Parallelism, message: str) -> None:
    model, _ = load_model(name)
    with pytest.raises(BadInputError, match=message) as caught:
        step_weights(model, split)
    assert "; give" in str(caught.value)


def test_key_heads_that_neither_divide_nor_are_divided_are_refused() -> None:
    model = read_model(GROUPED | {"num_attention_heads": 24, "num_key_value_heads": 6}, "toy")
    with pytest.raises(BadInputError, match="cannot share the 6 key and value heads of 'toy' evenly"):
        step_weights(model, Parallelism(tensor=4))


def test_a_delta_net_with_fewer_key_heads_than_ranks_is_refused_and_not_guessed() -> None:
    model, _ = load_model("qwen3-next")
    with pytest.raises(NotAvailableError, match="how 32 tensor-parallel ranks share the 16 key heads of a state layer"):
        step_weights(model, Parallelism(tensor=32))


def test_a_dense_model_has_no_experts_to_share_out() -> None:
    dense = {key: value for key, value in GROUPED.items() if "experts" not in key} | {"model_type": "llama"}
    model = read_model(dense, "dense")
    with pytest.raises(BadInputError, match="more than the 0 routed experts"):
        step_weights(model, Parallelism(tensor=2, expert=2))
    assert step_weights(model, replace(ONE_DEVICE, data=2, whole_replicas=True)).shared_and_dense == 2 * (
        step_weights(model).shared_and_dense
    )
