"""The backend for endpoints, attached to a llama.cpp server that really runs."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import VOCABULARY

from moecap.backend import Prompt, Sampling
from moecap.load.connection import Target
from moecap.observations.recorder import Recorder
from moecap_backends.llamacpp import LlamacppBackend
from moecap_backends.openai import OpenaiBackend, detect_server

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def job(ascii_model, llamacpp_job, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOECAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield llamacpp_job(ascii_model("mixtral"), tmp_path_factory.mktemp("log") / "server.log")


@pytest.fixture(scope="module")
def server(job):
    with LlamacppBackend().open(job) as running:
        yield running


@pytest.fixture(scope="module", params=["completions", "chat"])
def attached(request, job, server):
    asked = replace(job, endpoint=f"http://{server.target.name}/v1", arguments={"api": request.param}, longest=200)
    with OpenaiBackend().open(asked) as engine:
        yield engine


def _prompts(count, **how):
    rng = np.random.default_rng(3)
    sampling = Sampling(**how)
    return [
        Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, VOCABULARY - 1, 12)), 6, sampling) for i in range(count)
    ]


def _sent(engine, prompts, concurrency=2):
    recorder = Recorder(stage="load")
    engine.generate(prompts, concurrency, recorder, lambda _done: None)
    return recorder.requests


def test_the_server_is_recognised(server, attached):
    found = detect_server(Target.parse(f"http://{server.target.name}"))
    assert found.kind == "llamacpp"
    assert attached.info.details["server"] == "llamacpp"
    assert attached.info.details["served_name"] == "moecap"


def test_every_request_is_answered_though_the_server_closes_each_connection(attached):
    """It says that it keeps a connection and closes it after a streamed answer: the second wave would fail."""
    requests = _sent(attached, _prompts(9))
    assert [r.error for r in requests] == [None] * 9
    assert [r.output_tokens for r in requests] == [6] * 9


def test_no_prompt_is_taken_from_its_cache_though_that_is_on_by_default(attached):
    requests = _sent(attached, _prompts(1) * 3, concurrency=1)
    assert [r.cached_tokens for r in requests] == [0, 0, 0]


def test_the_tokens_of_all_choices_are_counted_though_each_usage_counts_one(attached):
    requests = _sent(attached, _prompts(3, n=2, temperature=1.0))
    assert [r.output_tokens for r in requests] == [12, 12, 12]


def test_greedy_texts_of_completions_are_those_of_its_own_backend(server, job, monkeypatch):
    prompts, texts = _prompts(4), []
    own = server.generate(prompts, 2, Recorder(stage="load"), lambda _done: None)
    with OpenaiBackend().open(replace(job, endpoint=f"http://{server.target.name}", arguments={})) as engine:
        original = engine.decode

        def decode(reply):
            texts.append(original(reply).text)
            return original(reply)

        monkeypatch.setattr(engine, "decode", decode)
        _sent(engine, prompts, concurrency=1)
        assert texts == [engine.tokenizer.decode(answer.tokens).replace(" ", "") for answer in own]
