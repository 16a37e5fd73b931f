"""An attached vLLM that tells the routed experts by itself, for real: its second model runner on this processor."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference import Reference
from tiny_models import VOCABULARY, make_model

from moecap.backend import Prompt
from moecap.errors import BadInputError
from moecap.metrics.routing_source import seen_steps
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap_backends.openai import OpenaiEngine
from moecap_backends.server_process import ServerProcess, free_port

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

TRITON = Path(__file__).parents[1] / "vllm_native"
MODULE = "vllm.entrypoints.openai.api_server"
FLAGS = (
    "--dtype float32 --max-model-len 256 --max-num-seqs 8 --enforce-eager --enable-return-routed-experts "
    "--enable-scale-out --enable-prompt-tokens-details --served-model-name tiny --host 127.0.0.1"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    sizes = {"head_dim": 32, "num_attention_heads": 2, "hidden_size": 64}
    return make_model("mixtral", tmp_path_factory.mktemp("native") / "tiny-mixtral", sizes=sizes)


@pytest.fixture(scope="module")
def url(checkpoint, tmp_path_factory):
    port = free_port()
    server = ServerProcess(
        "vLLM",
        [sys.executable, "-m", MODULE, "--model", str(checkpoint), "--port", str(port), *FLAGS.split()],
        variables={
            "PYTHONPATH": str(TRITON),
            "TRITON_INTERPRET": "1",
            "VLLM_USE_V2_MODEL_RUNNER": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        log=tmp_path_factory.mktemp("log") / "server.log",
        health=f"http://127.0.0.1:{port}/health",
        deadline=900,
    )
    server.wait_until_ready(lambda _line: None)
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(scope="module")
def engine(url, checkpoint, vllm_job, tmp_path_factory):
    job = replace(vllm_job(checkpoint, tmp_path_factory.mktemp("job") / "log"), arguments={}, endpoint=url)
    return OpenaiEngine(job), job


def test_its_experts_are_those_of_transformers_and_its_steps_are_reconstructed(engine, checkpoint, tmp_path):
    attached, job = engine
    assert attached.info.details["api"] == "generate"
    rng = np.random.default_rng(1)
    prompts = [Prompt(f"p{i}", tuple(rng.integers(0, VOCABULARY, n).tolist()), 8) for i, n in enumerate((9, 14, 5))]
    recorder = Recorder(stage="load")
    answers = attached.generate(prompts, 3, recorder, lambda _done: None)
    recorder.write(tmp_path)
    observations = read_observations(tmp_path)
    told, reference = observations.request_routing, Reference(checkpoint)
    assert told is not None
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        assert answer.tokens == reference.answer(prompt)
        expected = reference.routing([*prompt.tokens, *answer.tokens[:-1]])
        rows = told.token_request == number
        assert told.token_position[rows].tolist() == list(range(len(expected)))
        assert (np.sort(told.experts[rows], -1) == np.sort(expected, -1)).all()
    seen = seen_steps(observations, job.spec)
    steps = seen.observations.steps
    assert seen.source in ("reconstructed", "estimated")  # by how evenly this machine lets the tokens come
    assert steps.tokens().sum() == 9 + 14 + 5 + 3 * 7
    # no step can hold more distinct experts than all tokens together selected, nor fewer than one token does
    assert 2 <= steps.distinct_experts.values.min() <= steps.distinct_experts.values.max() <= 8


def test_another_way_to_ask_is_taken_where_the_user_says_so(engine):
    _, job = engine
    chosen = OpenaiEngine(replace(job, arguments={"api": "completions"}))
    assert chosen.info.details["api"] == "completions"
    recorder = Recorder(stage="load")
    chosen.generate([Prompt("p", (1, 2, 3), 2)], 1, recorder, lambda _done: None)
    assert recorder.requests[0].status == "completed"
    assert recorder.capture is None


def test_a_way_that_the_server_has_not_is_refused(engine):
    _, job = engine
    with pytest.raises(BadInputError, match="api=tokens: not one of completions, chat, generate"):
        OpenaiEngine(replace(job, arguments={"api": "tokens"}))
