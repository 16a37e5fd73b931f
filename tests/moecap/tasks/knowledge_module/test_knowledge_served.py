"""A module that was trained in this process, served by vLLM beside its model.

The model is a dense one: with adapters switched on, vLLM takes a kernel for experts that its CPU build does not have.
"""

import json
import urllib.request
from dataclasses import replace

import pytest
from tiny_models import make_model

from moecap.backend import Continuation, EngineJob, Prompt
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer
from moecap_backends.openai import OpenaiBackend
from moecap_backends.transformers import TransformersEngine

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

RANK = 8


def _scores(engine, given):
    return [scored.log_likelihood for scored in engine.score(given, Recorder(), lambda _done: None)]


def _answers(engine, given):
    """Greedy answers of eight tokens."""
    prompts = [Prompt(c.id, c.context, 8) for c in given]
    return [answer.tokens for answer in engine.generate(prompts, 1, Recorder(), lambda _done: None)]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    heads = {"head_dim": 32, "num_attention_heads": 2, "hidden_size": 64}  # which vLLM's CPU kernels know
    folder = make_model("dense", tmp_path_factory.mktemp("served") / "tiny-llama", sizes=heads)
    spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
    return EngineJob(folder, spec, "cpu", "fp32", 1, 0, {}, lambda _line: None)


@pytest.fixture(scope="module")
def given(job, story):
    """Questions with their answers as token ids."""
    tokenizer = Tokenizer(job.model)
    pairs = [("How many geese?", "Nine"), ("Where does Tom sell eggs?", "In Lund on Fridays")]
    return [Continuation(c, tokenizer.encode(c), tokenizer.encode(a)) for c, a in pairs]


@pytest.fixture(scope="module")
def in_process(job, given, story, tmp_path_factory):
    """The folder of a module that was trained on the story, with the scores and answers bare and with it."""
    from moecap.tasks.knowledge_module.adapters import Adapters
    from moecap.tasks.knowledge_module.teacher import Teacher
    from moecap.tasks.knowledge_module.texts import chunks, lessons
    from moecap.tasks.knowledge_module.training import Schedule, train_module

    tokenizer, folder = Tokenizer(job.model), tmp_path_factory.mktemp("module") / "story"
    with TransformersEngine(job) as engine:
        without = _scores(engine, given), _answers(engine, given)
        with engine.in_process().borrowed() as module:
            adapters = Adapters(module, RANK, RANK, "attention", "tiny-llama")
            weights = adapters.add("km", 0)
            adapters.use("km", train="km")
            taught = lessons("ddcd", tokenizer, chunks(tokenizer, story, 120), [], 40, 0)
            teacher = Teacher(module, adapters.bare, 10**9)
            train_module(
                module,
                weights,
                taught,
                teacher,
                Schedule(20, 2, 5e-2, 20),
                0,
                lambda on: adapters.use("km", train="km" if on else None),
            )
            adapters.use("km")
            adapters.save("km", folder)
            trained = _scores(engine, given), _answers(engine, given)
    assert min(abs(a - b) for a, b in zip(without[0], trained[0], strict=True)) > 0.05
    return folder, without, trained


@pytest.fixture(scope="module")
def endpoint(job, in_process, tmp_path_factory):
    """A server of vLLM with the model as ``tiny`` and its module as ``km``."""
    from moecap_backends.server_process import ServerProcess, free_port
    from moecap_backends.vllm_arguments import server_command, server_variables

    port = free_port()
    words = {
        "model": job.model,
        "served-model-name": "tiny",
        "host": "127.0.0.1",
        "port": port,
        "dtype": "float32",
        "max-model-len": 256,
        "max-lora-rank": RANK,
        "lora-modules": f"km={in_process[0]}",
    }
    command = [*server_command(), *(str(word) for pair in words.items() for word in (f"--{pair[0]}", pair[1]))]
    server = ServerProcess(
        "vLLM",
        [*command, "--enable-lora", "--enforce-eager"],
        variables=server_variables(job),
        log=tmp_path_factory.mktemp("log") / "server.log",
        health=f"http://127.0.0.1:{port}/health",
        deadline=900.0,
    )
    try:
        server.wait_until_ready(lambda _line: None)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def _served_scores(endpoint, served, given):
    """Log-likelihoods of the answers by vLLM's own ``prompt_logprobs``."""
    found = []
    for c in given:
        body = {"model": served, "prompt": [*c.context, *c.target], "max_tokens": 1, "prompt_logprobs": 0}
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{endpoint}/v1/completions", json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=300) as reply:
            told = json.load(reply)["choices"][0]["prompt_logprobs"][len(c.context) :]
        found.append(sum(entry[str(token)]["logprob"] for entry, token in zip(told, c.target, strict=True)))
    return found


@pytest.mark.parametrize("served", ["tiny", "km"])
def test_vllm_scores_and_answers_with_the_module_as_this_process_does(job, in_process, endpoint, given, served):
    _, *by_model = in_process
    scores, answers = by_model[served == "km"]
    assert _served_scores(endpoint, served, given) == pytest.approx(scores, abs=2e-3)
    with OpenaiBackend().open(replace(job, endpoint=endpoint, arguments={"model": served})) as engine:
        assert _answers(engine, given) == answers
