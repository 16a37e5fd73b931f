"""Architectures are read by what their configurations say, never by what a model is called."""

from __future__ import annotations

from typing import Any

import pytest

from moecap.errors import BadInputError
from moecap.models.accounting import checkpoint_bytes, count_parameters, decode_step_bytes, kv_bytes_per_token
from moecap.models.families import ARCHITECTURES, READERS
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config
from moecap.models.spec import DenseFfn, MoeFfn

KIMI_K2: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "kimi_k2",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 64,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 384,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 1,
    "vocab_size": 163840,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def gpt_oss_120b() -> dict[str, Any]:
    config, _ = load_model_config("gpt-oss-20b")
    layers = ["sliding_attention", "full_attention"] * 18
    return config | {"num_hidden_layers": 36, "num_local_experts": 128, "layer_types": layers}


def test_kimi_k2_caches_latents_and_not_heads() -> None:
    """A dispatch on the name made its cache 24.9 times too big: 61 layers of 2·7168 elements a token."""
    model = read_model(KIMI_K2, "kimi")
    assert kv_bytes_per_token(model) == 61 * (512 + 64) * 2
    parameters = count_parameters(model)
    assert parameters.total == pytest.approx(1.04e12, rel=0.02)
    assert parameters.active == pytest.approx(32e9, rel=0.02)


def test_gpt_oss_120b_agrees_with_its_model_card() -> None:
    """116.83 B parameters, 5.13 B active, a checkpoint of 60.8 GiB.

    A dispatch on the name made its step 2.29 GB; it is 5.05 GB at batch 1 and context 1024.
    """
    model = read_model(gpt_oss_120b(), "gpt-oss-120b")
    parameters = count_parameters(model)
    assert parameters.total == pytest.approx(116.83e9, rel=1e-4)
    assert parameters.active == pytest.approx(5.13e9, rel=1e-3)
    assert checkpoint_bytes(model) / 2**30 == pytest.approx(60.8, abs=0.05)
    assert decode_step_bytes(model, batch=1, context=1024, experts=4).total == pytest.approx(5.05e9, abs=0.005e9)


def test_llama_3_8b_agrees_with_its_published_size() -> None:
    model = read_model(LLAMA_8B, "llama")
    assert count_parameters(model).total == 8_030_261_248
    assert not model.is_moe
    assert count_parameters(model).expert == count_parameters(model).experts == 0
    assert decode_step_bytes(model, batch=1, context=1, experts=0).expert_weights == 0


@pytest.mark.parametrize("name", ["deepseek", "mixtral", "qwen3-moe", "kimi", ""])
def test_the_name_changes_nothing(name: str) -> None:
    assert read_model(LLAMA_8B, name).layers == read_model(LLAMA_8B, "llama").layers


def test_a_class_is_enough_where_the_model_type_is_new() -> None:
    model = read_model(KIMI_K2 | {"model_type": "kimi_next"}, "kimi")
    assert model.layers == read_model(KIMI_K2, "kimi").layers
    assert model.reading == "deepseek_v3, by the architecture DeepseekV3ForCausalLM"


def test_every_class_leads_to_a_reader() -> None:
    assert set(ARCHITECTURES.values()) <= READERS.keys()


def test_multi_token_prediction_is_counted_apart() -> None:
    """Its layer: attention, 257 experts, router with bias, two norms; besides it a projection and three norms."""
    config, _ = load_model_config("deepseek-v3")
    model = read_model(config, "v3")
    attention, expert, hidden = 187_105_280 + 2048, 44_040_192, 7168
    layer = attention + 257 * expert + 256 * hidden + 256 + 2 * hidden
    assert model.mtp_params == layer + 2 * hidden * hidden + 3 * hidden
    without = read_model(config | {"num_nextn_predict_layers": 0}, "v3")
    assert without.mtp_params == 0
    assert count_parameters(without).total == count_parameters(model).total
    assert checkpoint_bytes(without) == checkpoint_bytes(model)


def test_sparse_steps_and_dense_layers_leave_the_right_layers_dense() -> None:
    config, _ = load_model_config("qwen3-30b-a3b")
    model = read_model(config | {"decoder_sparse_step": 2, "mlp_only_layers": [1, 3]}, "qwen")
    sparse = [i for i, layer in enumerate(model.layers) if isinstance(layer.ffn, MoeFfn)]
    assert sparse == list(range(5, 48, 2))
    dense = model.layers[0].ffn
    assert isinstance(dense, DenseFfn)
    assert dense.matrix_params == 3 * 2048 * 6144


def test_moe_layer_freq_leaves_layers_dense() -> None:
    config, _ = load_model_config("deepseek-v2-lite")
    model = read_model(config | {"moe_layer_freq": 2}, "v2")
    assert [i for i, layer in enumerate(model.layers) if isinstance(layer.ffn, MoeFfn)] == list(range(2, 27, 2))


