"""``moecap models`` answers with the keys of the contract and refuses what a model cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moecap.cli.models import app
from moecap.errors import BadInputError, UnknownNameError
from moecap.models.registry import packaged_models

CONTRACT = {
    "name",
    "architecture",
    "total_params",
    "active_params",
    "active_params_with_embedding",
    "active_params_without_lm_head",
    "expert_params",
    "expert_params_total",
    "moe_layers",
    "dense_layers",
    "kv_bytes_per_token",
    "kv_bytes",
    "flops_per_token",
    "step_bytes",
    "checkpoint_bytes",
    "mtp_params",
}


def call(*words: str) -> None:
    app(list(words), result_action="return_value")


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    call(*words, "--json")
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_show_has_every_key_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    have = answer(capsys, "show", "mixtral", "--context", "1024", "--batch", "1", "--experts", "2")
    assert have.keys() >= CONTRACT
    assert have["name"] == "mistralai/Mixtral-8x7B-Instruct-v0.1"
    assert have["architecture"] == "MixtralForCausalLM"
    assert have["total_params"] == 46_702_792_704
    assert have["expert_params"] == 176_160_768
    assert have["expert_params_total"] == 32 * 8 * 176_160_768
    assert have["flops_per_token"] == {
        "linear": 25_497_174_016,
        "attention": 536_870_912,
        "total": 26_034_044_928,
    }
    assert have["step_bytes"] == {
        "non_expert_weights": 2_949_136_384,
        "expert_weights": 22_548_578_304,
        "kv_read": 134_217_728,
        "total": 25_631_932_416,
    }


def test_the_formats_of_the_config_are_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("show", "deepseek-v3", "--context", "4096", "--batch", "32", "--experts", "163")
    assert answer(capsys, *words)["step_bytes"]["total"] == 442_897_582_432
    assert answer(capsys, *words, "--weight-dtype", "bf16")["step_bytes"]["total"] == 874_305_039_360
    assert answer(capsys, *words, "--kv-dtype", "fp8")["step_bytes"]["kv_read"] == 9_210_691_584 // 2


def test_without_experts_uniform_routing_is_assumed_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    have = answer(capsys, "show", "qwen3-30b-a3b", "--batch", "32")
    assert have["experts"] == pytest.approx(111.77103534374396)
    assert have["experts_source"] == "uniform routing"
    assert have["context"] == 1024


def test_one_rank_is_the_default_and_more_read_their_copies(capsys: pytest.CaptureFixture[str]) -> None:
    """The vector of two ranks for Mixtral: 0.3143031148602256 of 2 x 2.039 TB/s in 20 ms; a rank reads half of it."""
    words = ("show", "mixtral", "--context", "1024", "--batch", "1", "--experts", "2")
    alone = answer(capsys, *words)
    assert (alone["tensor_parallel"], alone["step_bytes_per_device"]) == (1, alone["step_bytes"]["total"])
    both = answer(capsys, *words, "--tensor-parallel", "2")
    assert both["step_bytes"]["total"] / (0.02 * 2 * 2.039e12) == pytest.approx(0.3143031148602256, rel=1e-9)
    assert both["step_bytes_per_device"] == both["step_bytes"]["total"] / 2
    changed = {key for key in alone if alone[key] != both[key]}
    assert changed == {"step_bytes", "tensor_parallel", "step_bytes_per_device"}
    call(*words, "--tensor-parallel", "2")
    assert "bytes read by each of 2 devices" in capsys.readouterr().out


def test_list_has_every_packaged_model(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "list")
    assert [row["name"] for row in rows] == ["smollm2-moe", *(model.name for model in packaged_models())]
    call("list")
    assert "mistralai/Mixtral-8x7B-Instruct-v0.1" in capsys.readouterr().out


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    call("show", "deepseek-v3", "--batch", "4")
    printed = capsys.readouterr().out
    for words in ("671,026,419,200", "8 of 256 a token", "58 MoE, 3 dense", "mla", "multi-token prediction", "GB"):
        assert words in printed


def test_a_dense_model_has_no_experts_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
        "max_position_embeddings": 512,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    have = answer(capsys, "show", str(tmp_path))
    assert (have["context"], have["experts"], have["expert_params"], have["moe_layers"]) == (512, 0, 0, 0)
    call("show", str(tmp_path))
    assert "parameters each" not in capsys.readouterr().out
    with pytest.raises(BadInputError, match="has none; leave --experts out"):
        call("show", str(tmp_path), "--experts", "1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--context", "32769"], "a context of 32769 is outside 1 to 32768"),
        (["--context", "0"], "a context of 0 is outside"),
        (["--context=-5"], "a context of -5 is outside"),
        (["--batch", "0"], "a batch of 0 is outside 1 to"),
        (["--batch", "99999999999"], "a batch of 99999999999 is outside"),
        (["--experts", "9"], "9 experts are outside 1 to 8"),
        (["--experts", "0"], "0 experts are outside 1 to 8"),
        (["--tensor-parallel", "0"], "tensor parallelism of 0 is outside 1 to"),
        (["--tensor-parallel", "3"], "3 tensor-parallel ranks cannot share the 32 heads"),
    ],
)
def test_values_outside_the_model_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        call("show", "mixtral", *words)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_unknown_formats_and_models_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="no number format named 'fp7'"):
        call("show", "mixtral", "--weight-dtype", "fp7")
    with pytest.raises(UnknownNameError, match="did you mean"):
        call("show", "mixtrel")


def test_the_fit_in_a_device_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """46.7 B parameters of 2 bytes beside 128 KiB of cache for each of 4096 entries, in 80 GB and in 160 GB."""
    words = ("show", "mixtral", "--context", "4096", "--hw", "h100")
    alone, both = answer(capsys, *words)["fit"], answer(capsys, *words, "--num-gpus", "2")["fit"]
    weights, cache = 2 * 46_702_792_704, 4096 * 131_072
    assert alone == {
        "hardware": "h100-sxm",
        "devices": 1,
        "tensor_parallel": 1,
        "memory_bytes": 80_000_000_000,
        "weight_bytes": weights,
        "context": 4096,
        "cache_bytes_per_sequence": cache,
        "fits": False,
        "largest_batch": 0,
    }
    copied = 2 * (32 * (8 * 4096 + 2 * 4096) + 4096)  # routers and norms, which both ranks keep
    assert both["weight_bytes"] == weights + copied
    assert (both["fits"], both["largest_batch"]) == (True, (160_000_000_000 - weights - copied) // cache)
    call(*words, "--num-gpus", "2")
    printed = capsys.readouterr().out
    assert "2 x h100-sxm" in printed
    assert f"{both['largest_batch']:,}" in printed


def test_copies_of_key_and_value_heads_take_their_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """16 ranks share the 8 key and value heads of Mixtral, so each head is kept twice; two stages of 8 keep none."""
    words = ("show", "mixtral", "--context", "4096", "--hw", "h100", "--num-gpus", "16")
    wide, staged = answer(capsys, *words)["fit"], answer(capsys, *words, "--tensor-parallel", "8")["fit"]
    assert wide["cache_bytes_per_sequence"] == 2 * staged["cache_bytes_per_sequence"] == 2 * 4096 * 131_072
    small = 2 * (32 * (8 * 4096 + 2 * 4096) + 4096)
    projections = 2 * 32 * 2 * 8 * 128 * 4096
    assert wide["weight_bytes"] - staged["weight_bytes"] == projections + 8 * small
    with pytest.raises(BadInputError, match="32 tensor-parallel ranks do not divide 16 devices"):
        call(*words, "--tensor-parallel", "32")


def test_a_device_that_is_not_known_or_not_there_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no hardware profile named 'h1000'"):
        call("show", "mixtral", "--hw", "h1000")
    with pytest.raises(BadInputError, match="0 devices are outside 1 to"):
        call("show", "mixtral", "--hw", "h100", "--num-gpus", "0")
