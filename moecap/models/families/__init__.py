"""One reader a family of architectures: from the keys of ``config.json`` to a model specification.

A new family is one function in a module of this package and one line in :data:`READERS`.
"""

from __future__ import annotations

from collections.abc import Callable

from moecap.models.families.blocks import Blocks
from moecap.models.families.dbrx import read_dbrx
from moecap.models.families.deepseek import (
    read_deepseek_v2,
    read_deepseek_v3,
    read_deepseek_v32,
    read_dots1,
    read_glm4_moe,
    read_glm_moe_dsa,
)
from moecap.models.families.deepseek_v4 import read_deepseek_v4
from moecap.models.families.ernie import read_ernie4_5_moe
from moecap.models.families.gemma import read_gemma4
from moecap.models.families.gpt_oss import read_gpt_oss
from moecap.models.families.granite import read_granitemoe, read_granitemoehybrid
from moecap.models.families.hunyuan import read_hunyuan_v1_moe
from moecap.models.families.jamba import read_jamba
from moecap.models.families.jetmoe import read_jetmoe
from moecap.models.families.kimi_linear import read_kimi_linear
from moecap.models.families.lfm2 import read_lfm2_moe
from moecap.models.families.llama import read_llama, read_mistral, read_qwen2, read_qwen3
from moecap.models.families.llama4 import read_llama4
from moecap.models.families.longcat import read_longcat_flash
from moecap.models.families.mimo import read_mimo_v2_flash
from moecap.models.families.minimax import read_minimax_m2, read_minimax_m3
from moecap.models.families.mixtral import read_mixtral, read_phimoe
from moecap.models.families.nemotron import read_nemotron_h
from moecap.models.families.olmoe import read_olmoe
from moecap.models.families.qwen_moe import read_qwen2_moe, read_qwen3_moe
from moecap.models.families.qwen_next import read_qwen3_5, read_qwen3_5_moe, read_qwen3_next
from moecap.models.families.step import read_step3, read_step3p5
from moecap.models.spec import ModelSpec

__all__ = ["ARCHITECTURES", "READERS", "Reader"]

Reader = Callable[[Blocks], ModelSpec]

READERS: dict[str, Reader] = {
    "dbrx": read_dbrx,
    "deepseek_v2": read_deepseek_v2,
    "deepseek_v3": read_deepseek_v3,
    "deepseek_v32": read_deepseek_v32,
    "deepseek_v4": read_deepseek_v4,
    "dots1": read_dots1,
    "ernie4_5_moe": read_ernie4_5_moe,
    "gemma4_text": read_gemma4,
    "glm4_moe": read_glm4_moe,
    "glm_moe_dsa": read_glm_moe_dsa,
    "gpt_oss": read_gpt_oss,
    "granitemoe": read_granitemoe,
    "granitemoehybrid": read_granitemoehybrid,
    "granitemoeshared": read_granitemoe,
    "hunyuan_v1_moe": read_hunyuan_v1_moe,
    "jamba": read_jamba,
    "jetmoe": read_jetmoe,
    "kimi_k2": read_deepseek_v3,
    "kimi_linear": read_kimi_linear,
    "lfm2_moe": read_lfm2_moe,
    "llama": read_llama,
    "llama4_text": read_llama4,
    "longcat_flash": read_longcat_flash,
    "mimo_v2_flash": read_mimo_v2_flash,
    "minimax_m2": read_minimax_m2,
    "minimax_m3": read_minimax_m3,
    "minimax_m3_vl_text": read_minimax_m3,
    "mistral": read_mistral,
    "mixtral": read_mixtral,
    "nemotron_h": read_nemotron_h,
    "olmoe": read_olmoe,
    "phimoe": read_phimoe,
    "qwen2": read_qwen2,
    "qwen2_moe": read_qwen2_moe,
    "qwen3": read_qwen3,
    "qwen3_5_moe_text": read_qwen3_5_moe,
    "qwen3_5_text": read_qwen3_5,
    "qwen3_moe": read_qwen3_moe,
    "qwen3_next": read_qwen3_next,
    "qwen3_vl_moe_text": read_qwen3_moe,
    "qwen3_vl_text": read_qwen3,
    "step3_text": read_step3,
    "step3p5": read_step3p5,
}
"""Readers by ``model_type``."""

ARCHITECTURES: dict[str, str] = {
    "DbrxForCausalLM": "dbrx",
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV32ForCausalLM": "deepseek_v32",
    "DeepseekV3ForCausalLM": "deepseek_v3",
    "DeepseekV4ForCausalLM": "deepseek_v4",
    "Dots1ForCausalLM": "dots1",
    "Ernie4_5_MoeForCausalLM": "ernie4_5_moe",
    "Gemma4ForCausalLM": "gemma4_text",
    "Glm4MoeForCausalLM": "glm4_moe",
    "GlmMoeDsaForCausalLM": "glm_moe_dsa",
    "GptOssForCausalLM": "gpt_oss",
    "GraniteMoeForCausalLM": "granitemoe",
    "GraniteMoeHybridForCausalLM": "granitemoehybrid",
    "GraniteMoeSharedForCausalLM": "granitemoeshared",
    "HunYuanMoEV1ForCausalLM": "hunyuan_v1_moe",
    "JambaForCausalLM": "jamba",
    "JetMoeForCausalLM": "jetmoe",
    "KimiLinearForCausalLM": "kimi_linear",
    "Lfm2MoeForCausalLM": "lfm2_moe",
    "Llama4ForCausalLM": "llama4_text",
    "LlamaForCausalLM": "llama",
    "LongcatFlashForCausalLM": "longcat_flash",
    "MiMoV2FlashForCausalLM": "mimo_v2_flash",
    "MiniMaxM2ForCausalLM": "minimax_m2",
    "MiniMaxM3SparseForCausalLM": "minimax_m3",
    "MiniMaxM3SparseForConditionalGeneration": "minimax_m3",
    "MiniMaxM3VLForCausalLM": "minimax_m3",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "NemotronHForCausalLM": "nemotron_h",
    "OlmoeForCausalLM": "olmoe",
    "PhiMoEForCausalLM": "phimoe",
    "PhimoeForCausalLM": "phimoe",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "Qwen3NextForCausalLM": "qwen3_next",
    "Qwen3_5ForCausalLM": "qwen3_5_text",
    "Qwen3_5MoeForCausalLM": "qwen3_5_moe_text",
    "Step3TextForCausalLM": "step3_text",
    "Step3VLForConditionalGeneration": "step3_text",
    "Step3p5ForCausalLM": "step3p5",
}
"""The ``model_type`` of each class, for configurations whose own ``model_type`` is missing or not known."""
