"""Step-3 against its report (arXiv 2507.19427: 316 B parameters in the language model, 38 B active) and vLLM itself."""

import pytest

from moecap.errors import BadInputError
from moecap.models.accounting import count_parameters, kv_bytes_per_token
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.models.step import step_weights

CONFIG = {
    "architectures": ["Step3VLForConditionalGeneration"],
    "model_type": "step3_vl",
    "text_config": {
        "architectures": ["Step3TextForCausalLM"],
        "model_type": "step3_text",
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "num_attention_heads": 64,
        "num_attention_groups": 1,
        "num_hidden_layers": 61,
        "vocab_size": 128_815,
        "moe_intermediate_size": 5120,
        "moe_num_experts": 48,
        "moe_top_k": 3,
        "max_position_embedding": 65_536,
        "share_expert_dim": 5120,
        "share_q_dim": 2048,
        "head_dim": 256,
        "moe_layers_enum": ",".join(map(str, range(4, 60))),
        "dtype": "bfloat16",
    },
}
"""The sizes that the report's table and vLLM's ``Step3TextConfig`` give."""


def test_the_parameters_are_those_of_the_report():
    spec = read_model(CONFIG, "step3")
    found = count_parameters(spec)
    attention = 2048 * 7168 + 2 * 256 * 7168 + 2048 * 64 * 256 + 64 * 256 * 7168 + 2048
    expert = 3 * 7168 * 5120
    always = 61 * (attention + 2 * 7168) + 5 * 3 * 7168 * 18_432 + 56 * (48 * 7168 + expert) + 7168 + 128_815 * 7168
    assert found.total == always + 56 * 48 * expert + 128_815 * 7168
    assert found.active == always + 56 * 3 * expert
    assert found.total == pytest.approx(316e9, rel=0.005)
    assert found.active == pytest.approx(38e9, rel=0.01)
    assert kv_bytes_per_token(spec) == 2 * 61 * 2 * 256


def test_ranks_keep_the_projections_to_the_shared_query_key_and_value_whole():
    spec = read_model(CONFIG, "step3")
    one, four = step_weights(spec), step_weights(spec, Parallelism(tensor=4))
    assert four.attention - one.attention == 2 * 3 * 61 * ((2048 + 2 * 256) * 7168 + 2048)
    assert four.expert.tolist() == one.expert.tolist()


def test_several_key_and_value_heads_are_refused():
    with pytest.raises(BadInputError, match="num_attention_groups"):
        read_model(CONFIG | {"text_config": CONFIG["text_config"] | {"num_attention_groups": 2}}, "step3")


@pytest.mark.engine
@pytest.mark.vllm
def test_a_small_one_has_the_parameters_of_vllms_own_modules():
    import subprocess
    import sys

    script = """
import os, tempfile, torch
os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
from vllm.config import ModelConfig, VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.model_executor.models.step3_text import Step3TextForCausalLM
from vllm.transformers_utils.configs.step3_vl import Step3TextConfig

small = Step3TextConfig(
    hidden_size=64, intermediate_size=96, num_attention_heads=4, num_hidden_layers=3, vocab_size=256,
    moe_intermediate_size=32, moe_num_experts=4, moe_top_k=2, share_expert_dim=32, share_q_dim=48, head_dim=32,
    max_position_embedding=512, rope_parameters={"rope_theta": 1e4, "rope_type": "default"},
)
small.moe_layers_enum = "1,2"
small.tie_word_embeddings = False
folder = tempfile.mkdtemp()
small.architectures = ["Step3TextForCausalLM"]
small.save_pretrained(folder)
vllm_config = VllmConfig()
class Model:
    hf_config = small
    dtype = torch.float32
    def __getattr__(self, name): return None
object.__setattr__(vllm_config, "model_config", Model())
with set_current_vllm_config(vllm_config):
    init_distributed_environment(1, 0, f"file://{tempfile.mktemp()}", 0, "gloo")
    initialize_model_parallel(1, 1)
    torch.set_default_dtype(torch.float32)
    model = Step3TextForCausalLM(vllm_config=vllm_config)
print("parameters", sum(p.numel() for p in model.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = int(done.stdout.split("parameters ")[1].split()[0])
    small = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "vocab_size": 256,
        "moe_intermediate_size": 32,
        "moe_num_experts": 4,
        "moe_top_k": 2,
        "share_expert_dim": 32,
        "share_q_dim": 48,
        "head_dim": 32,
        "max_position_embedding": 512,
        "moe_layers_enum": "1,2",
    }
    spec = read_model(CONFIG | {"text_config": CONFIG["text_config"] | small}, "small")
    assert count_parameters(spec).total == counted
