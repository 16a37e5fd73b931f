"""The memory of one pass, against sums that are written out."""

from hypothesis import given
from hypothesis import strategies as st

from moecap.models.activations import activation_bytes, training_bytes
from moecap.models.reading import read_model

MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 2,
    "vocab_size": 32,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
SPEC = read_model(MIXTRAL, "tiny")
ATTENTION = (8 + 8) + (8 + 4) + (8 + 4) + (8 + 8)  # in and out of q, k, v and o
EXPERT = 3 * (8 + 16)
TOKEN = 2 * 8 + ATTENTION + (8 + 4) + 2 * EXPERT  # residual stream and norm, attention, router, two experts


def test_a_token_keeps_the_rows_of_one_layer():
    assert activation_bytes(SPEC, tokens=100, logits_rows=0, dtype="bf16") == 100 * TOKEN * 2
    assert activation_bytes(SPEC, tokens=100, logits_rows=0, dtype="fp32") == 100 * TOKEN * 4


def test_logits_are_rows_of_the_vocabulary_in_fp32():
    assert activation_bytes(SPEC, tokens=0, logits_rows=5, dtype="bf16") == 5 * 32 * 4


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**4))
def test_more_tokens_never_take_less(a, b, rows):
    few, many = sorted((a, b))
    assert activation_bytes(SPEC, tokens=few, logits_rows=rows, dtype="bf16") <= activation_bytes(
        SPEC, tokens=many, logits_rows=rows, dtype="bf16"
    )


def test_training_keeps_every_layer_with_its_norms_in_fp32_twice_three_times_the_logits_and_four_of_each_number():
    found = training_bytes(SPEC, tokens=10, logits_rows=5, layers=2, trained=7, dtype="bf16")
    assert found == 2 * 10 * 2 * (TOKEN * 2 + 6 * 8 * 4) + 3 * 5 * 32 * 4 + 4 * 7 * 4
