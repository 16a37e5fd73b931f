"""GGUF formats: what a step reads of them, by hand, and how they are named."""

import pytest

from moecap.errors import BadInputError, UnknownNameError
from moecap.models.accounting import checkpoint_bytes
from moecap.models.formats import asked_weights, gguf_name, run_formats
from moecap.models.products import product_formats
from moecap.models.registry import load_model
from moecap.models.step import step_weights

PARAMS = 46_702_792_704
ROUTERS = 32 * 8 * 4096
NORMS = (2 * 32 + 1) * 4096
"""Mixtral-8x7B."""


@pytest.mark.parametrize(("precision", "width"), [("fp32", 4), ("fp16", 2), ("bf16", 2), ("q8_0", 34 / 32)])
def test_matrices_are_in_the_format_and_routers_and_norms_in_fp32(precision, width):
    spec, _ = load_model("mixtral", weights=f"gguf-{precision}")
    assert checkpoint_bytes(spec) == (PARAMS - ROUTERS - NORMS) * width + (ROUTERS + NORMS) * 4
    weights = step_weights(spec)
    assert weights.router == ROUTERS * 4
    assert weights.norms == NORMS * 4
    assert weights.expert.tolist() == [3 * 4096 * 14336 * width] * 32
    assert weights.embedding_row == 4096 * width
    assert weights.lm_head == 32000 * 4096 * width


def test_the_cache_is_fp16_and_only_q8_0_multiplies_as_integers():
    for precision in ("fp32", "fp16", "bf16", "q8_0"):
        formats = run_formats(f"gguf-{precision}")
        assert (formats.kv, formats.compute, formats.asked) == ("fp16", "fp32", precision)
        spec, _ = load_model("mixtral", weights=formats.weights, kv=formats.kv)
        products = product_formats(spec, formats.compute)
        assert products["experts"] == products["lm_head"] == ("int8" if precision == "q8_0" else "fp32")
        assert products["router"] == products["scores"] == "fp32"


def test_one_format_for_all_stays_one_for_all():
    formats = run_formats("torch.bfloat16")
    assert {formats.weights, formats.kv, formats.compute, formats.activations} == {"bf16"}


@pytest.mark.parametrize(
    ("spelled", "name"), [("f16", "fp16"), ("F32", "fp32"), ("bfloat16", "bf16"), ("Q8_0", "q8_0"), ("half", "fp16")]
)
def test_formats_are_known_by_the_names_that_llama_cpp_and_torch_have(spelled, name):
    assert gguf_name(spelled) == name
    assert asked_weights(spelled, f"gguf-{name}") == f"gguf-{name}"


def test_what_was_asked_for_must_be_what_a_result_states():
    assert asked_weights("auto", "gguf-q8_0") == "gguf-q8_0"
    assert asked_weights("f16", "gguf-q8_0") == "gguf-fp16"
    assert asked_weights("bf16", "fp32") == "bf16"
    assert asked_weights("int4", "gguf-q8_0") == "int4"


def test_formats_that_are_not_counted_are_refused():
    with pytest.raises(BadInputError, match="'q4_k_m': GGUF files are counted in fp32, fp16, bf16, q8_0"):
        gguf_name("q4_k_m")
    with pytest.raises(UnknownNameError, match="no GGUF format named 'q4_0'"):
        run_formats("gguf-q4_0")
