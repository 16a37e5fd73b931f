"""What a user states of a server that runs already: its devices, their split and its number formats."""

import json
import shutil

import pytest

from moecap.errors import BadInputError, NotBuiltError
from moecap.facts import result_facts
from moecap.load.calibration import running_stub
from moecap.models.parallelism import Parallelism
from moecap.result import write_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine

FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}


@pytest.fixture(scope="module")
def stub():
    with running_stub(0.02, 0.005) as target:
        yield f"http://{target.name}/v1"


@pytest.fixture
def quantised(tiny_model, tmp_path):
    """The folder of a checkpoint whose config says that it is in fp8; a server has the weights."""
    folder = tmp_path / "tiny-fp8"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(tiny_model("mixtral") / name, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": FP8, "dtype": "bfloat16"}))
    return str(folder)


@pytest.fixture
def attached(run_options, stub, quantised):
    """A function from options to the outcome of a run on two H100 behind the endpoint."""

    def start(**changes):
        own = {"model": quantised, "endpoint": stub, "backend": "auto", "hw": "h100", "precision": "auto"}
        outcome = run(with_settings(run_options | own | {"num_gpus": 2} | changes, ()), Reporter(quiet=True))
        assert outcome.error is None
        return outcome

    return start


def test_a_server_with_a_quantised_checkpoint_has_the_checkpoints_own_formats(attached):
    outcome = attached(engine_arg=["kv-cache-dtype=fp8"])
    model = outcome.result.model
    assert (model.quantised, model.weight_dtype, model.kv_dtype) == (True, "fp8+bf16", "fp8")
    assert model.weight_dtypes["experts"] == model.compute_dtypes["experts"] == "fp8"
    assert model.weight_dtypes["lm_head"] == model.compute_dtypes["lm_head"] == "bf16"
    assert verify_run(outcome.directory).ok


def test_precision_is_the_format_of_what_a_checkpoint_leaves_unquantised(attached, tmp_path):
    model = attached(precision="fp16").result.model
    assert (model.weight_dtype, model.weight_dtypes["router"], model.kv_dtype) == ("fp8+fp16", "fp16", "fp16")
    with pytest.raises(BadInputError, match="the checkpoint is quantised by itself"):
        attached(precision="fp8", output=str(tmp_path / "other"))


def test_a_format_may_be_written_out(attached):
    outcome = attached(precision="bfloat16")
    assert outcome.result.model.compute_dtype == "bf16"
    assert verify_run(outcome.directory).ok


def test_the_stated_devices_and_ranks_are_those_of_the_result(attached):
    outcome = attached()
    result = outcome.result
    assert (result.hardware.count, result.workload.num_gpus, result.workload.tensor_parallel) == (2, 2, 2)
    facts = result_facts(result)
    assert (facts.devices, facts.parallelism) == (2, Parallelism(tensor=2))
    rate, each = (result.metrics[f"output_tokens_per_second{name}"].value for name in ("", "_per_device"))
    assert rate == pytest.approx(2 * each)
    assert "--num-gpus 2 --tensor-parallel 2" in result.provenance.command
    assert verify_run(outcome.directory).ok


def test_ranks_that_a_run_did_not_have_are_found(attached):
    outcome = attached()
    forged = outcome.result.workload.model_copy(update={"tensor_parallel": 1})
    write_result(outcome.directory, outcome.result.model_copy(update={"workload": forged}).identified())
    assert not verify_run(outcome.directory).ok


def test_a_backend_that_holds_one_format_refuses_a_quantised_checkpoint(attached):
    options = {"backend": "transformers", "endpoint": None, "hw": "host", "num_gpus": None}
    with pytest.raises(NotBuiltError, match=r"backend 'transformers' counts one format.*own: .*openai.*vllm"):
        attached(**options)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"quantised": False}, "model.quantised"),
        ({"weight_dtype": "bf16"}, "model.weight_dtype"),
        ({"kv_dtype": "fp8"}, "model.kv_dtype"),
        ({"weight_dtypes": {}}, "model.weight_dtypes.experts"),
        ({"compute_dtypes": {"experts": "bf16"}}, "model.compute_dtypes.experts"),
    ],
)
def test_formats_that_the_checkpoint_does_not_have_are_found(attached, change, named):
    outcome = attached()
    forged = outcome.result.model_copy(update={"model": outcome.result.model.model_copy(update=change)})
    write_result(outcome.directory, forged.identified())
    found = verify_run(outcome.directory)
    assert not found.ok
    assert found.problem or named in {difference.metric for difference in found.differences}
