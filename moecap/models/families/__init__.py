"""One reader a family of architectures: from the keys of ``config.json`` to a model specification.

A new family is one function in a module of this package and one line in :data:`READERS`.
"""

from __future__ import annotations

from collections.abc import Callable

from moecap.models.families.blocks import Blocks
from moecap.models.families.deepseek import read_deepseek_v2, read_deepseek_v3, read_glm4_moe
from moecap.models.families.gpt_oss import read_gpt_oss
from moecap.models.families.llama import read_llama, read_mistral, read_qwen2, read_qwen3
from moecap.models.families.mixtral import read_mixtral, read_phimoe
from moecap.models.families.olmoe import read_olmoe
from moecap.models.families.qwen_moe import read_qwen2_moe, read_qwen3_moe
from moecap.models.spec import ModelSpec

__all__ = ["ARCHITECTURES", "READERS", "Reader"]

Reader = Callable[[Blocks], ModelSpec]

READERS: dict[str, Reader] = {
    "deepseek_v2": read_deepseek_v2,
    "deepseek_v3": read_deepseek_v3,
    "glm4_moe": read_glm4_moe,
    "gpt_oss": read_gpt_oss,
    "kimi_k2": read_deepseek_v3,
    "llama": read_llama,
    "mistral": read_mistral,
    "mixtral": read_mixtral,
    "olmoe": read_olmoe,
    "phimoe": read_phimoe,
    "qwen2": read_qwen2,
    "qwen2_moe": read_qwen2_moe,
    "qwen3": read_qwen3,
    "qwen3_moe": read_qwen3_moe,
}
"""Readers by ``model_type``."""

ARCHITECTURES: dict[str, str] = {
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "Glm4MoeForCausalLM": "glm4_moe",
    "GptOssForCausalLM": "gpt_oss",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "OlmoeForCausalLM": "olmoe",
    "PhiMoEForCausalLM": "phimoe",
    "PhimoeForCausalLM": "phimoe",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
}
"""The ``model_type`` of each class, for configurations whose own ``model_type`` is missing or not known."""
