"""Bytes follow the number format of each class of tensors, scales counted on whole blocks."""

from __future__ import annotations

import math
from typing import Any

import pytest

from moecap.errors import BadInputError, UnknownNameError
from moecap.models.accounting import checkpoint_bytes, count_parameters, kv_bytes_per_token
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config
from moecap.models.spec import MoeFfn, WeightFormat


def mixtral(quantization: dict[str, Any] | None = None, **keys: Any) -> Any:
    config, _ = load_model_config("mixtral")
    return read_model(config | {"quantization_config": quantization} | keys, "mixtral")


def expert_bytes(model: Any) -> int:
    return sum(m.bytes for m in model.moe_layers[0].expert_matrices)


def formats(model: Any) -> dict[str, str]:
    dtypes: dict[str, str] = model.weight_dtypes
    return dtypes


@pytest.mark.parametrize(
    ("form", "rows", "columns", "size"),
    [
        (WeightFormat("bf16"), 3, 5, 30),
        (WeightFormat("fp8", (128, 128), 4.0), 129, 128, 129 * 128 + 2 * 4),
        (WeightFormat("fp8", (128, 128), 4.0), 1, 1, 1 + 4),
        (WeightFormat("fp8", (0, 0), 4.0), 300, 300, 90000 + 4),
        (WeightFormat("int8", (1, 0), 2.0), 300, 10, 3000 + 600),
        (WeightFormat("fp4", (1, 32), 1.0), 3, 33, math.ceil(99 / 2) + 3 * 2),
        (WeightFormat("fp4", (1, 16), 1.0, 4), 2, 32, 32 + 4 + 4),
    ],
)
def test_bytes_of_a_matrix(form: WeightFormat, rows: int, columns: int, size: int) -> None:
    assert form.matrix_bytes(rows, columns) == size


def test_fp8_blocks_cover_layers_and_leave_router_head_and_embedding() -> None:
    config, _ = load_model_config("deepseek-v3")
    model = read_model(config, "v3")
    assert formats(model) == {
        "attention": "fp8",
        "dense": "fp8",
        "router": "bf16",
        "experts": "fp8",
        "shared": "fp8",
        "lm_head": "bf16",
        "embedding": "bf16",
        "vectors": "bf16",
    }
    latent = next(m for m in model.layers[0].attention.matrices if m.name == "kv_a_proj_with_mqa")
    assert latent.bytes == 576 * 7168 + 5 * 56 * 4


def test_excluded_modules_keep_the_dtype_of_the_model() -> None:
    model = mixtral(
        {
            "quant_method": "fp8",
            "modules_to_not_convert": ["model.layers.0.self_attn", "model.layers.*.self_attn.o_proj", "w2"],
        }
    )
    first, second = model.layers[:2]
    assert {m.name: m.format.dtype for m in first.attention.matrices} == dict.fromkeys(
        ("q_proj", "k_proj", "v_proj", "o_proj"), "bf16"
    )
    assert [m.format.dtype for m in second.attention.matrices] == ["fp8", "fp8", "fp8", "bf16"]
    assert [m.format.dtype for m in second.ffn.expert_matrices] == ["fp8", "fp8", "bf16"]
    assert formats(model)["attention"] == "bf16+fp8"


def test_mxfp4_is_for_experts_alone() -> None:
    config, _ = load_model_config("gpt-oss-20b")
    dtypes = formats(read_model(config, "oss"))
    assert {tensors for tensors, dtype in dtypes.items() if dtype == "fp4"} == {"experts"}


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_integer_groups_store_a_scale_and_a_zero_point_a_group(method: str) -> None:
    model = mixtral({"quant_method": method, "bits": 4, "group_size": 128})
    params = 3 * 4096 * 14336
    assert expert_bytes(model) == params / 2 + params / 128 * 2.5
    assert formats(model)["lm_head"] == formats(model)["router"] == "bf16"


