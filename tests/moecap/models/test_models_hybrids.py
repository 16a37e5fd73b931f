"""Families beyond plain decoders: recurrent states, indexes, chunks and wrappers, checked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moecap.errors import BadInputError
from moecap.models.accounting import (
    cache_bytes,
    checkpoint_bytes,
    count_parameters,
    decode_flops_per_token,
    kv_bytes,
    kv_bytes_per_token,
    state_bytes,
)
from moecap.models.reading import read_model
from moecap.models.registry import load_model, load_model_config
from moecap.models.spec import DenseFfn, ModelSpec, MoeFfn
from moecap.models.step import attention_flops, linear_flops_per_token

JAMBA: dict[str, Any] = {
    "model_type": "jamba",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "vocab_size": 128,
    "max_position_embeddings": 1024,
    "dtype": "bfloat16",
}


def spans(model: ModelSpec) -> list[str]:
    return [layer.attention.span for layer in model.layers]


def test_qwen3_next_caches_only_in_every_fourth_layer() -> None:
    """12 of 48 layers have 2 heads of 256; 36 have a state of 32 heads of 128 x 128 in fp32 and 3 inputs of 8192."""
    model, _ = load_model("qwen3-next")
    assert spans(model) == ["state", "state", "state", "full"] * 12
    assert kv_bytes_per_token(model) == 12 * 2 * 2 * 256 * 2
    state = 36 * (32 * 128 * 128 * 4 + 3 * 8192 * 2)
    assert state_bytes(model) == state
    assert kv_bytes(model, 8192) == cache_bytes(model, 8192) == 8192 * 24_576 + state
    assert kv_bytes(model.with_dtypes(kv="fp8"), 8192) == 8192 * 12_288 + state


def test_the_recurrence_of_a_delta_net_by_hand() -> None:
    """Three products with the state, of 2 FLOPs an element; a pair of gated attention 2·16·(256 + 256)."""
    model, _ = load_model("qwen3-next")
    recurrent = 36 * 3 * 2 * 32 * 128 * 128
    assert decode_flops_per_token(model, 1).attention == recurrent + 12 * 2 * 16 * 512
    start, new = np.array([0]), np.array([10])
    assert attention_flops(model, start, new, np.array([False]))[0] == 10 * recurrent + 12 * 55 * 2 * 16 * 512


def test_the_format_of_a_state_is_the_configs_to_say() -> None:
    config, _ = load_model_config("nemotron-3-nano")
    model = read_model(config, "nano")
    elements, inputs = 23 * 64 * 64 * 128, 23 * 3 * (64 * 64 + 2 * 8 * 128)
    assert spans(model).count("state") == 23
    assert state_bytes(model) == 4 * elements + 2 * inputs
    assert state_bytes(read_model(config | {"mamba_ssm_cache_dtype": "bfloat16"}, "nano")) == 2 * (elements + inputs)
    with pytest.raises(BadInputError, match="mamba_ssm_cache_dtype = 'float12'; it must be a number format"):
        read_model(config | {"mamba_ssm_cache_dtype": "float12"}, "nano")


def test_layers_of_nemotron_are_single_blocks() -> None:
    model, _ = load_model("nemotron-3-nano")
    parameters = count_parameters(model)
    assert (len(model.layers), parameters.moe_layers, parameters.dense_layers) == (52, 23, 0)
    assert spans(model).count("full") == 6
    assert kv_bytes_per_token(model) == 6 * 2 * 2 * 128 * 2
    assert parameters.expert == 2 * 2688 * 1856
    assert parameters.norms == 53 * 2688


def test_latent_experts_work_in_a_narrow_stream_between_two_projections() -> None:
    model, _ = load_model("nemotron-3-super")
    ffn = model.moe_layers[0]
    assert ffn.expert_params == 2 * 1024 * 2688
    assert sum(m.params for m in ffn.shared) == 2 * 4096 * 5376 + 2 * 4096 * 1024
    assert model.reading == "nemotron_h; multi-token-prediction layers are not counted"


def test_mamba_of_jamba_by_hand() -> None:
    model = read_model(JAMBA, "jamba")
    assert spans(model) == ["state"] * 4 + ["full"] + ["state"] * 3
    assert [isinstance(layer.ffn, MoeFfn) for layer in model.layers] == [False, True] * 4
    mixer = model.layers[0].attention
    inner, state, rank = 128, 16, 4
    matrices = 64 * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner * 64 + inner * 4
    assert mixer.matrix_params == matrices
    assert mixer.other_params == inner * state + 3 * inner + rank + 2 * state
    assert mixer.state_bytes == inner * state * 4 + inner * 3 * 2
    assert mixer.state_flops == 4 * inner * state


def test_deepseek_v32_attends_2048_latents_and_scans_its_index() -> None:
    model, _ = load_model("deepseek-v3.2")
    assert {layer.attention.kind for layer in model.layers} == {"mla indexed"}
    assert kv_bytes_per_token(model) == 61 * (576 + 128) * 2
    assert kv_bytes(model, 1000) == 61 * 1000 * (576 + 128) * 2
    assert kv_bytes(model, 100_000) == 61 * (2048 * 576 + 100_000 * 128) * 2
    assert cache_bytes(model, 100_000) == 61 * 100_000 * (576 + 128) * 2
    pairs = 2048 * 2 * 128 * (2 * 512 + 64)
    assert decode_flops_per_token(model, 100_000).attention == 61 * (pairs + 100_000 * 2 * 64 * 128)


def test_the_index_projection_of_weights_is_never_quantised() -> None:
    model, _ = load_model("deepseek-v3.2")
    dtypes = {matrix.name: matrix.format.dtype for matrix in model.layers[0].attention.matrices}
    assert dtypes["weights_proj"] == "bf16"
    assert dtypes["wq_b"] == dtypes["wk"] == dtypes["o_proj"] == "fp8"


def test_llama_4_chunks_three_of_four_layers() -> None:
    """At 10,000 entries a chunk of 8192 holds (10000 - 1) mod 8192 + 1 = 1808."""
    scout, _ = load_model("llama-4-scout")
    assert spans(scout) == ["chunked", "chunked", "chunked", "full"] * 12
    entry = 2 * 8 * 128 * 2
    assert kv_bytes(scout, 10_000) == entry * (36 * 1808 + 12 * 10_000)
    assert cache_bytes(scout, 10_000) == entry * (36 * 8192 + 12 * 10_000)
    maverick, _ = load_model("llama-4-maverick")
    sparse = [i for i, layer in enumerate(maverick.layers) if isinstance(layer.ffn, MoeFfn)]
    assert sparse == list(range(1, 48, 2))
    dense = maverick.layers[0].ffn
    assert isinstance(dense, DenseFfn)
    assert dense.matrix_params == 3 * 5120 * 16384


def test_windows_of_mimo_have_their_own_heads_and_sinks() -> None:
    model, _ = load_model("mimo-v2-flash")
    full, window = model.layers[0].attention, model.layers[1].attention
    assert (full.span, full.kv_heads, full.cached_elements, full.other_params) == ("full", 4, 4 * (192 + 128), 0)
    assert (window.span, window.window, window.kv_heads, window.other_params) == ("sliding", 128, 8, 64)
    assert count_parameters(model).dense_layers == 1


def test_a_wrapper_is_read_for_its_language_model_and_says_so() -> None:
    text, _ = load_model_config("mixtral")
    quantization = {"quant_method": "fp8"}
    wrapper = {
        "architectures": ["Wrapper"],
        "model_type": "wrapper",
        "text_config": text | {"torch_dtype": None, "tie_word_embeddings": False},
        "vision_config": {"hidden_size": 8},
        "dtype": "float16",
        "tie_word_embeddings": True,
        "quantization_config": quantization,
    }
    model = read_model(wrapper, "wrapped")
    plain = read_model(text | {"torch_dtype": "float16", "quantization_config": quantization}, "plain")
    assert model.layers == plain.layers
    assert (model.architecture, model.tied) == ("Wrapper", True)
    assert model.reading == "mixtral; the language model in text_config alone, without vision or audio"


def test_kimi_k25_keeps_attention_in_bf16_and_experts_in_int4() -> None:
    model, _ = load_model("kimi-k2.5")
    expert = 3 * 7168 * 2048
    assert model.weight_dtypes | {"attention": "bf16", "experts": "int4", "shared": "bf16"} == model.weight_dtypes
    assert sum(m.bytes for m in model.moe_layers[0].expert_matrices) == expert // 2 + expert // 32 * 2
    assert checkpoint_bytes(model) == pytest.approx(594e9, rel=0.005)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("nemotron-3-nano", {"hybrid_override_pattern": "MX"}, "hybrid_override_pattern = 'MX'; it must be made of"),
        ("nemotron-3-nano", {"hybrid_override_pattern": None}, "lacks hybrid_override_pattern or layers_block_type"),
        ("nemotron-3-nano", {"hybrid_override_pattern": None, "layer_types": ["conv"]}, "layer_types = ['conv']"),
        ("hunyuan-a13b", {"use_cla": True}, "use_cla, which has no reader"),
        ("hunyuan-a13b", {"moe_topk": [8]}, "moe_topk = 1; it must be an integer or 32 of them"),
        ("hunyuan-a13b", {"moe_topk": 65}, "moe_topk = 65; it must be at most the number of experts, 64"),
        ("mimo-v2-flash", {"swa_head_dim": 64}, "swa_head_dim = 64; it must be 192"),
        ("qwen3-next", {"linear_num_key_heads": 5}, "linear_num_key_heads = 5; it must be a divisor of"),
        ("glm-5", {"indexer_types": ["shared"] * 78}, "indexer_types = 78; it must be 78 of full, shared"),
        ("glm-5", {"mlp_layer_types": ["dense"]}, "mlp_layer_types = 1; it must be 78 of dense, sparse"),
    ],
)
def test_what_does_not_fit_together_is_refused(name: str, keys: dict[str, Any], message: str) -> None:
    config, _ = load_model_config(name)
    with pytest.raises(BadInputError) as caught:
        read_model(config | keys, name)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "key", ["global_head_dim", "share_expert_dim", "kv_channels", "block_configs", "sparse_attention_config", "use_cla"]
)
def test_an_unknown_architecture_that_differs_in_structure_is_refused(key: str) -> None:
    config, _ = load_model_config("mixtral")
    with pytest.raises(BadInputError, match=f"has {key}, a structure without a reader"):
        read_model(config | {"model_type": "other", "architectures": ["Other"], key: 2}, "other")


def test_linear_flops_of_a_state_layer_cover_its_convolution() -> None:
    model = read_model(JAMBA | {"num_experts": 1, "num_experts_per_tok": 1}, "jamba")
    matrices = sum(layer.attention.matrix_params for layer in model.layers)
    assert linear_flops_per_token(model) == 2 * (matrices + 8 * 3 * 64 * 96)
