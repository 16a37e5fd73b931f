"""Mixtures of in-context learners on a served engine: the same scores as in process, and no steps to tell costs by."""

import numpy as np
import pytest

from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.base import TaskOptions
from moecap.tasks.moicl.task import Moicl
from moecap.tokenizer import Tokenizer
from moecap.verification.recomputation import verify_run
from moecap_backends.transformers import TransformersEngine

pytestmark = pytest.mark.engine

ARGUMENTS = {"size": "ci", "demos": "2", "experts": "2", "train": "2", "test": "2"}


@pytest.fixture
def snippets(tmp_path):
    rng = np.random.default_rng(0)
    words = ["fine", "dull", "plot", "actor", "scene", "story", "song"]
    lines = [f"{i}\t{2 - 4 * (i % 2)}\t{' '.join(rng.choice(words, 5))} {i}" for i in range(30)]
    (tmp_path / "movieReviewSnippets_GroundTruth.txt").write_text("\n".join(lines))
    return tmp_path


def test_a_server_gives_the_scores_of_the_same_weights_in_process(ascii_model, job_for, snippets):
    model = ascii_model("olmoe")
    options = {
        "model": str(model),
        "backend": "llamacpp",
        "precision": "fp32",
        "num_requests": 2,
        "input_len": 8,
        "output_len": 4,
        "concurrency": 1,
        "task": ("moicl",),
        "task_arg": tuple(f"{name}={value}" for name, value in ARGUMENTS.items()),
        "data": str(snippets),
        "dataset": str(snippets / "prompts.jsonl"),
        "output": str(snippets / "run"),
    }
    (snippets / "prompts.jsonl").write_text(f'{{"prompt": "{"abc" * 20}"}}\n' * 4)
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.error is None, outcome.problem
    folder = outcome.directory
    assert verify_run(folder, snippets).ok
    served = read_observations(folder).tables["moicl"]["scores"]

    task, recorder, tokenizer = Moicl(), Recorder(stage="score", capture="hook"), Tokenizer(model)
    items = task.items(TaskOptions(None, snippets, ARGUMENTS, lambda _line: None))
    with TransformersEngine(job_for(model)) as engine:
        list(task.run(items, engine, tokenizer, recorder, lambda _done: None))
    recorder.write(snippets)
    here = read_observations(snippets).tables["moicl"]["scores"]
    assert served.drop(columns="log_probability").equals(here.drop(columns="log_probability"))
    assert np.abs(served.log_probability - here.log_probability).max() < 0.05  # the server's KV cache is fp16

    metrics = read_result(folder).metrics
    assert metrics["task.moicl_latency_k2"].value > 0
    assert metrics["task.moicl_experts_activated_k2"].value is None