def test_compressed_tensors_give_a_format_to_each_group_of_modules() -> None:
    scheme = {"num_bits": 8, "type": "float", "strategy": "channel"}
    model = mixtral(
        {
            "quant_method": "compressed-tensors",
            "config_groups": {
                "group_0": {
                    "targets": ["re:.*experts.*"],
                    "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32},
                },
                "group_1": {"targets": ["Linear"], "weights": scheme},
            },
            "ignore": ["lm_head", "re:.*self_attn.k_proj$"],
            "kv_cache_scheme": {"num_bits": 8, "type": "float"},
        }
    )
    dtypes = formats(model)
    assert (dtypes["experts"], dtypes["lm_head"], model.kv_dtype) == ("int4", "bf16", "fp8")
    assert [m.format.dtype for m in model.layers[0].attention.matrices] == ["fp8", "bf16", "fp8", "fp8"]
    assert model.layers[0].attention.matrices[0].bytes == 4096 * 4096 + 4096 * 2


def test_nvfp4_of_modelopt() -> None:
    model = mixtral({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "*self_attn*"]})
    params = 3 * 4096 * 14336
    assert expert_bytes(model) == params // 2 + params // 16 + 3 * 4
    assert formats(model)["attention"] == "bf16"


def test_mixed_precision_of_modelopt_goes_module_by_module() -> None:
    """W4 experts of 16 elements a scale, one fp8 projection with one scale, the rest as it was."""
    model = mixtral(
        {
            "quant_method": "modelopt",
            "quant_algo": "MIXED_PRECISION",
            "quantized_layers": {
                "model.layers.0.block_sparse_moe.experts": {"quant_algo": "NVFP4", "group_size": 16},
                "model.layers.0.self_attn.o_proj": {"quant_algo": "FP8"},
                "model.layers.1.self_attn.o_proj": {"quant_algo": "MXFP8"},
                "lm_head": {"quant_algo": "FP8"},
            },
        }
    )
    first, second = (layer.attention.matrices for layer in model.layers[:2])
    assert expert_bytes(model) == 3 * (4096 * 14336 // 2 + 4096 * 14336 // 16 + 4)
    assert first[3].bytes == 4096 * 4096 + 4
    assert second[3].bytes == 4096 * 4096 + 4096 * 4096 // 32
    assert [m.format.dtype for m in first[:3]] == ["bf16"] * 3
    assert formats(model)["lm_head"] == "fp8"
    assert formats(model)["experts"] == "fp4+bf16"


@pytest.mark.parametrize(("symmetric", "zero_point"), [(True, 0), (False, 0.5), (None, 0)])
def test_asymmetric_groups_store_zero_points(symmetric: bool | None, zero_point: float) -> None:
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": symmetric}
    quantization = {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": weights}}}
    params = 3 * 4096 * 14336
    assert expert_bytes(mixtral(quantization)) == params / 2 + params / 32 * (2 + zero_point)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("language_model.model.layers.0.self_attn*", 1),
        ("model.language_model.layers.0.self_attn*", 1),
        ("model.language_model.layers.0.self_attn", 1),
        ("re:language_model.model.layers.0.self_attn.*", 1),
        ("re:.*self_attn.*", 32),
        ("model.layers.0*", 1),
        ("vision_tower*", 0),
    ],
)
def test_exclusions_of_a_wrapper_hold_for_its_language_model(pattern: str, kept: int) -> None:
    config, _ = load_model_config("mixtral")
    quantization = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": [pattern]}
    wrapper = {"model_type": "wrapper", "text_config": config, "quantization_config": quantization}
    model = read_model(wrapper, "wrapped")
    dtypes = [layer.attention.matrices[0].format.dtype for layer in model.layers]
    assert dtypes.count("bf16") == kept
    assert dtypes.count("fp8") == 32 - kept


