"""In which format each product is computed, against quantisation configurations as vendors write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.models.formats import asked_cache, checkpoint_formats, run_formats
from moecap.models.products import (
    dense_linear_flops,
    format_names,
    linear_flops,
    product_formats,
)
from moecap.models.reading import is_quantised, read_model, read_model_as
from moecap.models.registry import load_model, load_model_config
from moecap.models.step import dense_linear_flops_per_token, linear_flops_per_token

CONFIG = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 8,
    "intermediate_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 2,
    "vocab_size": 10,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
ATTENTION, EXPERT, ROUTER = 8 * 8 + 2 * 8 * 4 + 8 * 8, 3 * 8 * 6, 8 * 4
WIDE = {"bf16": 2 * (ATTENTION + 2 * EXPERT + ROUTER)}


def _group(weights, inputs=None):
    return {
        "quant_method": "compressed-tensors",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": inputs}},
    }


INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 2}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
FP8 = {"num_bits": 8, "type": "float", "strategy": "token"}
METHODS = {
    "none": ({}, None),
    "fp8": ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, "fp8"),
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 4}, None),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 4}, None),
    "int4 of integers": (_group(INT4), None),
    "int4 with inputs of int8": (_group(INT4, INT8), "int8"),
    "int8 with inputs of int8": (_group(INT8, INT8), "int8"),
    "fp8 with inputs of fp8": (_group(FP8 | {"strategy": "channel"}, FP8), "fp8"),
    "NVFP4": ({"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}, "fp4"),
    "weights of NVFP4": ({"quant_method": "modelopt", "quant_algo": "W4A16_NVFP4"}, None),
    "weights of fp8 in blocks": ({"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"}, None),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_product_is_computed_in_the_format_of_its_inputs(method):
    quantization, inputs = METHODS[method]
    model = read_model(CONFIG | {"quantization_config": quantization}, method)
    narrow = {} if inputs is None else {inputs: 2 * (ATTENTION + 2 * EXPERT), "bf16": 2 * ROUTER}
    assert linear_flops(model, "bf16") == (narrow or WIDE)
    classes = dict.fromkeys(("attention", "experts"), inputs or "bf16")
    rest = dict.fromkeys(("router", "lm_head", "scores"), "bf16")
    assert product_formats(model, "bf16") == classes | rest
    spare = 2 * 2 * EXPERT
    dense = dense_linear_flops(model, "bf16")
    assert dense[inputs or "bf16"] == linear_flops(model, "bf16")[inputs or "bf16"] + spare


def test_mxfp4_experts_are_widened_and_multiplied_in_bf16():
    model, _ = load_model("gpt-oss-20b")
    assert model.weight_dtypes["experts"] == "fp4"
    assert format_names(model, "bf16") == ("bf16",)


def test_scores_are_computed_in_fp8_with_a_cache_in_fp8_and_in_no_other_narrow_format():
    for cache, scores in (("fp8", "fp8"), ("int8", "bf16"), ("bf16", "bf16")):
        model = read_model(CONFIG, "cache", kv=cache)
        assert product_formats(model, "bf16")["scores"] == scores


def test_the_rest_of_a_quantised_checkpoint_is_in_the_format_of_the_run():
    config = CONFIG | {"quantization_config": METHODS["fp8"][0]}
    model = read_model_as(config, "mixed", checkpoint_formats("fp16", "fp8"))
    expected = {"attention": "fp8", "experts": "fp8", "router": "fp16", "lm_head": "fp16", "embedding": "fp16"}
    assert model.weight_dtypes == expected | {"vectors": "fp16"}
    assert (model.kv_dtype, model.formats) == ("fp8", "fp8+fp16")
    plain = read_model_as(config, "plain", run_formats("fp16"))
    assert set(plain.weight_dtypes.values()) == {"fp16"}
    assert plain.formats == "fp16"


def test_a_checkpoint_is_quantised_where_its_config_says_so():
    assert is_quantised(load_model_config("deepseek-v3")[0])
    assert not is_quantised(load_model_config("mixtral")[0])
    assert not is_quantised(CONFIG | {"quantization_config": {}})


def test_a_quantised_checkpoint_has_its_rest_in_no_narrow_format():
    with pytest.raises(BadInputError, match=r"precision 'fp8': the checkpoint is quantised by itself.*choose bf16"):
        checkpoint_formats("fp8", "fp8")


@pytest.mark.parametrize(
    ("arguments", "cache"),
    [
        ({}, None),
        ({"kv-cache-dtype": "auto"}, None),
        ({"kv-cache-dtype": "fp8_e5m2"}, "fp8"),
        ({"kv_cache_dtype": "bfloat16"}, "bf16"),
    ],
)
def test_the_format_of_the_cache_is_read_from_the_engines_arguments(arguments, cache):
    assert asked_cache(arguments) == cache


def test_a_cache_that_is_not_counted_is_refused():
    with pytest.raises(BadInputError, match="kv-cache-dtype=nvfp4: counted are auto, bf16"):
        asked_cache({"kv-cache-dtype": "nvfp4"})
    with pytest.raises(BadInputError, match="kv-cache-dtype and kv_cache_dtype are one"):
        asked_cache({"kv-cache-dtype": "fp8", "kv_cache_dtype": "fp8"})


@given(st.sampled_from(sorted(METHODS)), st.integers(1, 4), st.sampled_from(["bf16", "fp16", "fp32"]))
def test_the_formats_share_out_every_flop(method, topk, activations):
    model = read_model(CONFIG | {"quantization_config": METHODS[method][0], "num_experts_per_tok": topk}, method)
    assert sum(linear_flops(model, activations).values()) == linear_flops_per_token(model)
    assert sum(dense_linear_flops(model, activations).values()) == dense_linear_flops_per_token(model)
    assert set(linear_flops(model, activations)) <= set(format_names(model, activations))