def test_an_unknown_architecture_is_read_by_its_keys_and_says_so() -> None:
    config = KIMI_K2 | {"model_type": "newcomer", "architectures": ["NewcomerForCausalLM"], "topk_method": "noaux_tc"}
    model = read_model(config, "new")
    assert model.layers == read_model(KIMI_K2, "new").layers
    assert model.reading == "familiar keys: no reader for model_type 'newcomer', biases and norms may differ"
    grouped, _ = load_model_config("mixtral")
    other = read_model(grouped | {"model_type": "other", "architectures": ["Other"]}, "other")
    assert count_parameters(other) == count_parameters(read_model(grouped, "mixtral"))


INVENTED: dict[str, Any] = {"hidden_size": 512, "num_hidden_layers": 3, "vocab_size": 1000, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("keys", "total", "kind"),
    [
        # a Mixtral by another name: 3·(2·512·512 + 2·512·128 + 8·512 + 8·3·512·896 + 2·512) + 2·1000·512 + 512
        (
            {"num_attention_heads": 8, "num_key_value_heads": 2, "num_local_experts": 8, "intermediate_size": 896},
            3 * (2 * 512**2 + 2 * 512 * 128 + 8 * 512 + 24 * 512 * 896 + 1024) + 1000 * 1024 + 512,
            "full",
        ),
        # a DeepSeek by another name: one dense layer, two mixtures with a shared expert, latents of 64 + 16
        (
            {
                "num_attention_heads": 8,
                "kv_lora_rank": 64,
                "qk_nope_head_dim": 32,
                "qk_rope_head_dim": 16,
                "v_head_dim": 32,
                "n_routed_experts": 8,
                "n_shared_experts": 1,
                "moe_intermediate_size": 128,
                "intermediate_size": 896,
                "first_k_dense_replace": 1,
            },
            3 * (512 * 8 * 48 + 512 * 80 + 64 + 64 * 8 * 64 + 8 * 32 * 512 + 1024)
            + 3 * 512 * 896
            + 2 * (8 * 512 + 9 * 3 * 512 * 128)
            + 1000 * 1024
            + 512,
            "mla",
        ),
    ],
)
def test_an_invented_architecture_with_familiar_keys_is_counted_by_hand(
    keys: dict[str, Any], total: int, kind: str
) -> None:
    config = {**INVENTED, "model_type": "invented", "num_experts_per_tok": 2, "max_position_embeddings": 4096, **keys}
    model = read_model(config, "invented")
    assert count_parameters(model).total == total
    assert {layer.attention.kind for layer in model.layers} == {kind}
    assert model.reading.startswith("familiar keys: no reader for model_type 'invented'")


def test_an_invented_architecture_names_all_keys_that_it_lacks_at_once() -> None:
    config = {"model_type": "invented", "hidden_size": 512, "num_hidden_layers": 3, "n_routed_experts": 8}
    with pytest.raises(BadInputError) as caught:
        read_model(config | {"kv_lora_rank": 64, "v_head_dim": 32}, "invented")
    assert str(caught.value) == (
        "the config of 'invented' (model_type 'invented') lacks vocab_size, max_position_embeddings, "
        "num_attention_heads, qk_nope_head_dim, qk_rope_head_dim, intermediate_size or moe_intermediate_size, "
        "num_experts_per_tok or experts_per_token or moe_k or moe_top_k; give a config.json that has them"
    )


def test_an_unknown_architecture_with_unknown_structure_is_refused() -> None:
    config = LLAMA_8B | {"model_type": "hybrid", "architectures": ["Hybrid"], "mamba_d_state": 16}
    with pytest.raises(BadInputError, match="has mamba_d_state, a structure without a reader"):
        read_model(config, "hybrid")


def test_missing_keys_are_named_all_at_once() -> None:
    with pytest.raises(BadInputError) as caught:
        read_model({"model_type": "mixtral", "hidden_size": 64, "num_attention_heads": None}, "half")
    text = str(caught.value)
    for key in ("num_hidden_layers", "vocab_size", "num_attention_heads", "intermediate_size", "num_local_experts"):
        assert key in text
    assert "hidden_size," not in text
    assert "\n" not in text


def test_tied_embeddings_count_once_and_are_still_multiplied() -> None:
    tied = read_model(LLAMA_8B | {"tie_word_embeddings": True}, "tied")
    untied = read_model(LLAMA_8B, "untied")
    table = 128256 * 4096
    assert count_parameters(untied).total - count_parameters(tied).total == table
    assert checkpoint_bytes(untied) - checkpoint_bytes(tied) == 2 * table
    assert count_parameters(untied).active == count_parameters(tied).active
    assert count_parameters(tied).active_with_embedding == count_parameters(tied).active
    step = {"batch": 1, "context": 10, "experts": 0}
    assert decode_step_bytes(tied, **step) == decode_step_bytes(untied, **step)