def test_per_tensor_and_per_channel_fp8_by_hand() -> None:
    """One fp32 scale a matrix, one bf16 scale an output of compressed-tensors, one fp32 an output of fbgemm."""
    params, outputs = 3 * 4096 * 14336, 2 * 14336 + 4096
    channel = {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
    assert expert_bytes(mixtral({"quant_method": "fp8"})) == params + 3 * 4
    assert expert_bytes(mixtral({"quant_method": "fbgemm_fp8"})) == params + outputs * 4
    compressed = {"quant_method": "compressed-tensors", "config_groups": {"a": channel}}
    assert expert_bytes(mixtral(compressed)) == params + outputs * 2


def test_mxfp4_of_compressed_tensors_has_a_byte_for_each_32_elements() -> None:
    weights = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}
    quantization = {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": weights}}}
    params = 3 * 4096 * 14336
    assert expert_bytes(mixtral(quantization)) == params // 2 + params // 32


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "'bitsandbytes', which is not known here"),
        ({"quant_method": "gptq", "bits": 3}, "bits = 3; it must be 4 or 8"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "group_size = 0"),
        ({"quant_method": "fp8", "weight_block_size": [128, 0]}, "two positive integers"),
        ({"quant_method": "fp8", "modules_to_not_convert": "lm_head"}, "a list of strings"),
        ({"quant_method": "fp8", "ignore": ["re:("]}, "a simple regular expression"),
        ({"quant_method": "fp8", "ignore": ["re:(a+)+$"]}, "a simple regular expression"),
        ({"quant_method": "fp8", "ignore": ["*x"] * 5000}, "at most 2000 patterns"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8"}, "quant_algo = 'W4A8'; it must be one of FP8"),
        ({"quant_method": "compressed-tensors"}, "at least one group"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": 1}}, "an object of objects"),
        ({"quant_method": 7}, "a short printable string"),
    ],
)
def test_formats_that_are_not_known_are_refused(quantization: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        mixtral(quantization)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_override_reads_past_an_unknown_method() -> None:
    config, _ = load_model_config("mixtral")
    strange = config | {"quantization_config": {"quant_method": "bitsandbytes"}}
    model = read_model(strange, "mixtral", weights="int4")
    assert checkpoint_bytes(model) == count_parameters(model).total // 2


@pytest.mark.parametrize(("dtype", "width"), [("bf16", 2), ("fp8", 1), ("int4", 0.5), ("fp32", 4)])
def test_an_override_covers_every_class_and_no_cache(dtype: str, width: float) -> None:
    config, _ = load_model_config("deepseek-v3")
    model = read_model(config, "v3").with_dtypes(weights=dtype)
    assert checkpoint_bytes(model) == count_parameters(model).total * width
    assert model == read_model(config, "v3", weights=dtype)
    assert set(formats(model).values()) == {dtype}
    assert kv_bytes_per_token(model) == 70272


def test_the_cache_has_its_own_format() -> None:
    config, _ = load_model_config("mixtral")
    model = read_model(config, "mixtral")
    assert kv_bytes_per_token(model.with_dtypes(kv="fp8")) == 65536
    assert read_model(config, "mixtral", kv="fp8") == model.with_dtypes(kv="fp8")
    assert checkpoint_bytes(model.with_dtypes(kv="fp8")) == checkpoint_bytes(model)
    assert model.with_dtypes() == model


def test_unknown_overrides_are_named() -> None:
    with pytest.raises(UnknownNameError, match="no number format named 'fp7'"):
        mixtral().with_dtypes(weights="fp7")
    with pytest.raises(UnknownNameError, match="no number format named 'fp7'"):
        mixtral().with_dtypes(kv="fp7")


def test_a_missing_dtype_is_assumed_aloud() -> None:
    model = mixtral(torch_dtype=None)
    assert model.reading == "mixtral; no dtype in the config: bf16 assumed"
    assert isinstance(model.layers[0].ffn, MoeFfn)
    assert mixtral(torch_dtype="float32").kv_dtype == "fp32"
