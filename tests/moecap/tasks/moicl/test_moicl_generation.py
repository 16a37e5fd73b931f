"""Generation by the mixture: one expert is ordinary greedy decoding, and equal experts are one."""

import json

import numpy as np
import pytest

from moecap.errors import BadInputError
from moecap.observations.reader import read_observations
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.answers.overlap import exact_match
from moecap.tasks.base import TaskOptions
from moecap.tasks.moicl.generation import Prefilled, greedy_answer
from moecap.tasks.moicl.task import Moicl
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def module(tiny_model):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model("mixtral"), dtype=torch.float32).eval()


def answer(module, prompts, weights):
    import torch

    with torch.inference_mode():
        return greedy_answer(Prefilled(module, prompts, "cpu"), np.array(weights), lambda _token: False)


def test_one_expert_generates_as_the_model_does(module):
    import torch

    prompt = [5, 9, 33, 12, 7]
    ids = torch.tensor([prompt])
    plain = module.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert answer(module, [prompt], [1.0]) == plain[0, len(prompt) :].tolist()


def test_equal_experts_are_one_and_their_order_does_not_matter(module):
    prompts = [[5, 9, 33, 12, 7], [8, 8, 41], [60, 3, 3, 19]]
    alone = answer(module, prompts[:1], [1.0])
    assert answer(module, [prompts[0]] * 2, [0.3, 0.7]) == alone
    assert answer(module, prompts, [1.0, 0.0, 0.0]) == alone
    assert answer(module, prompts, [0.5, 0.9, -0.4]) == answer(module, prompts[::-1], [-0.4, 0.9, 0.5])


def test_every_step_takes_the_likeliest_token_of_the_mixture(module):
    import torch

    prompts, weights = [[5, 9, 33, 12, 7], [8, 8, 41]], [0.8, 0.4]
    found = answer(module, prompts, weights)
    for place in range(3):
        logs = []
        for prompt in prompts:
            with torch.inference_mode():
                output = module(input_ids=torch.tensor([prompt + found[:place]]))
            logs.append(output.logits[0, -1].double().log_softmax(-1).numpy())
        assert found[place] == int((weights[0] * logs[0] + weights[1] * logs[1]).argmax())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    arguments = ("size=ci", "data=nq_open", "demos=3", "experts=3", "train=2", "test=2", "perturb=noise:0.6")
    options = {
        "model": str(tiny_model("mixtral")),
        "backend": "transformers",
        "precision": "fp32",
        "num_requests": 2,
        "input_len": 8,
        "output_len": 4,
        "concurrency": 1,
        "task": ("moicl",),
        "task_arg": arguments,
        "output": str(tmp_path_factory.mktemp("moicl") / "run"),
    }
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.error is None, outcome.problem
    return outcome.directory


def test_a_run_of_generated_answers_verifies_and_is_graded_again(folder):
    assert verify_run(folder).ok
    seen = read_observations(folder)
    answers = seen.tables["moicl"]["answers"]
    assert sorted(set(answers.method)) == ["concat", "nonnegative", "scalar", "uniform"]
    assert (answers.tokens <= 12).all() and len(answers) == 2 * 4
    assert seen.tables["moicl"]["experts"].query("arrangement == 'k1'").changed.tolist() == [2]
    metrics = read_result(folder).metrics
    right = [exact_match(s["answer"], s["gold"]) for s in seen.samples]
    assert metrics["accuracy.moicl"].value == metrics["task.moicl_accuracy_scalar_k3"].value == np.mean(right)
    path = folder / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["answer"], rows[0]["scores"] = rows[0]["gold"][0], {"accuracy": 1}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "not what grading its answer gives" in verify_run(folder).problem


def test_what_answers_have_no_use_for_is_refused():
    for argument in ({"perturb": "ood:0.5"}, {"labels": "yes|no"}):
        with pytest.raises(BadInputError, match="--task-arg"):
            Moicl().items(TaskOptions(None, None, {"data": "nq_open", **argument}, lambda _line: None))
