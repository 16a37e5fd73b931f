"""The command line that llama.cpp's server is started with."""

import re

import pytest

from moecap_backends.llamacpp_server import parser, tensor_overrides
from moecap_backends.llamacpp_settings import server_command, tokens_of_a_pass

NAMES = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")


def _options(command):
    return parser().parse_args(command[command.index("moecap_backends.llamacpp_server") + 1 :])


def test_the_server_gets_a_slot_for_each_request_and_room_for_the_longest(ascii_model, llamacpp_job, tmp_path):
    """300 tokens need a slot of 512, as llama.cpp rounds up to a multiple of 256; three of them need 1536."""
    from dataclasses import replace

    job = replace(llamacpp_job(ascii_model("mixtral"), tmp_path / "log"), concurrency=3, longest=300, threads=5)
    chosen = _options(server_command(job, tmp_path / "m.gguf", 8080))
    assert (chosen.parallel, chosen.ctx_size, chosen.threads, chosen.threads_batch) == (3, 1536, 5, 5)
    assert chosen.host == "127.0.0.1"
    assert chosen.kv_unified
    assert chosen.no_cache_prompt
    assert chosen.cache_ram == 0
    allowed = _options(server_command(replace(job, prefix_cache=True), tmp_path / "m.gguf", 8080))
    assert not allowed.no_cache_prompt


def test_the_users_arguments_take_the_place_of_moecaps(ascii_model, llamacpp_job, tmp_path):
    given = {"threads": "1", "ubatch-size": "128", "kv-unified": "false", "flash-attn": "off"}
    job = llamacpp_job(ascii_model("mixtral"), tmp_path / "log", **given)
    chosen = _options(server_command(job, tmp_path / "m.gguf", 8080))
    assert (chosen.threads, chosen.threads_batch, chosen.ubatch_size, chosen.flash_attn) == (1, 1, 128, "off")
    assert not chosen.kv_unified


@pytest.mark.parametrize(
    ("given", "most"),
    [({}, 512), ({"ubatch-size": "64"}, 64), ({"batch-size": "128"}, 128), ({"ubatch-size": "4096"}, 2048)],
)
def test_a_pass_feeds_no_more_than_a_call_of_the_model(ascii_model, llamacpp_job, tmp_path, given, most):
    """llama.cpp cuts its physical batch to the logical one."""
    assert tokens_of_a_pass(llamacpp_job(ascii_model("mixtral"), tmp_path / "log", **given)) == most


def test_a_users_own_server_gets_the_same_line(ascii_model, llamacpp_job, tmp_path):
    own = tmp_path / "llama-server"
    own.touch()
    folder = ascii_model("mixtral")
    ours = server_command(llamacpp_job(folder, tmp_path / "log"), tmp_path / "m.gguf", 8080)
    theirs = server_command(llamacpp_job(folder, tmp_path / "log", server=str(own)), tmp_path / "m.gguf", 8080)
    assert theirs == [str(own), *ours[3:]]


@pytest.mark.parametrize(("layer", "kept"), [(0, True), (9, True), (10, False), (19, False)])
def test_the_experts_of_the_first_layers_are_named_for_dram(layer, kept):
    patterns = [rule.rpartition("=")[0] for rule in tensor_overrides(10, "").split(",")]
    for name in NAMES:
        assert any(re.search(pattern, f"blk.{layer}.{name}.weight") for pattern in patterns) == kept
    assert not any(re.search(pattern, "blk.0.attn_q.weight") for pattern in patterns)
    assert tensor_overrides(0, "a=CPU,b=CPU") == "a=CPU,b=CPU"
    assert tensor_overrides(0, "") == ""
