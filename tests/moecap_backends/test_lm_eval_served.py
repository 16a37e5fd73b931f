"""lm-eval's tasks on a served engine against lm-eval's own client of the same server (``local-completions``)."""

from __future__ import annotations

import pytest
from lm_eval_models import finish_tokenizer, instances
from tiny_models import make_model

from moecap.observations.recorder import Recorder
from moecap.tasks.lm_eval.model import EngineModel, load_tokenizer

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

CONTEXT = 128
SIZES = {
    "head_dim": 32,
    "num_attention_heads": 2,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "vocab_size": 258,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "max_position_embeddings": CONTEXT,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return finish_tokenizer(make_model("mixtral", tmp_path_factory.mktemp("served") / "tiny-served", sizes=SIZES))


@pytest.fixture(scope="module")
def engine(checkpoint, vllm_job, tmp_path_factory):
    from moecap_backends.vllm import VllmEngine

    log = tmp_path_factory.mktemp("log") / "server.log"
    job = vllm_job(checkpoint, log, **{"max-model-len": str(CONTEXT)})
    with VllmEngine(job) as running:
        yield running


@pytest.fixture
def own(engine, checkpoint):
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    return LocalCompletionsAPI(
        model=engine.model,
        base_url=f"http://{engine.target.name}/v1/completions",
        tokenizer=str(checkpoint),
        max_length=CONTEXT,
        add_bos_token=True,  # as the tokenizer itself does, and `hf` with it
    )


@pytest.fixture
def ours(engine, checkpoint):
    recorder = Recorder(stage="score")
    # one token of the context is left for the answer that a server must give, as the client leaves it
    model = EngineModel.of(engine, load_tokenizer(checkpoint), recorder, max_length=CONTEXT - 2, concurrency=2)
    return model, recorder


PAIRS = [("The sky is", " blue"), ("Two and two ", "are four"), ("", "Alone"), ("word " * 40, "and the end")]


def test_likelihoods_are_those_of_local_completions(own, ours):
    model, recorder = ours
    expected = own.loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    found = model.loglikelihood(instances("loglikelihood", PAIRS), disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert model.cut == 1 and recorder.continuations == len(PAIRS) and recorder.steps > 0


def test_answers_are_those_of_local_completions(own, ours):
    model, recorder = ours
    contexts = ["Once", "Question: 1 + 1?\nAnswer:", "abc"]
    free = own.generate_until(
        instances("generate_until", [(c, {"until": [], "max_gen_toks": 16}) for c in contexts]), disable_tqdm=True
    )
    asked = [(c, {"until": [text[4:6] or "#"], "max_gen_toks": 16}) for c, text in zip(contexts, free, strict=True)]
    expected = own.generate_until(instances("generate_until", asked), disable_tqdm=True)
    assert expected != free
    assert model.generate_until(instances("generate_until", asked), disable_tqdm=True) == expected
    assert [record.status for record in recorder.requests] == ["completed"] * 3
    assert {record.finish_reason for record in recorder.requests} <= {"stop", "length"}
