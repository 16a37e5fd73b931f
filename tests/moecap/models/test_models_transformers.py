"""Parameter counts agree, class by class, with the models that transformers builds from the same configuration."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable
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
LFM2 = {
    **MIXTURE,
    "num_dense_layers": 2,
    "layer_types": ["conv", "conv", "full_attention", "conv"] + ["full_attention"] * 2,
}
KIMI = {
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 20,
    "linear_head_dim": 12,
    "linear_num_heads": 3,
}
KIMI_LISTS = {"full_attn_layers": [3, 6], "kda_layers": [1, 2, 4, 5], "head_dim": 12, "num_heads": 3}
LONGCAT = {
    "num_layers": 3,
    "ffn_hidden_size": 96,
    "expert_ffn_hidden_size": 40,
    "n_routed_experts": 8,
    "zero_expert_num": 4,
    "moe_topk": 3,
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 20,
}
JETMOE = {"num_local_experts": 8, "num_experts_per_tok": 2, "kv_channels": 24}
GEMMA = {
    "head_dim": 24,
    "global_head_dim": 48,
    "num_global_key_value_heads": 1,
    "attention_k_eq_v": True,
    "hidden_size_per_layer_input": 0,
    "sliding_window": 32,
    "enable_moe_block": True,
    "num_experts": 8,
    "top_k_experts": 2,
    "moe_intermediate_size": 40,
}
M3 = {
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "head_dim": 24,
    "dense_intermediate_size": 160,
    "shared_intermediate_size": 56,
    "index_n_heads": 2,
    "index_head_dim": 12,
    "index_block_size": 8,
    "index_topk_blocks": 3,
    "moe_layer_freq": [0, 1, 1, 1, 1, 1],
    "sparse_attention_config": {"sparse_attention_freq": [0, 0, 1, 1, 0, 1]},
}
V4 = {
    "head_dim": 32,
    "num_key_value_heads": 1,
    "q_lora_rank": 24,
    "o_groups": 2,
    "o_lora_rank": 12,
    "hc_mult": 3,
    "sliding_window": 16,
    "index_n_heads": 3,
    "index_head_dim": 20,
    "index_topk": 5,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "num_hash_layers": 2,
    "compress_ratios": [0, 0, 4, 128, 4, 128, 0],
}
STEP = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "share_expert_dim": 56,
    "head_dim": 24,
    "sliding_window": 32,
    "attention_other_setting": {"num_attention_heads": 6, "num_attention_groups": 2, "head_dim": 24},
    "moe_layers_enum": "2,3,4,5",
    "num_nextn_predict_layers": 1,
    "layer_types": ["full_attention", *["sliding_attention"] * 3, "full_attention", *["sliding_attention"] * 2],
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
    ("lfm2_moe", LFM2),
    ("lfm2_moe", {**LFM2, "conv_bias": True, "use_expert_bias": False, "tie_embedding": False, "conv_L_cache": 4}),
    ("kimi_linear", {**KIMI, "linear_attn_config": KIMI_LISTS}),
    ("kimi_linear", {**KIMI, "first_k_dense_replace": 2, "layer_types": ["linear_attention", "full_attention"] * 3}),
    ("kimi_linear", {**KIMI, "q_lora_rank": 24, "attention_bias": True, "n_shared_experts": 2}),
    ("longcat_flash", LONGCAT),
    ("longcat_flash", {**LONGCAT, "router_bias": True, "attention_bias": True}),
    ("jetmoe", JETMOE),
    ("jetmoe", {**JETMOE, "tie_word_embeddings": False, "num_experts_per_tok": 3}),
    ("gemma4_text", GEMMA),
    ("gemma4_text", {**GEMMA, "attention_k_eq_v": False, "tie_word_embeddings": False, "attention_bias": True}),
    ("gemma4_text", {**GEMMA, "attention_bias": True, "layer_types": ["sliding_attention", "full_attention"] * 3}),
    ("gemma4_text", {**GEMMA, "enable_moe_block": False}),
    ("minimax_m3_vl_text", M3),
    ("minimax_m3_vl_text", {**M3, "layer_types": ["full_attention", "minimax_m3_sparse"] * 3}),
    ("deepseek_v4", V4),
    ("deepseek_v4", {**V4, "mlp_bias": True, "n_shared_experts": 1, "hc_mult": 4}),
    ("deepseek_v4", {**V4, "compress_ratios": [128, 128, 4, 128, 4, 4], "tie_word_embeddings": True}),
]


CLASSES = (
    ("lm_head", "lm_head"),
    ("embed_tokens|embeddings|wte", "embedding"),
    (r"\.self_attention\.kv_proj", "attention"),
    (r"\.(self_attn|linear_attn|mamba|attn|conv|attn_hc)\.", "attention"),
    (r"\.shared_(expert|mlp)|_latent_proj|ffn_hc|hc_head|\.(experts|mlp)\.bias$", "shared"),
    (r"\.(mlp|mixer|block_sparse_moe|feed_forward)\.gate\.|\.router\.", "router"),
    (r"\.experts\.|\.mlp\.(input|output)_linear", "experts"),
    (r"\.(mlps?|feed_forward)\.|\.mixer\.(up|down)_proj", "dense"),
    (r"\.mixer\.", "attention"),
    ("norm|layer_scalar", "norms"),
)
"""The class of a tensor, by the first expression that is found in its name in transformers."""


def tensor_class(name: str) -> str:
    return next(tensors for part, tensors in CLASSES if re.search(part, name))


BUFFERS = {"e_score_correction_bias": "router", ".expert_bias": "router", "layer_scalar": "norms"}
"""What checkpoints hold and transformers keeps as buffers."""


def counted_by_transformers(config: Any) -> Counter[str]:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(config)
    counts = counted_in(model)
    if not counts["experts"]:
        counts["dense"] += counts.pop("shared", 0)
    if config.model_type == "gemma4_text" and config.enable_moe_block:
        counts["shared"] = counts.pop("dense")
    if config.model_type == "longcat_flash":
        counts["experts"] -= allotted_to_zero_experts(config)
    return +counts


def counted_in(model: torch.nn.Module, wanted: Callable[[str], bool] = bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, tensor in model.named_parameters():
        counts[tensor_class(name) if wanted(name) else ""] += tensor.numel()
    for name, tensor in model.named_buffers():
        for buffer, tensors in BUFFERS.items():
            counts[tensors] += tensor.numel() if name.endswith(buffer) else 0
    counts.pop("", None)
    return +counts


def allotted_to_zero_experts(config: Any) -> int:
    """Elements of ``gate_up_proj`` that transformers 5.19 makes for experts that compute nothing and never uses.

    ``LongcatFlashExperts`` sizes that tensor by ``total_experts``, but passes the input of zero experts on unchanged;
    its ``down_proj`` has none for them.
    """
    made = config.num_layers * config.zero_expert_num * 2 * config.expert_ffn_hidden_size * config.hidden_size
    return int(made)


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
    if config.model_type == "longcat_flash":
        return [("full", 0), ("none", 0), ("full", 0)] * config.num_layers
    if config.model_type == "jetmoe":
        return [("full", 0), ("none", 0)] * config.num_hidden_layers
    if config.model_type == "deepseek_v4":
        beside = {"compressed_sparse_attention": [("indexed", config.index_topk)], "sliding_attention": []}
        both = [[("sliding", config.sliding_window), *beside.get(kind, [("full", 0)])] for kind in config.layer_types]
        return [span for spans in both for span in spans]
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
        "conv": ("state", 0),
        "minimax_m3_sparse": (
            "indexed",
            getattr(config, "index_topk_blocks", 0) * getattr(config, "index_block_size", 0),
        ),
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


SAME_MODEL = {
    "kimi_k2": "deepseek_v3",
    "minimax_m3": "minimax_m3_vl_text",
    "hunyuan": "hunyuan_v1_moe",
    "qwen3_vl_moe_text": "qwen3_moe",
}
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
        ("gemma4", GEMMA),
        ("minimax_m3_vl", M3),
        ("step3p7", STEP),
    ],
)
def test_the_language_model_inside_a_wrapper(wrapper: str, keys: dict[str, Any]) -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 4, 4]}
    text = {**SMALL, **keys, "pad_token_id": 0}
    if wrapper in ("qwen3_vl_moe", "qwen3_5_moe"):
        text["rope_parameters"] = rope
    config = AutoConfig.for_model(wrapper, text_config=text)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForImageTextToText.from_config(config)
    counts = counted_in(model, lambda name: "vis" not in name and "multi_modal" not in name)
    if wrapper == "gemma4":
        counts["shared"] = counts.pop("dense")
    spec = read_model(json.loads(json.dumps(config.to_dict(), default=str)), wrapper)
    assert counted_here(spec) == counts
    assert "the language model in text_config alone" in spec.reading
