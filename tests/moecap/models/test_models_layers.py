"""Layers outside the common frame, by hand: LFM2, Kimi-Linear, LongCat-Flash, JetMoE, Gemma 4 and Step 3.5."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moecap.errors import BadInputError
from moecap.models.accounting import (
    cache_bytes,
    count_parameters,
    decode_flops_per_token,
    kv_bytes,
    kv_bytes_per_token,
    state_bytes,
)
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.models.registry import load_model, load_model_config
from moecap.models.spec import MoeFfn
from moecap.models.step import attention_flops, dense_linear_flops_per_token, linear_flops_per_token, step_weights
from moecap.models.summary import summarise

FULL = [4, 8, 12, 16, 20, 24, 27]
KIMI_LINEAR: dict[str, Any] = {
    # the sizes of Kimi-Linear-48B-A3B: the defaults of transformers 5.19's KimiLinearConfig, the layers recalled
    "model_type": "kimi_linear",
    "vocab_size": 163840,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "moe_intermediate_size": 1024,
    "num_hidden_layers": 27,
    "num_attention_heads": 32,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "num_experts": 256,
    "num_experts_per_token": 8,
    "num_shared_experts": 1,
    "first_k_dense_replace": 1,
    "model_max_length": 1048576,
    "dtype": "bfloat16",
    "linear_attn_config": {
        "full_attn_layers": FULL,
        "kda_layers": [layer for layer in range(1, 28) if layer not in FULL],
        "head_dim": 128,
        "num_heads": 32,
        "short_conv_kernel_size": 4,
    },
}
JETMOE: dict[str, Any] = {
    # the sizes of JetMoE-8B, recalled from its paper (arXiv 2404.07413), table 1
    "model_type": "jetmoe",
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "kv_channels": 128,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 4096,
    "dtype": "bfloat16",
}
STEP: dict[str, Any] = {
    "model_type": "step3p5",
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 40,
    "share_expert_dim": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_attention_groups": 2,
    "head_dim": 16,
    "moe_num_experts": 8,
    "moe_top_k": 2,
    "moe_layers_enum": "1,2,3",
    "num_nextn_predict_layers": 1,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "attention_other_setting": {"num_attention_heads": 6, "num_attention_groups": 2, "head_dim": 16},
    "sliding_window": 32,
    "max_position_embeddings": 2048,
    "dtype": "bfloat16",
}


def test_lfm2_keeps_two_inputs_of_each_convolution_and_caches_six_layers() -> None:
    model, _ = load_model("lfm2-8b-a1b")
    assert [layer.attention.span for layer in model.layers].count("full") == 6
    assert state_bytes(model) == 18 * 2048 * 2 * 2
    assert kv_bytes_per_token(model) == 6 * 2 * 8 * 64 * 2
    assert cache_bytes(model, 1000) == 1000 * kv_bytes_per_token(model) + state_bytes(model)
    convolution = model.layers[0].attention
    assert convolution.matrix_params == 3 * 2048**2 + 2048**2 + 2048 * 3
    # scores of six layers alone: what a convolution multiplies is its matrix, once a token
    assert attention_flops(model, np.array([9]), np.array([1]), np.array([True]))[0] == 6 * 10 * 2 * 32 * (64 + 64)
    assert decode_flops_per_token(model, 10).linear == 2 * sum(
        (
            18 * convolution.matrix_params,
            6 * (2 * 2048**2 + 2 * 2048 * 512),
            2 * 3 * 2048 * 7168 + 22 * (32 * 2048 + 4 * 3 * 2048 * 1792),
            65536 * 2048,
        )
    )


def test_kimi_linear_has_the_parameters_and_the_states_of_its_paper() -> None:
    model = read_model(KIMI_LINEAR, "kimi-linear")
    assert [i + 1 for i, layer in enumerate(model.layers) if layer.attention.kind == "mla"] == FULL
    have = count_parameters(model)
    # arXiv 2510.26692: 48B parameters, 3B activated
    assert have.total / 1e9 == pytest.approx(48, rel=0.024)
    assert have.active / 1e9 == pytest.approx(3, rel=0.036)
    # 20 layers of 32 heads with 128 x 128 in fp32, and three inputs of 3 x 4096 channels in bf16
    assert state_bytes(model) == 20 * (32 * 128 * 128 * 4 + 3 * 3 * 4096 * 2)
    assert kv_bytes_per_token(model) == 7 * (512 + 64) * 2
    flops = attention_flops(model, np.array([99]), np.array([1]), np.array([True]))[0]
    assert flops == 20 * 6 * 32 * 128 * 128 + 7 * 100 * 2 * 32 * (2 * 512 + 64)
    assert model.max_context == 1048576


def test_kimi_linear_over_ranks_keeps_the_ranks_of_its_gates_and_its_norm_whole() -> None:
    model = read_model(KIMI_LINEAR, "kimi-linear")
    delta = model.layers[0].attention
    assert [m.name for m in delta.matrices if m.whole] == ["f_a_proj", "g_a_proj"]
    assert delta.whole_params == 128
    assert kv_bytes(model, 1, Parallelism(tensor=2)) == state_bytes(model) + 2 * kv_bytes_per_token(model)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"routed_expert_hidden_size": 512}, "has routed_expert_hidden_size, which Kimi-Linear has not"),
        (
            {"linear_attn_config": {**KIMI_LINEAR["linear_attn_config"], "use_full_rank_gate": True}},
            "use_full_rank_gate",
        ),
        ({"linear_attn_config": {"full_attn_layers": [4], "kda_layers": [1, 2]}}, "with kda_layers all of 1 to 27"),
        ({"linear_attn_config": None}, "lacks linear_attn_config or layer_types"),
        ({"num_experts_per_token": None}, "lacks num_experts_per_tok"),
    ],
)
def test_a_kimi_linear_that_is_another_model_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_model(KIMI_LINEAR | keys, "kimi-linear")
    assert message in str(caught.value)


def test_longcat_counts_the_mean_of_the_experts_that_a_token_computes() -> None:
    model, _ = load_model("longcat-flash")
    mixture = model.moe_layers[0]
    assert (mixture.top_k, mixture.experts, mixture.zero_experts, mixture.used_experts) == (12, 512, 256, 8.0)
    assert "a token computes 0 to 12 experts, counted as 8, the mean under uniform routing" in model.reading
    expert, have = 3 * 6144 * 2048, count_parameters(model)
    assert (have.expert, have.experts, have.moe_layers, have.dense_layers) == (expert, 28 * 512 * expert, 28, 56)
    # arXiv 2509.01322: 18.6B to 31.3B activated, 27B on average
    none, all_twelve = have.active - 28 * 8 * expert, have.active + 28 * 4 * expert
    assert none / 1e9 == pytest.approx(18.6, rel=0.01)
    assert all_twelve / 1e9 == pytest.approx(31.3, rel=0.01)
    assert dense_linear_flops_per_token(model) - linear_flops_per_token(model) == 2 * 28 * (512 - 8) * expert
    assert step_weights(model).expert.tolist() == [2 * expert] * 28
    assert step_weights(model).router == 28 * (768 * 6144 + 768) * 2


def test_longcat_has_two_latent_caches_a_layer() -> None:
    model, _ = load_model("longcat-flash")
    assert kv_bytes_per_token(model) == 56 * (512 + 64) * 2
    assert [layer.attention.kind for layer in model.layers[:3]] == ["mla", "none", "mla"]
    config, _ = load_model_config("longcat-flash")
    # transformers writes the number of attentions as that of layers
    assert read_model(config | {"num_hidden_layers": 56}, "longcat").layers == model.layers
    with pytest.raises(BadInputError, match="zero_expert_type = 'drop'; it must be identity"):
        read_model(config | {"zero_expert_type": "drop"}, "longcat")


def test_distinct_experts_of_longcat_under_uniform_routing_are_those_with_weights() -> None:
    model, _ = load_model("longcat-flash")
    # a token selects one expert of 768 with probability 12/768
    assert summarise(model, batch=64).experts == pytest.approx(512 * (1 - (1 - 12 / 768) ** 64), rel=1e-12)
    assert summarise(model).as_json()["zero_experts"] == 256
    assert summarise(load_model("mixtral")[0]).as_json()["zero_experts"] == 0


def test_jetmoe_has_experts_in_its_attention_that_a_step_reads_like_others() -> None:
    model = read_model(JETMOE, "jetmoe")
    have = count_parameters(model)
    # arXiv 2404.07413: 8B parameters, 2.2B activated
    assert have.total / 1e9 == pytest.approx(8.5, rel=0.01)
    assert have.active_without_lm_head / 1e9 == pytest.approx(2.2, rel=0.031)
    heads, network = 2 * 2048 * 2048, 3 * 2048 * 5632
    assert step_weights(model).expert.tolist() == [2 * heads, 2 * network] * 24
    assert kv_bytes_per_token(model) == 24 * 2 * 16 * 128 * 2
    # both experts of a token's attention have 16 heads, each of which scores every entry
    assert attention_flops(model, np.array([6]), np.array([1]), np.array([True]))[0] == 24 * 7 * 2 * 32 * (128 + 128)
    assert "counted as two MoE layers" in model.reading


def test_gemma_4_caches_keys_and_values_of_layers_that_project_keys_alone() -> None:
    model, _ = load_model("gemma-4-26b-a4b")
    spans = [layer.attention.span for layer in model.layers]
    assert [i for i, span in enumerate(spans) if span == "full"] == [5, 11, 17, 23, 29]
    full, window = model.layers[5].attention, model.layers[0].attention
    assert [m.name for m in full.matrices] == ["q_proj", "k_proj", "o_proj"]
    assert (full.heads, full.kv_heads, full.key_dim) == (16, 2, 512)
    assert (window.heads, window.kv_heads, window.key_dim, window.window) == (16, 8, 256, 1024)
    assert kv_bytes(model, 5000) == 5 * 5000 * 2 * 2 * 512 * 2 + 25 * 1024 * 2 * 8 * 256 * 2
    assert isinstance(model.layers[0].ffn, MoeFfn)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"hidden_size_per_layer_input": 256}, "= 256; it must be 0: embeddings for each layer have no reader"),
        ({"hidden_size_per_layer_input": None}, "lacks hidden_size_per_layer_input"),
        ({"num_kv_shared_layers": 4}, "= 4; it must be 0: layers that share their cache have no reader"),
        ({"use_bidirectional_attention": "all"}, "only causal models are read"),
        ({"enable_moe_block": None}, "lacks enable_moe_block"),
        ({"top_k_experts": 200}, "top_k_experts = 200; it must be at most the number of experts, 128"),
    ],
)
def test_a_gemma_4_of_another_structure_is_refused(keys: dict[str, Any], message: str) -> None:
    config, _ = load_model_config("gemma-4-26b-a4b")
    with pytest.raises(BadInputError) as caught:
        read_model(config | {"text_config": config["text_config"] | keys}, "gemma")
    assert message in str(caught.value)


def test_step_has_more_query_heads_and_gates_in_its_windows_and_leaves_further_layers_apart() -> None:
    model = read_model(STEP, "step")
    assert [(layer.attention.heads, layer.attention.window) for layer in model.layers] == [(4, 0), (6, 32), (6, 32)]
    assert [layer.attention.matrices[-1].params for layer in model.layers] == [4 * 64, 6 * 64, 6 * 64]
    assert [isinstance(layer.ffn, MoeFfn) for layer in model.layers] == [False, True, True]
    assert model.reading == "step3p5; multi-token-prediction layers are not counted"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"attention_other_setting": None}, "lacks num_sliding_attention_heads or attention_other_setting"),
        ({"attention_other_setting": {"num_attention_groups": 1}}, "num_attention_groups = 1; it must be 2"),
        ({"moe_layers_enum": "1,two"}, "moe_layers_enum = '1,two'; it must be layer numbers between commas"),
        ({"use_head_wise_attn_gate": False}, "attention without its gate has no reader"),
        ({"mlp_layer_types": ["sparse"]}, "mlp_layer_types = 1; it must be 3 of dense, sparse"),
    ],
)
def test_a_step_of_another_structure_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_model(STEP | keys, "step")
    assert message in str(caught.value)


@pytest.mark.parametrize("own", [7, [1]])
def test_what_differs_between_layers_must_be_an_object(own: object) -> None:
    with pytest.raises(BadInputError, match="per_layer_config"):
        read_model(STEP | {"per_layer_config": {"1": own}}, "step")
