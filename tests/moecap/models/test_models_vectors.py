"""Every number of the independent vectors is reproduced to the byte."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moecap.models.accounting import (
    checkpoint_bytes,
    count_parameters,
    decode_flops_per_token,
    decode_step_bytes,
    expected_distinct_experts,
    kv_bytes,
    kv_bytes_per_token,
    layer_parameters,
)
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config
from moecap.models.spec import ModelSpec, MoeFfn
from moecap.models.step import (
    attention_flops,
    kv_read_bytes,
    linear_flops_per_token,
    lm_head_flops,
    paper_step_weights,
    step_weights,
)

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
MODELS: dict[str, dict[str, Any]] = VECTORS["models"]
NAMES = sorted(MODELS)


@cache
def spec(name: str, weights: str | None = "bf16") -> ModelSpec:
    config, _ = load_model_config(name)
    return read_model(config, name, weights=weights, kv="bf16")


def first(name: str, moe: bool) -> Any:
    layers = [layer for layer in spec(name).layers if isinstance(layer.ffn, MoeFfn) is moe]
    return layer_parameters(layers[0]) if layers else None


def test_there_are_ten_models() -> None:
    assert len(NAMES) == 10


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name: str) -> None:
    want, have = MODELS[name], count_parameters(spec(name))
    assert have.total == want["total_params"]
    assert have.active == want["active_matmul"]
    assert have.active_with_embedding == want["active_with_embedding"]
    assert have.active_without_lm_head == want["active_without_lm_head"]
    assert have.embedding == want["embedding_params"]
    assert have.lm_head == want["lm_head_params"]
    assert have.norms == want["norm_params"]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_agree_with_the_published_ones(name: str) -> None:
    published, have = MODELS[name]["published"], count_parameters(spec(name))
    assert have.total == pytest.approx(published["total"], rel=0.009)
    conventions = {
        "attention+router+topk+shared+dense+norm+lm_head": have.active,
        "the same + embedding table": have.active_with_embedding,
        "the same without lm_head": have.active_without_lm_head,
    }
    assert conventions[published["active_convention_that_fits"]] == pytest.approx(published["active"], rel=0.022)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_a_layer(name: str) -> None:
    want, moe, dense = MODELS[name]["per_layer"], first(name, True), first(name, False)
    have = count_parameters(spec(name))
    assert moe.attention_matrix == want["attention_matrix_params"]
    assert moe.attention_other == want["attention_other_params"]
    assert moe.expert == want["expert_params"]
    assert moe.expert_matrix == want["expert_matrix_params"]
    assert moe.shared == want["shared_params"]
    assert moe.router_matrix == want["router_matrix_params"]
    assert moe.router_matrix * have.moe_layers == want["router_params_all_layers"]
    assert (dense.dense if dense else 0) == want["dense_ffn_params"]
    assert have.moe_layers == want["moe_layers"]
    assert have.dense_layers == want["dense_layers"]


@pytest.mark.parametrize("name", NAMES)
def test_cache(name: str) -> None:
    want = MODELS[name]
    assert kv_bytes_per_token(spec(name)) == want["kv_bytes_per_token_bf16"]
    assert kv_bytes_per_token(spec(name)) == 2 * want["kv_elements_per_token_all_layers"]
    for context, size in want["kv_bytes_one_sequence"].items():
        assert kv_bytes(spec(name), int(context)) == size


@pytest.mark.parametrize("name", NAMES)
def test_flops_of_a_decoded_token(name: str) -> None:
    model = spec(name)
    for context, want in MODELS[name]["decode_flops_per_token"].items():
        have = decode_flops_per_token(model, int(context))
        assert have.linear == want["linear"]
        assert linear_flops_per_token(model) == want["linear_without_lm_head"]
        assert lm_head_flops(model) == want["linear"] - want["linear_without_lm_head"]
        start, one = np.array([int(context) - 1]), np.array([1])
        expanded = attention_flops(model, start, one, np.array([False]))[0]
        assert expanded == want["attention_expanded"]
        assert have.linear + expanded == want["total_expanded"]
        assert have.attention == want.get("attention_absorbed", want["attention_expanded"])
        assert have.total == want.get("total_absorbed", want["total_expanded"])


STEPS = [
    (name, weights, row)
    for name in NAMES
    for key, weights in (
        ("decode_step_bytes_bf16", "bf16"),
        ("decode_step_bytes_fp8_block128", None),
        ("decode_step_bytes_mxfp4_experts", None),
    )
    for row in MODELS[name].get(key, [])
]


def test_steps_of_both_quantised_models_are_among_the_vectors() -> None:
    assert {name for name, weights, _ in STEPS if weights is None} == {"deepseek-v3", "gpt-oss-20b"}


@pytest.mark.parametrize(("name", "weights", "row"), STEPS)
def test_bytes_of_a_decode_step(name: str, weights: str | None, row: dict[str, Any]) -> None:
    have = decode_step_bytes(
        spec(name, weights),
        batch=row["batch"],
        context=row["context"],
        experts=row["distinct_experts_per_moe_layer"],
    )
    assert have.non_expert_weights == row["non_expert_weight_bytes"]
    assert have.expert_weights == row["expert_weight_bytes"]
    assert have.kv_read == row["kv_read_bytes"]
    assert have.total == row["total_bytes"]


@pytest.mark.parametrize("name", NAMES)
def test_equation_4_of_the_paper(name: str) -> None:
    weights = paper_step_weights(spec(name))
    experts = float(np.sum(weights.expert * weights.top_k))
    assert (
        weights.attention + weights.shared_and_dense + experts == MODELS[name]["paper_S_activated_bf16_bytes_N_eq_topk"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_distinct_experts_under_uniform_routing(name: str) -> None:
    ffn = spec(name).moe_layers[0]
    for tokens, want in MODELS[name]["expected_distinct_experts_uniform"].items():
        assert expected_distinct_experts(ffn.experts, ffn.top_k, int(tokens)) == pytest.approx(want, rel=1e-12)


def test_checkpoint_of_gpt_oss_in_its_own_formats() -> None:
    assert checkpoint_bytes(spec("gpt-oss-20b", None)) == MODELS["gpt-oss-20b"]["checkpoint_bytes_mxfp4"]


@pytest.mark.parametrize("name", NAMES)
def test_checkpoint_in_bf16_is_two_bytes_a_parameter(name: str) -> None:
    assert checkpoint_bytes(spec(name)) == 2 * MODELS[name]["total_params"]


@pytest.mark.parametrize("row", VECTORS["metric_vectors"], ids=lambda row: row["model"])
def test_utilisation_of_bandwidth_and_flops(row: dict[str, Any]) -> None:
    model = spec(row["model"], None)
    weights = step_weights(model)
    batch = row["batch"]
    start, new = np.full(batch, row["context"] - 1), np.ones(batch, dtype=np.int64)
    size = weights.attention + weights.router + weights.shared_and_dense + weights.norms + weights.lm_head
    size += batch * weights.embedding_row + float(np.sum(weights.expert)) * row["distinct_experts"]
    size += float(np.sum(kv_read_bytes(model, start, new)))
    assert size == row["bytes"]
    s_mbu = size / (row["step_seconds"] * row["n_gpus"] * row["peak_bw"])
    assert s_mbu == pytest.approx(row["s_mbu"], rel=1e-9)

    linear = linear_flops_per_token(model) + lm_head_flops(model)
    flops = batch * linear + float(np.sum(attention_flops(model, start, new, np.full(batch, True))))
    assert flops == batch * row["flops_per_token"]
    s_mfu = flops / (row["step_seconds"] * row["n_gpus"] * row["peak_dense_flops"])
    assert s_mfu == pytest.approx(row["s_mfu"], rel=1e-9)
