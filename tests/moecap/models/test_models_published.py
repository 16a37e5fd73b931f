"""Packaged configurations give the parameter counts that their makers publish."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from moecap.models.accounting import count_parameters
from moecap.models.registry import load_model, packaged_models


class Published(NamedTuple):
    """What a model card says, in billions, and the convention of active parameters that it follows."""

    total: float
    active: float
    convention: str
    total_error: float
    active_error: float
    source: str


MATMUL, EMBEDDED, HEADLESS = "active", "active_with_embedding", "active_without_lm_head"
PUBLISHED = {
    "dbrx": Published(132, 36, MATMUL, 0.004, 0.005, "README of dbrx-instruct: 132B, 36B active on any input"),
    "deepseek-v4-flash": Published(284, 13, MATMUL, 0.002, 0.021, "model card: 284B parameters, 13B activated"),
    "deepseek-v4-pro": Published(1600, 49, MATMUL, 0.017, 0.004, "model card: 1.6T parameters, 49B activated"),
    "gemma-4-26b-a4b": Published(25.2, 3.8, MATMUL, 0.002, 0.007, "recalled from the model card: 25.2B, 3.8B active"),
    "glm-4.5": Published(355, 32, HEADLESS, 0.007, 0.003, "transformers' page of glm4_moe: 355B, 32B active"),
    "granite-3.1-1b-a400m": Published(1.3, 0.4, MATMUL, 0.03, 0.08, "the name: 1B, 400M active; 1.3B in the card"),
    "jamba-1.5-mini": Published(52, 12, MATMUL, 0.009, 0.014, "arXiv 2408.12570: 52B, 12B active"),
    "lfm2-8b-a1b": Published(8.3, 1.5, MATMUL, 0.005, 0.04, "transformers' page of lfm2_moe: 8.3B, 1.5B active"),
    "longcat-flash": Published(560, 27, MATMUL, 0.002, 0.006, "arXiv 2509.01322: 560B, 27B activated on average"),
    "minimax-m3": Published(428, 23, HEADLESS, 0.005, 0.023, "page of Megatron Bridge: 428B with vision, ~23B active"),
    "deepseek-r1": Published(671, 37, MATMUL, 1e-4, 0.011, "README of DeepSeek-R1: 671B, 37B activated"),
    "deepseek-v3.2": Published(671, 37, MATMUL, 2e-3, 0.014, "DeepSeek-V3's figures; its index adds 0.85 B"),
    "ernie-4.5-21b-a3b": Published(21, 3, HEADLESS, 0.04, 0.03, "the name; transformers' page of ernie4_5_moe"),
    "glm-5": Published(744, 40, MATMUL, 2e-4, 0.022, "README of GLM-5: 744B, 40B active"),
    "gpt-oss-120b": Published(116.83, 5.13, MATMUL, 1e-4, 1e-3, "gpt-oss model card, table 1"),
    "hunyuan-a13b": Published(80, 13, MATMUL, 0.01, 0.02, "README of Hunyuan-A13B: 80 billion, 13 billion active"),
    "kimi-k2": Published(1000, 32, MATMUL, 0.027, 0.011, "README of Kimi-K2: 1 trillion, 32 billion activated"),
    "kimi-k2.5": Published(1000, 32, MATMUL, 0.027, 0.011, "as Kimi-K2, vision apart"),
    "llama-4-maverick": Published(400, 17, EMBEDDED, 2e-3, 0.011, "model card: 400B, 17B activated"),
    "llama-4-scout": Published(109, 17, EMBEDDED, 0.012, 0.011, "model card: 109B with vision, 17B activated"),
    "mimo-v2-flash": Published(309, 15, MATMUL, 1e-3, 0.013, "README of MiMo-V2-Flash: 309B, 15B active"),
    "minimax-m2.5": Published(230, 10, HEADLESS, 0.006, 0.021, "README of MiniMax-M2: 230B, 10B active"),
    "nemotron-3-nano-30b-a3b": Published(
        31.6, 3.6, EMBEDDED, 1e-3, 0.006, "technical report: 31.6B, 3.6B with embeddings"
    ),
    "nemotron-3-super-120b-a12b": Published(120, 12, MATMUL, 0.006, 0.02, "the name: 120B, 12B active"),
    "nemotron-3-ultra-550b-a55b": Published(550, 55, MATMUL, 0.002, 0.001, "the name: 550B, 55B active"),
    "qwen3-235b-a22b": Published(235, 22, EMBEDDED, 5e-4, 0.009, "model card: 235B, 22B activated"),
    "qwen3-coder-480b-a35b": Published(480, 35, MATMUL, 4e-4, 0.014, "model card: 480B, 35B activated"),
    "qwen3-next-80b-a3b": Published(80, 3, HEADLESS, 0.005, 0.2, "transformers' page of qwen3_next: 80B, 3B active"),
    "qwen3-vl-235b-a22b": Published(235, 22, EMBEDDED, 5e-4, 0.009, "as Qwen3-235B-A22B, vision apart"),
    "qwen3-vl-30b-a3b": Published(30.5, 3.3, EMBEDDED, 2e-3, 0.017, "as Qwen3-30B-A3B, vision apart"),
    "qwen3.5-122b-a10b": Published(122, 10, EMBEDDED, 1e-3, 0.023, "the name: 122B, 10B activated"),
    "qwen3.5-35b-a3b": Published(35, 3, MATMUL, 0.01, 0.02, "the name: 35B, 3B activated"),
    "qwen3.5-397b-a17b": Published(397, 17, EMBEDDED, 0.002, 0.021, "the name: 397B, 17B activated"),
}
"""The ten models of the vectors are compared in ``test_models_vectors``."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_agree_with_the_published_ones(name: str) -> None:
    published, have = PUBLISHED[name], count_parameters(load_model(name)[0])
    assert have.total / 1e9 == pytest.approx(published.total, rel=published.total_error)
    assert getattr(have, published.convention) / 1e9 == pytest.approx(published.active, rel=published.active_error)


def test_minimax_m3_counts_every_value_of_its_checkpoint_but_those_of_vision() -> None:
    # 427,040,140,160 values in all, as a published check of a conversion counts them; transformers' modules for vision
    # and its projector, built from the checkpoint's vision_config, have 865,567,232 of them
    assert count_parameters(load_model("minimax-m3")[0]).total == 427_040_140_160 - 865_567_232


def test_every_packaged_model_is_compared_with_a_published_figure() -> None:
    vectors = {
        *("deepseek-v2-lite", "deepseek-v3", "glm-4.5-air", "gpt-oss-20b", "mixtral-8x22b", "mixtral-8x7b"),
        *("olmoe-1b-7b", "phi-3.5-moe", "qwen1.5-moe-a2.7b", "qwen3-30b-a3b"),
    }
    assert {model.name for model in packaged_models()} == PUBLISHED.keys() | vectors
