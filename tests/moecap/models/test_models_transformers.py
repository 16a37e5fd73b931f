"""Parameter counts agree, class by class, with the models that transformers builds from the same configuration."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from moecap.models.accounting import count_parameters, layer_parameters
from moecap.models.nested import text_part
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config, packaged_models
from moecap.models.spec import ModelSpec

SMALL: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
MIXTURE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
LATENT = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 40,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 20,
    "n_group": 2,
    "topk_group": 1,
}
GLM = {"moe_intermediate_size": 40, "n_routed_experts": 8, "num_experts_per_tok": 2, "head_dim": 32}

DELTA = {
    "linear_num_value_heads": 6,
    "linear_num_key_heads": 3,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "linear_conv_kernel_dim": 4,
    "head_dim": 24,
}
NEXT = {**MIXTURE, **DELTA, "shared_expert_intermediate_size": 56}
LLAMA4 = {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 160, "head_dim": 24}
INDEX = {**LATENT, "index_n_heads": 3, "index_head_dim": 24, "index_topk": 16, "n_shared_experts": 1}
NEMOTRON = {
    "hybrid_override_pattern": "M*-EM*E",
    "num_hidden_layers": 7,
    "head_dim": 24,
    "mamba_num_heads": 6,
    "mamba_head_dim": 8,
    "ssm_state_size": 16,
    "n_groups": 3,
    "conv_kernel": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "moe_shared_expert_intermediate_size": 88,
}
GRANITE = {"num_local_experts": 8, "num_experts_per_tok": 2, "shared_intermediate_size": 56}
HYBRID = {
    **GRANITE,
    "layer_types": ["mamba", "mamba", "attention", "mamba", "mamba", "attention"],
    "mamba_n_heads": 8,
    "mamba_d_state": 16,
    "mamba_n_groups": 2,
}
JAMBA = {"num_experts": 4, "num_experts_per_tok": 2, "attn_layer_period": 3, "attn_layer_offset": 1}
ERNIE = {"moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 40}
HUNYUAN = {"num_experts": 8, "moe_topk": 2, "head_dim": 24}
MIMO = {
    "head_dim": 24,
    "v_head_dim": 16,
    "num_key_value_heads": 1,
    "sliding_window": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
}
DBRX = {
    "d_model": 64,
    "n_heads": 4,
    "n_layers": 3,
    "max_seq_len": 2048,
    "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0},
    "ffn_config": {"ffn_hidden_size": 96, "moe_num_experts": 8, "moe_top_k": 2},
}

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 24}),
    ("mistral", {"head_dim": 32}),
    ("mistral", {"sliding_window": None}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 4}),
    ("qwen3", {"head_dim": 32, "attention_bias": True}),
    ("qwen3", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 2}),
    ("mixtral", {"num_local_experts": 8, "head_dim": 24}),
    ("mixtral", {"num_local_experts": 8, "sliding_window": 128, "tie_word_embeddings": True}),
    ("phimoe", {"num_local_experts": 8, "attention_bias": True, "lm_head_bias": True}),
    ("phimoe", {"num_local_experts": 8, "sliding_window": 256}),
    ("qwen2_moe", {**MIXTURE, "shared_expert_intermediate_size": 80}),
    (
        "qwen2_moe",
        {
            **MIXTURE,
            "shared_expert_intermediate_size": 80,
            "mlp_only_layers": [0, 3],
            "qkv_bias": False,
            "use_sliding_window": True,
            "sliding_window": 64,
            "max_window_layers": 4,
        },
    ),
    ("qwen3_moe", {**MIXTURE, "head_dim": 32}),
    ("qwen3_moe", {**MIXTURE, "decoder_sparse_step": 2, "mlp_only_layers": [5], "attention_bias": True}),
    ("qwen3_moe", {**MIXTURE, "use_sliding_window": True, "sliding_window": 64}),
    ("olmoe", {"num_experts": 8, "num_experts_per_tok": 2}),
    ("olmoe", {"num_experts": 8, "num_experts_per_tok": 2, "attention_bias": True, "num_key_value_heads": 4}),
    ("gpt_oss", {"num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 32}),
    ("gpt_oss", {"num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 32, "attention_bias": False}),
    ("deepseek_v2", {**LATENT, "first_k_dense_replace": 1, "n_shared_experts": 2}),
    ("deepseek_v2", {**LATENT, "q_lora_rank": None, "attention_bias": True, "mlp_bias": True, "n_shared_experts": 1}),
    ("deepseek_v3", {**LATENT, "first_k_dense_replace": 2, "n_shared_experts": 1}),
    ("deepseek_v3", {**LATENT, "first_k_dense_replace": 0, "q_lora_rank": None, "attention_bias": True}),
    ("glm4_moe", {**GLM, "first_k_dense_replace": 1, "attention_bias": True, "use_qk_norm": True}),
    ("glm4_moe", {**GLM, "first_k_dense_replace": 3, "n_shared_experts": 2}),
    ("qwen3_next", NEXT),
    ("qwen3_next", {**NEXT, "full_attention_interval": 3, "decoder_sparse_step": 2, "attention_bias": True}),
    ("qwen3_next", {**NEXT, "mlp_only_layers": [1], "layer_types": ["full_attention", "linear_attention"] * 3}),
    ("qwen3_5_moe_text", NEXT),
    ("qwen3_5_text", {**DELTA, "tie_word_embeddings": True}),
    ("llama4_text", LLAMA4),
    ("llama4_text", {**LLAMA4, "interleave_moe_layer_step": 2, "attention_chunk_size": 64, "attention_bias": True}),
    ("llama4_text", {**LLAMA4, "moe_layers": [1, 2], "no_rope_layers": [1, 0, 1, 0, 1, 1]}),
    ("minimax_m2", {"num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 24}),
    ("dots1", {**GLM, "first_k_dense_replace": 1, "n_shared_experts": 2}),
    ("dots1", {**GLM, "sliding_window": 64, "max_window_layers": 3, "n_shared_experts": 1, "attention_bias": True}),
    ("deepseek_v32", {**INDEX, "first_k_dense_replace": 2}),
    ("deepseek_v32", {**INDEX, "attention_bias": True, "mlp_layer_types": ["dense", "sparse"] * 3}),
    ("glm_moe_dsa", {**INDEX, "first_k_dense_replace": 1}),
    ("glm_moe_dsa", {**INDEX, "indexer_types": ["full", "shared", "shared", "full", "shared", "full"]}),
    ("glm_moe_dsa", {**INDEX, "index_topk_freq": 2}),
    ("nemotron_h", NEMOTRON),
    ("nemotron_h", {**NEMOTRON, "moe_latent_size": 20, "mlp_bias": True, "use_bias": True, "use_conv_bias": False}),
    ("granitemoe", {"num_local_experts": 8, "num_experts_per_tok": 2, "attention_bias": True}),
    ("granitemoeshared", {**GRANITE, "tie_word_embeddings": True}),
    ("granitemoeshared", {**GRANITE, "shared_intermediate_size": 0}),
    ("granitemoehybrid", HYBRID),
    ("granitemoehybrid", {**HYBRID, "mamba_proj_bias": True, "mamba_conv_bias": False, "attention_bias": True}),
    ("granitemoehybrid", {**HYBRID, "num_local_experts": 0, "mamba_d_state": 8}),
    ("jamba", JAMBA),
    ("jamba", {**JAMBA, "mamba_proj_bias": True, "mamba_conv_bias": False, "mamba_dt_rank": 12, "mamba_d_state": 8}),
    ("jamba", {**JAMBA, "num_experts": 1, "num_experts_per_tok": 1, "mamba_expand": 3, "mamba_d_conv": 3}),
    ("ernie4_5_moe", ERNIE),
    ("ernie4_5_moe", {**ERNIE, "use_bias": True, "moe_num_shared_experts": 0, "tie_word_embeddings": False}),
    ("ernie4_5_moe", {**ERNIE, "moe_layer_start_index": 2, "moe_layer_end_index": 4, "moe_layer_interval": 2}),
    ("hunyuan_v1_moe", HUNYUAN),
    ("hunyuan_v1_moe", {**HUNYUAN, "attention_bias": True, "tie_word_embeddings": True}),
    ("mimo_v2_flash", MIMO),
    ("mimo_v2_flash", {**MIMO, "layer_types": ["full_attention", "sliding_attention"] * 3, "attention_bias": True}),
    ("dbrx", DBRX),
]


CLASSES = (
    ("lm_head", "lm_head"),
    ("embed_tokens|embeddings|wte", "embedding"),
    (r"\.(self_attn|linear_attn|mamba|attn)\.", "attention"),
    (r"\.shared_(expert|mlp)|_latent_proj", "shared"),
    (r"\.experts\.", "experts"),
    (r"\.(mlp|mixer|block_sparse_moe)\.gate\.|\.router\.", "router"),
    (r"\.(mlp|feed_forward)\.|\.mixer\.(up|down)_proj", "dense"),
    (r"\.mixer\.", "attention"),
    ("norm", "norms"),
)
"""The class of a tensor, by the first expression that is found in its name in transformers."""


def tensor_class(name: str) -> str:
    return next(tensors for part, tensors in CLASSES if re.search(part, name))


def counted_by_transformers(config: Any) -> Counter[str]:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(config)
    counts: Counter[str] = Counter()
    routed = any(tensor_class(name) == "experts" for name, _ in model.named_parameters())
    for name, tensor in model.named_parameters():
        tensors = tensor_class(name)
        counts[tensors if routed or tensors != "shared" else "dense"] += tensor.numel()
    for name, tensor in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            counts["router"] += tensor.numel()
    return counts


def counted_here(spec: ModelSpec) -> Counter[str]:
    counts: Counter[str] = Counter()
    for layer in spec.layers:
        p = layer_parameters(layer)
        counts["attention"] += p.attention_matrix + p.attention_other
        counts["router"] += p.router_matrix + p.router_other
        counts["experts"] += p.experts * p.expert
        counts["shared"] += p.shared
        counts["dense"] += p.dense
    parameters = count_parameters(spec)
    counts["norms"] = parameters.norms
    counts["embedding"] = parameters.embedding
    counts["lm_head"] = 0 if spec.tied else parameters.lm_head + spec.lm_head_other_params
    assert sum(counts.values()) == parameters.total
    return +counts


def spans_of_transformers(config: Any) -> list[tuple[str, int]]:
    window = getattr(config, "sliding_window", None) or 0
    types = getattr(config, "layer_types", None)
    if types is None:
        types = ["sliding_attention" if window else "full_attention"] * config.num_hidden_layers
    spans: dict[str, tuple[str, int]] = {
        "sliding_attention": ("sliding", window),
        "chunked_attention": ("chunked", getattr(config, "attention_chunk_size", 0)),
        "indexed_attention": ("indexed", getattr(config, "index_topk", 0)),
        "full_attention": ("full", 0),
        "linear_attention": ("state", 0),
        "moe": ("none", 0),
        "mlp": ("none", 0),
    }
    return [spans[kind] for kind in types]


@pytest.mark.parametrize(("family", "keys"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_family_and_its_switches(family: str, keys: dict[str, Any]) -> None:
    small = {key: value for key, value in SMALL.items() if family != "dbrx" or key in ("vocab_size", "pad_token_id")}
    config = AutoConfig.for_model(family, **{**small, **keys})
    written = json.loads(json.dumps(config.to_dict(), default=str))
    spec = read_model(written, family)
    assert counted_here(spec) == counted_by_transformers(config)
    assert [(layer.attention.span, layer.attention.window) for layer in spec.layers] == spans_of_transformers(config)


SAME_MODEL = {"kimi_k2": "deepseek_v3", "hunyuan": "hunyuan_v1_moe", "qwen3_vl_moe_text": "qwen3_moe"}
"""The model type under which transformers has the same modules for text alone; the last is checked below."""


@pytest.mark.parametrize("name", [model.name for model in packaged_models()])
def test_packaged_models_at_full_size(name: str) -> None:
    config, _ = load_model_config(name)
    spec = read_model(config, name)
    text = {key: value for key, value in text_part(config)[0].items() if key != "quantization_config"}
    family = text.pop("model_type")
    text.setdefault("head_dim", text.pop("attention_head_dim", None))
    if family == "hunyuan":
        text["moe_topk"] = text["moe_topk"][0]
    if text["head_dim"] is None:
        del text["head_dim"]
    built = AutoConfig.for_model(SAME_MODEL.get(family, family), **text)
    assert counted_here(spec) == counted_by_transformers(built)
    assert [(layer.attention.span, layer.attention.window) for layer in spec.layers] == spans_of_transformers(built)


@pytest.mark.parametrize(
    ("wrapper", "keys"),
    [
        ("qwen3_vl_moe", {**MIXTURE, "head_dim": 32, "mlp_only_layers": [1], "decoder_sparse_step": 1}),
        ("qwen3_5_moe", NEXT),
        ("llama4", LLAMA4),
    ],
)
def test_the_language_model_inside_a_wrapper(wrapper: str, keys: dict[str, Any]) -> None:
    text = {**SMALL, **keys, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 4, 4]}}
    config = AutoConfig.for_model(wrapper, text_config=text)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForImageTextToText.from_config(config)
    counts: Counter[str] = Counter()
    for name, tensor in model.named_parameters():
        if "vis" not in name and "multi_modal" not in name:
            counts[tensor_class(name)] += tensor.numel()
    spec = read_model(json.loads(json.dumps(config.to_dict(), default=str)), wrapper)
    assert counted_here(spec) == counts
    assert "the language model in text_config alone" in spec.reading
