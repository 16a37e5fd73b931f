"""Parameter counts agree, class by class, with the models that transformers builds from the same configuration."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from moecap.models.accounting import count_parameters, layer_parameters
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
]


def tensor_class(name: str) -> str:
    """The class of a tensor, by its name in transformers."""
    for part, tensors in (
        ("lm_head", "lm_head"),
        ("embed_tokens", "embedding"),
        (".self_attn.", "attention"),
        (".shared_expert", "shared"),
        (".experts.", "experts"),
        (".mlp.gate.", "router"),
        (".mlp.router.", "router"),
        (".mlp.", "dense"),
    ):
        if part in name:
            return tensors
    assert "norm" in name, name
    return "norms"


def counted_by_transformers(config: Any) -> Counter[str]:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    counts: Counter[str] = Counter()
    for name, tensor in model.named_parameters():
        counts[tensor_class(name)] += tensor.numel()
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
    return [("sliding", window) if kind == "sliding_attention" else ("full", 0) for kind in types]


@pytest.mark.parametrize(("family", "keys"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_family_and_its_switches(family: str, keys: dict[str, Any]) -> None:
    config = AutoConfig.for_model(family, **{**SMALL, **keys})
    written = json.loads(config.to_json_string())
    spec = read_model(written, family)
    assert counted_here(spec) == counted_by_transformers(config)
    assert [(layer.attention.span, layer.attention.window) for layer in spec.layers] == spans_of_transformers(config)


@pytest.mark.parametrize("name", [model.name for model in packaged_models()])
def test_packaged_models_at_full_size(name: str) -> None:
    config, _ = load_model_config(name)
    spec = read_model(config, name)
    built = AutoConfig.for_model(**{key: value for key, value in config.items() if key != "quantization_config"})
    assert counted_here(spec) == counted_by_transformers(built)
    assert [(layer.attention.span, layer.attention.window) for layer in spec.layers] == spans_of_transformers(built)
