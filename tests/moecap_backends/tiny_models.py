"""Tiny models with random weights, one for each MoE family, and a tokenizer; made on the spot, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARY = 256

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_group": 2,
    "topk_group": 1,
    "head_dim": None,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("mixtral", {"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None}),
    "qwen2_moe": (
        "qwen2_moe",
        {
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
            "decoder_sparse_step": 1,
        },
    ),
    "qwen3_moe": (
        "qwen3_moe",
        {
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [1],
        },
    ),
    "olmoe": ("olmoe", {"num_key_value_heads": 4, "num_experts": 8, "num_experts_per_tok": 2}),
    "deepseek_v2": ("deepseek_v2", LATENT | {"topk_method": "greedy", "norm_topk_prob": False}),
    "deepseek_v3": ("deepseek_v3", LATENT | {"norm_topk_prob": True}),
    "glm4_moe": (
        "glm4_moe",
        {
            "moe_intermediate_size": 16,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
    "gpt_oss": ("gpt_oss", {"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 16}),
    "phimoe": ("phimoe", {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "jetmoe": ("jetmoe", {"num_local_experts": 8, "num_experts_per_tok": 2, "kv_channels": 8}),
    "longcat_flash": (
        "longcat_flash",
        {
            **{key: LATENT[key] for key in ("kv_lora_rank", "q_lora_rank", "v_head_dim", "n_routed_experts")},
            **{key: LATENT[key] for key in ("qk_rope_head_dim", "qk_nope_head_dim", "num_key_value_heads")},
            "num_hidden_layers": 4,
            "expert_ffn_hidden_size": 16,
            "moe_topk": 3,
            "zero_expert_num": 4,
        },
    ),
    "dense": ("llama", {}),
}


def make_model(family: str, folder: Path, seed: int = 0, sizes: dict[str, Any] | None = None) -> Path:
    """Write a tiny checkpoint in fp32, with a byte-level tokenizer beside it; ``sizes`` replace the usual ones."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, extra = FAMILIES[family]
    torch.manual_seed(seed)
    settings = {
        k: v
        for k, v in (SIZES | extra | (sizes or {})).items()
        if v is not None or k.endswith("token_id") or k in extra
    }
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.3)
            elif "bias" in name:
                parameter.zero_()
    model.float().save_pretrained(folder)
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(letters))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
