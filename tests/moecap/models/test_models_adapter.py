"""A low-rank adapter on attention: its bytes and FLOPs by hand, and every kind that is not counted."""

import json

import pytest

from moecap.errors import BadInputError, NotBuiltError
from moecap.models.accounting import count_parameters
from moecap.models.adapter import ADAPTER, adapter_config, with_adapter
from moecap.models.products import linear_flops
from moecap.models.reading import read_model
from moecap.models.step import paper_step_weights, step_weights

QWEN3 = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 64,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 256,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "rms_norm_eps": 1e-6,
    "dtype": "bfloat16",
}
PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj", "v_proj"]}


def _folder(tmp_path, **changes):
    (tmp_path / "adapter_config.json").write_text(json.dumps(PLAIN | changes))
    return tmp_path


def test_a_step_reads_both_matrices_and_a_token_is_multiplied_with_both(tmp_path):
    base = read_model(QWEN3, "m")
    config = with_adapter(QWEN3, _folder(tmp_path))
    assert config[ADAPTER] == {"rank": 4, "targets": ["q_proj", "v_proj"]}
    spec = read_model(config, "m")
    # q_proj is 64 -> 4 heads of 32, v_proj 64 -> 2 heads of 32: A has 4 rows of 64, B has 4 columns
    more = 3 * (4 * 64 + 128 * 4 + 4 * 64 + 64 * 4)
    assert count_parameters(spec).total - count_parameters(base).total == more
    assert count_parameters(spec).active - count_parameters(base).active == more
    for weights in (step_weights, paper_step_weights):
        assert weights(spec).attention - weights(base).attention == 2 * more
    assert sum(linear_flops(spec, "bf16").values()) - sum(linear_flops(base, "bf16").values()) == 2 * more
    assert "with an adapter of rank 4 on q_proj, v_proj" in spec.reading
    assert read_model(config, "m", weights="fp32").layers[0].attention.matrices[-1].bytes == 64 * 4 * 4


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"target_modules": ["q_proj", "gate_proj"]},
            "it adapts gate_proj; counted are q_proj, k_proj, v_proj",
        ),
        ({"target_modules": "all-linear"}, "it adapts all-linear; counted are"),
        ({"target_modules": []}, "it adapts nothing; counted are"),
        ({"use_dora": True}, "use_dora True is not counted; give a plain LoRA"),
        ({"bias": "all"}, "bias all is not counted"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern .* is not counted"),
        ({"peft_type": "IA3"}, "IA3 of rank 4 is not counted"),
        ({"r": 0}, "LORA of rank 0 is not counted"),
    ],
)
def test_another_kind_of_adapter_is_refused_by_name(tmp_path, changes, problem):
    with pytest.raises(NotBuiltError, match=problem):
        adapter_config(_folder(tmp_path, **changes))


def test_what_is_no_adapter_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"no readable adapter_config\.json"):
        adapter_config(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInputError, match="lacks peft_type, r or target_modules"):
        adapter_config(tmp_path)
    for adapter, problem in (
        ({"rank": 4}, "needs a rank and targets"),
        ({"rank": 0, "targets": ["q_proj"]}, "rank 0 of q_proj is not counted"),
        ({"rank": 4, "targets": ["up_proj"]}, "rank 4 of up_proj is not counted"),
        ({"rank": 65, "targets": ["k_proj"]}, "an adapter of rank 65 is none for k_proj, which has rank 64 at most"),
    ):
        with pytest.raises(BadInputError, match=problem):
            read_model(QWEN3 | {ADAPTER: adapter}, "m")
