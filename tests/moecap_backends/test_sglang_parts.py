"""What surrounds SGLang's server: arguments, checkpoints that it misreads, its Python, and what its answers encode."""

import base64
import io
import json
import shutil
import sys

import numpy as np
import pytest

from moecap.backend import EngineJob
from moecap.errors import BadInputError, NotBuiltError
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap_backends.routed_experts import decode_routed_experts
from moecap_backends.sglang import SglangBackend, _all_equally_likely
from moecap_backends.sglang_interpreter import VARIABLE, sglang_interpreter, sglang_missing


def _spec(folder):
    return read_model(read_config_file(folder / "config.json"), folder.name)


def _job(folder, arguments):
    return EngineJob(folder, _spec(folder), "cpu", "fp32", 2, 0, arguments, lambda _line: None)


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({"tp": "2"}, NotBuiltError, "tp: a run does not count what it changes yet"),
        ({"tensor_parallel_size": "2"}, NotBuiltError, "a run does not count"),
        ({"ep": "2"}, NotBuiltError, "a run does not count"),
        ({"speculative-algorithm": "NGRAM"}, NotBuiltError, "a run does not count"),
        ({"spec": "NGRAM"}, NotBuiltError, "a run does not count"),
        ({"kt-weight-path": "x"}, NotBuiltError, "a run does not count"),
        ({"quantization": "fp8"}, NotBuiltError, "a run does not count"),
        ({"kv-cache-dtype": "fp8_e5m2"}, NotBuiltError, "a run does not count"),
        ({"port": "80"}, BadInputError, "port: moecap sets it itself"),
        ({"stream-interval": "8"}, BadInputError, "moecap sets it itself"),
        ({"api-key": "x"}, BadInputError, "a result would hold it"),
    ],
)
def test_arguments_that_a_run_cannot_account_for_are_refused(tiny_model, arguments, error, problem):
    with pytest.raises(error, match=problem):
        SglangBackend().open(_job(tiny_model("olmoe"), arguments))


def _changed(folder, tmp_path, **changes):
    """A copy with another configuration, and the tokenizer's, which tiny checkpoints do not have."""
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    (copy / "tokenizer_config.json").write_text("{}")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    return copy


def test_a_quantised_checkpoint_is_refused(tiny_model, tmp_path):
    folder = _changed(tiny_model("olmoe"), tmp_path, quantization_config={"quant_method": "fp8"})
    with pytest.raises(NotBuiltError, match="quantised"):
        SglangBackend.check(folder, _spec(tiny_model("olmoe")), "cpu")


def test_a_configuration_that_says_null_of_its_quantisation_is_unquantised(tiny_model, tmp_path):
    folder = _changed(tiny_model("olmoe"), tmp_path, quantization_config=None)
    SglangBackend.check(folder, _spec(folder), "cpu")


def test_a_server_is_refused_where_all_tokens_are_equally_likely_and_not_where_two_are():
    """Logits of 16 bits: of a trained model's the two largest are equal every few prompts."""
    trained = np.array([20.0, 20.0, 17.5, *np.linspace(-8, 8, 997)])
    for logits, refused in ((trained, False), (np.zeros(1000), True)):
        assert _all_equally_likely(float(logits.max() - np.log(np.exp(logits).sum())), 1000) == refused


def test_a_checkpoint_that_sglang_would_misread_is_refused(tiny_model, tmp_path):
    """sglang 0.5.23 serves both, with weights that it never loaded or shapes that do not fit."""
    dense = _changed(tiny_model("qwen3_moe"), tmp_path)
    with pytest.raises(BadInputError, match="every layer of Qwen3MoeForCausalLM to be a mixture of experts"):
        SglangBackend.check(dense, _spec(dense), "cpu")
    wide = _changed(tiny_model("mixtral"), tmp_path, head_dim=16)
    with pytest.raises(BadInputError, match="to be 32 / 4 wide, and these are 16"):
        SglangBackend.check(wide, _spec(wide), "cpu")
    for family in ("qwen2_moe", "glm4_moe", "olmoe"):
        SglangBackend.check(_changed(tiny_model(family), tmp_path), _spec(tiny_model(family)), "cpu")


def test_a_checkpoint_without_the_tokenizers_configuration_is_refused(tiny_model):
    """sglang 0.5.23 looks for it at the model hub and ends with what that says of a path."""
    with pytest.raises(BadInputError, match=r"no tokenizer_config.json, which SGLang reads; save the tokenizer"):
        SglangBackend.check(tiny_model("olmoe"), _spec(tiny_model("olmoe")), "cpu")


def test_the_python_of_another_environment_is_named_by_a_variable(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert sglang_interpreter() is None
    assert "MOECAP_SGLANG_PYTHON" in sglang_missing()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "python"))
    assert "which is no program" in SglangBackend.unavailable()
    other = tmp_path / "python3"
    other.symlink_to(sys.executable)
    monkeypatch.setenv(VARIABLE, str(other))
    assert "which has no SGLang" in SglangBackend.unavailable()


def _encoded(rows):
    return base64.b64encode(np.asarray(rows, "<i4").tobytes()).decode()


def test_dense_layers_are_cut_out_by_the_model_and_not_by_their_zeros(tiny_model):
    """GLM4-MoE: the first of three layers is dense, and SGLang fills its row with zeros."""
    spec = _spec(tiny_model("glm4_moe"))
    rows = [[[0, 0], [0, 1], [7, 3]], [[0, 0], [2, 0], [0, 4]]]
    experts = decode_routed_experts(_encoded(rows), 2, spec)
    assert experts.tolist() == [[[0, 1], [7, 3]], [[2, 0], [0, 4]]]


def test_the_npy_files_of_vllm_are_read_too_whatever_integers_they_hold(tiny_model):
    """As vLLM 0.32 encodes them: base64 of a whole .npy file, one row a token and hidden layer."""
    spec = _spec(tiny_model("glm4_moe"))
    for kind in (np.uint8, np.uint16, np.int32):
        with io.BytesIO() as file:
            np.save(file, np.array([[[0, 0], [0, 1], [7, 3]]], kind))
            text = base64.b64encode(file.getvalue()).decode()
        assert decode_routed_experts(text, 1, spec).tolist() == [[[0, 1], [7, 3]]]
        assert "cannot be decoded" in decode_routed_experts(text[:60], 1, spec)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (_encoded(np.zeros((3, 3, 2))), "18 numbers of type int32 where 2 tokens, 3 layers and top-2 make 12"),
        (_encoded(np.full((2, 3, 2), 8)), "experts 8 to 8 of 8"),
        (_encoded(np.full((2, 3, 2), -1)), "experts -1 to -1 of 8"),
        ("!!", "cannot be decoded"),
    ],
)
def test_experts_that_are_not_those_of_the_model_are_no_experts(tiny_model, text, problem):
    assert problem in decode_routed_experts(text, 2, _spec(tiny_model("glm4_moe")))


def test_a_dense_model_has_no_routed_experts(tiny_model):
    assert "no MoE layer" in decode_routed_experts("", 0, _spec(tiny_model("dense")))
