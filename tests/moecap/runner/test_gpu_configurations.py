"""The configurations for a GPU, resolved up to the plan as on a machine that has one; no model is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest

from moecap.cli.asked import asked_values
from moecap.config import RunConfig
from moecap.errors import UsageError
from moecap.hardware.resolve import resolve_hardware
from moecap.models.registry import load_model_config
from moecap.runner import choice, plan
from moecap.runner.checkpoint import fetch_checkpoint
from moecap.settings import with_settings
from moecap_backends.transformers import TransformersBackend

METHODS = ("adapter_routing", "groundedness", "knowledge_module", "moicl", "nesydm", "spoken_lid")
FOLDER = Path(__file__).parents[3] / "benchmarks" / "methods"
FILES = [FOLDER / f"{method}_gpu.yaml" for method in METHODS]
UNPACKAGED = {"knowledge_module_gpu"}
"""Configurations whose model has no packaged config.json; the default model stands for it."""
BROUGHT = {"knowledge_module_gpu": "prompts.jsonl", "nesydm_gpu": "nesydm-data", "spoken_lid_gpu": "train.tsv"}
"""Files of the user's that a configuration names, where the test has none of their kind."""
CAPTIONS = """# sent_id = 1
# lang = en
# context = Ein Hund
# text = a dog
1\ta\ta\tDET\t_\t_\t_\t_\t_\t_
2\tdog\tdog\tNOUN\t_\t_\t_\t_\t_\t_

# sent_id = 2
# lang = en
# context = Ein Ball
# text = a ball
1\ta\ta\tDET\t_\t_\t_\t_\t_\t_
2\tball\tball\tNOUN\t_\t_\t_\t_\t_\t_
"""


@pytest.fixture
def with_gpu(monkeypatch, tmp_path):
    """A folder to run in, on what looks like one H100; the embedded model's tokenizer stands for that of each model."""

    def local(*arguments, **more):
        return replace(resolve_hardware(*arguments, **more), is_local=True, available=1, count=1)

    monkeypatch.setattr(choice, "resolve_hardware", local)
    _, embedded = load_model_config(RunConfig().model, None)
    folder = fetch_checkpoint(embedded, lambda _line: None, tokenizer_only=True)
    monkeypatch.setattr(plan, "fetch_checkpoint", lambda *_args, **_more: folder)
    monkeypatch.setattr(TransformersBackend, "check", lambda *_args: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xm3600.conllu").write_text(CAPTIONS, encoding="utf-8")


def planned(path):
    values = asked_values(path, None, None)
    if path.stem in UNPACKAGED:
        del values["model"]
    return plan.make_plan(with_settings(values, ()), lambda _line: None)


@pytest.mark.usefixtures("with_gpu")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_for_a_gpu_is_resolved_up_to_the_plan(path):
    if path.stem in BROUGHT:
        with pytest.raises(UsageError, match=BROUGHT[path.stem]):
            planned(path)
        return
    found = planned(path)
    (task,) = (task for task, _ in found.sending.tasks)
    assert path.stem == f"{task.name}_gpu"
    assert found.device == "cuda"
    assert found.config.measured
    assert found.hardware.profile.id == "h100-sxm"
