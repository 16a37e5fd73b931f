"""A whole vLLM run of a checkpoint whose attention is quantised to int8 (weights and inputs), experts not."""

import json
import shutil

import pytest
from tiny_models import make_model

from moecap.facts import result_facts
from moecap.models.accounting import checkpoint_bytes, kv_bytes_per_token
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

SIZES = {
    "head_dim": 32,
    "num_attention_heads": 4,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_key_value_heads": 2,
}
INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
QUANTISED = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head", "re:.*mlp.*", "re:.*block_sparse_moe.*"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": INT8 | {"strategy": "channel", "dynamic": False},
            "input_activations": INT8 | {"strategy": "token", "dynamic": True},
        }
    },
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny Mixtral in bf16 with each row of its attention's matrices rounded to 127 steps of its largest element."""
    import torch
    from safetensors.torch import load_file, save_file

    plain = make_model("mixtral", tmp_path_factory.mktemp("plain") / "tiny", sizes=SIZES)
    folder = tmp_path_factory.mktemp("quantised") / "tiny-int8"
    shutil.copytree(plain, folder)
    tensors = {}
    for name, tensor in load_file(plain / "model.safetensors").items():
        if "self_attn" in name:
            scale = tensor.abs().amax(1, keepdim=True) / 127
            tensors[name] = torch.round(tensor / scale).to(torch.int8)
            tensors[f"{name}_scale"] = scale.to(torch.bfloat16)
        else:
            tensors[name] = tensor.to(torch.bfloat16)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((plain / "config.json").read_text())
    config |= {"dtype": "bfloat16", "quantization_config": QUANTISED}
    (folder / "config.json").write_text(json.dumps(config))
    return folder, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


@pytest.fixture(scope="module")
def outcome(checkpoint, tmp_path_factory):
    options = {
        "model": str(checkpoint[0]),
        "backend": "vllm",
        "task": ["none"],
        "num_requests": 6,
        "concurrency": 2,
        "input_len": 16,
        "output_len": 6,
        "engine_arg": ["enforce-eager=true", "kv-cache-dtype=fp8"],
        "output": str(tmp_path_factory.mktemp("runs") / "run"),
    }
    done = run(with_settings(options, ()), Reporter(quiet=True))
    assert done.error is None
    return done


def test_the_result_says_in_what_each_class_is_stored_and_computed(outcome):
    model = outcome.result.model
    assert model.quantised
    rest = dict.fromkeys(("router", "experts", "lm_head"), "bf16")
    assert model.weight_dtypes == rest | {"attention": "int8", "embedding": "bf16", "vectors": "bf16"}
    assert model.compute_dtypes == rest | {"attention": "int8", "scores": "fp8"}
    assert (model.weight_dtype, model.kv_dtype, model.compute_dtype) == ("bf16+int8", "fp8", "bf16")


def test_counted_bytes_are_those_of_the_checkpoint_file(outcome, checkpoint):
    assert checkpoint_bytes(result_facts(outcome.result).spec) == checkpoint[1]


def test_counted_bytes_of_the_cache_are_those_that_vllm_gives_a_token(outcome):
    log = (outcome.directory / "server.log").read_text()
    tokens = int(log.split("KV cache size: ")[1].split(" tokens")[0].replace(",", ""))
    counted = kv_bytes_per_token(result_facts(outcome.result).spec)
    assert counted == 3 * 2 * 2 * 32
    assert tokens * counted == pytest.approx(2**30, rel=1e-3)  # vLLM was given 1 GiB


def test_bytes_are_measured_and_flops_have_no_peak_on_a_host_without_a_rate_for_the_formats(outcome):
    metrics = outcome.result.metrics
    assert metrics["decode.s_mbu"].value > 0
    assert metrics["decode.s_mfu"].value is None
    assert metrics["decode.s_mfu"].reason == "this hardware has no native rate for int8 and fp8"


def test_the_result_alone_gives_its_numbers_again(outcome):
    assert verify_run(outcome.directory).ok
