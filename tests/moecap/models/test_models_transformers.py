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
from small_families import GEMMA, LLAMA4, M3, MIXTURE, NEXT, SMALL, STEP, VARIANTS
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from moecap.models.accounting import count_parameters, layer_parameters
from moecap.models.nested import text_part
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config, packaged_models
from moecap.models.spec import ModelSpec

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
