"""SGLang's real server on this machine's CPU: routing, answers and scores as transformers gives them."""

import json
import os
import shutil
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
from endings import check_endings
from reference import Reference
from tiny_models import VOCABULARY, make_model

from moecap.backend import Continuation, EngineJob, Prompt, Sampling
from moecap.errors import BadInputError, NotBuiltError, RunError
from moecap.metrics.reconstruction import reconstruct_steps
from moecap.metrics.routing_source import seen_steps
from moecap.models import embedded
from moecap.models.adapter import ADAPTER
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.models.step import step_weights
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.runner.plan import make_plan
from moecap.settings import with_settings
from moecap.telemetry import descendants
from moecap_backends.openai import OpenaiEngine
from moecap_backends.sglang import SglangBackend, SglangEngine

pytestmark = [pytest.mark.engine, pytest.mark.sglang]

MODE = "expert-distribution-recorder-mode"
FAMILIES = {
    "qwen3_moe": {MODE: "per_token"},
    "qwen2_moe": {MODE: "per_pass"},
    "glm4_moe": {MODE: "per_pass"},
    "olmoe": {},  # SGLang does not know where its experts are and refuses to start with a recorder
}


def _prompts(lengths, output=6, seed=1):
    rng = np.random.default_rng(seed)
    outputs = output if isinstance(output, list) else [output] * len(lengths)
    return [
        Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, VOCABULARY, n)), m)
        for i, (n, m) in enumerate(zip(lengths, outputs, strict=True))
    ]


def _checkpoint(family, folder, **sizes):
    """A tiny checkpoint with the tokenizer's configuration, which SGLang reads, and a template for chats."""
    make_model(family, folder, sizes=sizes)
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def _job(folder, log, **arguments):
    spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
    job = EngineJob(folder, spec, "cpu", "fp32", 2, 0, arguments, lambda _line: None)
    return replace(job, log=log, concurrency=4, longest=96)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(family, tmp_path_factory):
    sizes = {"mlp_only_layers": []} if family == "qwen3_moe" else {}  # SGLang knows no dense layers of Qwen3-MoE
    return _checkpoint(family, tmp_path_factory.mktemp("sglang") / f"tiny-{family}", **sizes)


@pytest.fixture(scope="module")
def reference(checkpoint):
    return Reference(checkpoint)


@pytest.fixture(scope="module")
def engine(family, checkpoint, sglang_python, tmp_path_factory, no_litter):
    with SglangEngine(_job(checkpoint, tmp_path_factory.mktemp("log") / "server.log", **FAMILIES[family])) as running:
        yield running


def _load(engine, prompts, concurrency, folder):
    """The answers to prompts, with what was observed."""
    recorder = Recorder(stage="load")
    answers = engine.generate(prompts, concurrency, recorder, lambda _done: None)
    recorder.write(folder)
    return answers, read_observations(folder)


def test_every_request_says_why_its_answer_ended(engine):
    check_endings(engine, _prompts([9, 17, 5], output=12, seed=3))


def test_answers_are_those_of_transformers(engine, reference, tmp_path):
    prompts = _prompts([9, 17, 5, 12], output=[6, 9, 3, 1])
    answers, seen = _load(engine, prompts, 4, tmp_path)
    assert [a.tokens for a in answers] == [reference.answer(p) for p in prompts]
    assert seen.requests["status"].tolist() == ["completed"] * 4
    assert seen.requests["input_tokens"].tolist() == [9, 17, 5, 12]
    assert seen.requests["output_tokens"].tolist() == [6, 9, 3, 1]
    assert seen.requests["cached_tokens"].tolist() == [0] * 4
    tokens = seen.chunks.groupby("request")["tokens"]
    assert tokens.max().tolist() == [6, 9, 3, 1]
    assert tokens.min().tolist() == [1] * 4


def test_each_of_several_choices_is_counted(engine, tmp_path):
    """Their tokens are told apart; of which step each is, and with which experts, is not."""
    sampling = Sampling(n=3, temperature=1.0)
    prompts = [replace(p, sampling=sampling) for p in _prompts([9, 17, 5])]
    answers, seen = _load(engine, prompts, 2, tmp_path)
    assert [len(a.tokens) for a in answers] == [6, 6, 6]
    assert seen.requests["choices"].tolist() == [3, 3, 3]
    assert seen.requests["input_tokens"].tolist() == [9, 17, 5]
    assert seen.requests["output_tokens"].tolist() == [18, 18, 18]
    bearing = seen.chunks[seen.chunks["kind"] == "content"]
    assert bearing.groupby(["request", "choice"]).size().index.tolist() == [(i, c) for i in range(3) for c in range(3)]
    assert bearing.groupby("request")["tokens"].max().tolist() == [18, 18, 18]
    assert seen.request_routing is None
    assert "several answers each" in reconstruct_steps(seen.requests, seen.chunks)


def test_the_experts_of_each_token_are_those_that_the_routers_chose(engine, reference, tmp_path):
    prompts = _prompts([11, 7, 3], output=5, seed=2)
    answers, seen = _load(engine, prompts, 2, tmp_path)
    routing = seen.request_routing
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        expected = reference.routing([*prompt.tokens, *answer.tokens[:-1]])
        own = routing.token_request == number
        assert routing.token_position[own].tolist() == list(range(len(expected)))
        assert routing.experts[own].shape == expected.shape  # MoE layers only: a dense one would be a row of zeros
        assert (np.sort(routing.experts[own], -1) == np.sort(expected, -1)).all()


def test_each_pass_that_sglang_recorded_has_the_experts_that_its_answers_name(engine, family, tmp_path):
    _, seen = _load(engine, _prompts([9, 17, 5, 12], output=[6, 9, 3, 1], seed=3), 4, tmp_path)
    if not FAMILIES[family]:
        assert engine.passes is None
        return
    passes = engine.passes
    fed = 9 + 17 + 5 + 12 + 5 + 8 + 2
    assert passes.tokens.sum() == fed == len(seen.request_routing.experts)
    for layer in range(passes.counts.shape[1]):
        named = np.bincount(seen.request_routing.experts[:, layer].ravel(), minlength=8)
        assert passes.counts[:, layer].sum(0).tolist() == named.tolist()


def test_the_steps_that_are_reconstructed_from_arrivals_are_those_that_sglang_recorded(
    engine, family, checkpoint, tmp_path
):
    if not FAMILIES[family]:
        assert engine.passes is None
        return
    prompts = _prompts([12] * 8, output=[20, 26, 22, 24, 21, 25, 23, 20], seed=4)
    spec = read_model(read_config_file(checkpoint / "config.json"), family)
    for _ in range(12):  # on a busy machine tokens may come too unevenly
        _, seen = _load(engine, prompts, 4, tmp_path)
        found, exact = seen_steps(seen, spec), engine.passes
        if found.source == "reconstructed":
            break
    assert found.source == "reconstructed", found.lockstep
    told = found.observations.steps
    distinct = told.distinct_experts.values.reshape(len(told), -1)
    assert told.tokens().sum() == exact.tokens.sum()
    assert len(told) == pytest.approx(len(exact.tokens), rel=0.1), found.lockstep
    assert distinct.mean() == pytest.approx(exact.distinct().mean(), rel=0.05), found.lockstep


def test_scores_are_those_of_transformers(engine, reference):
    context = (3, 7, 11, 19)
    greedy = reference.answer(Prompt("g", context, 2))
    targets = [greedy, (23, 29), (200, 101, 7), (5,)]
    recorder = Recorder(stage="score")
    items = [Continuation(str(i), context, target) for i, target in enumerate(targets)]
    scored = engine.score(items, recorder, lambda _done: None)
    expected = [reference.log_likelihood(context, target) for target in targets]
    assert [s.log_likelihood for s in scored] == pytest.approx([e[0] for e in expected], abs=1e-4)
    assert [s.is_greedy for s in scored] == [e[1] for e in expected]
    assert scored[0].is_greedy
    assert scored[2].tokens == pytest.approx(reference.token_log_probabilities(context, targets[2]), abs=1e-4)
    assert recorder.continuations == 4


def test_the_server_says_what_it_is(engine):
    assert engine.info.version == "0.5.23"
    assert engine.info.details["routed_experts"] == "exact, in each answer"
    assert engine.info.details["output_projection"] == "the checkpoint's own"


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    return _checkpoint("mixtral", tmp_path_factory.mktemp("tied") / "tiny-tied", tie_word_embeddings=True)


@pytest.fixture(scope="module")
def tied_engine(tied, sglang_python, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOECAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        with SglangEngine(_job(tied, tmp_path_factory.mktemp("log") / "server.log")) as running:
            yield running


def test_a_tied_model_is_served_with_a_copy_of_its_embedding(tied_engine, tied, tmp_path):
    """sglang 0.5.23: the output projection of a tied Mixtral stays zero, and each answer is token 0."""
    reference = Reference(tied)
    prompts = _prompts([9, 17, 5], output=6, seed=5)
    answers, _ = _load(tied_engine, prompts, 4, tmp_path)
    assert [a.tokens for a in answers] == [reference.answer(p) for p in prompts]
    assert tied_engine.info.details["output_projection"] == "a copy of the embedding"


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_an_attached_sglang_is_recognised_and_tells_its_experts(tied_engine, tied, tmp_path, api):
    job = replace(_job(tied, tmp_path / "log"), endpoint=f"http://{tied_engine.target.name}", arguments={"api": api})
    attached = OpenaiEngine(job)
    assert (attached.info.details["server"], attached.info.version) == ("sglang", "0.5.23")
    _, seen = _load(attached, _prompts([9, 17, 5], output=6, seed=5), 2, tmp_path)
    done = seen.requests
    assert done["output_tokens"].tolist() == [6, 6, 6]
    fed = (done["input_tokens"] + done["output_tokens"] - 1).tolist()
    assert np.bincount(seen.request_routing.token_request).tolist() == fed
    if api == "completions":
        reference = Reference(tied)
        answer = reference.answer(_prompts([9, 17, 5], output=6, seed=5)[0])
        expected = reference.routing([*_prompts([9, 17, 5], seed=5)[0].tokens, *answer[:-1]])
        assert (np.sort(seen.request_routing.experts[:14], -1) == np.sort(expected, -1)).all()


def test_a_server_that_is_killed_during_a_load_ends_the_load_and_is_named(tied_engine, tmp_path):
    """Last of this server: it is gone afterwards."""
    family = descendants(tied_engine._server._process.pid)
    recorder = Recorder(stage="load")
    timer = threading.Timer(0.3, lambda: [os.kill(pid, signal.SIGKILL) for pid in family])
    timer.start()
    with pytest.raises(RunError, match="SGLang ended during the load"):
        tied_engine.generate(_prompts([9] * 4, output=230), 4, recorder, lambda _done: None)
    assert {r.status for r in recorder.requests} == {"failed"}


def test_a_server_that_does_not_start_ends_in_its_own_words(sglang_python, tiny_model, tmp_path):
    with pytest.raises(RunError, match=r"ended with status .*unrecognized arguments: --frobnicate"):
        SglangEngine(_job(tiny_model("olmoe"), tmp_path / "server.log", frobnicate="3"))


@pytest.mark.slow
def test_the_embedded_model_answers_and_routes_as_in_transformers(sglang_python, tmp_path):
    folder = embedded.ensure()
    spec = read_model(embedded.config(), embedded.NAME, weights="fp32", kv="fp32")
    prompts = _prompts([24, 40], output=8, seed=6)
    job = replace(_job(folder, tmp_path / "server.log"), spec=spec)
    with SglangEngine(job) as engine:
        answers, seen = _load(engine, prompts, 2, tmp_path)
        scored = engine.score([Continuation("a", (3, 7, 11), (23, 29))], Recorder(stage="score"), lambda _done: None)
    reference = Reference(folder)
    assert [a.tokens for a in answers] == [reference.answer(p) for p in prompts]
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        expected = reference.routing([*prompt.tokens, *answer.tokens[:-1]])
        own = seen.request_routing.experts[seen.request_routing.token_request == number]
        assert (np.sort(own, -1) == np.sort(expected, -1)).mean() > 0.999
    assert scored[0].log_likelihood == pytest.approx(reference.log_likelihood((3, 7, 11), (23, 29))[0], abs=1e-3)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A tiny Qwen3-MoE, an adapter of rank 4 on its attention, and the model with it merged into the weights."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("adapter")
    base = _checkpoint("qwen3_moe", folder / "tiny-qwen3_moe", mlp_only_layers=[])
    weights, drawn = load_file(base / "model.safetensors"), torch.Generator().manual_seed(3)
    targets = ["o_proj", "q_proj", "v_proj"]
    merged, stored = dict(weights), {}
    for name, weight in weights.items():
        if name.endswith(tuple(f"{target}.weight" for target in targets)):
            rows, columns = weight.shape
            a, b = (torch.randn(shape, generator=drawn) * 0.3 for shape in ((4, columns), (rows, 4)))
            merged[name] = weight + 8 / 4 * (b @ a)  # alpha over the rank
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            stored |= {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
    made = folder / "adapter"
    made.mkdir()
    save_file(stored, made / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": targets}
    (made / "adapter_config.json").write_text(json.dumps(config | {"task_type": "CAUSAL_LM"}))
    whole = shutil.copytree(base, folder / "merged")
    save_file(merged, whole / "model.safetensors", metadata={"format": "pt"})
    return base, made, whole


def _adapted_job(folder, log, adapter):
    config = SglangBackend.served_config(read_config_file(folder / "config.json"), {"lora-paths": str(adapter)})
    spec = read_model(config, folder.name, weights="fp32", kv="fp32")
    return replace(_job(folder, log, **{"lora-paths": str(adapter)}), spec=spec)


def test_with_an_adapter_answers_experts_and_scores_are_those_of_the_merged_weights(adapter, sglang_python, tmp_path):
    base, made, whole = adapter
    prompts = _prompts([9, 17, 5])
    merged = Reference(whole)
    assert [merged.answer(p) for p in prompts] != [Reference(base).answer(p) for p in prompts]
    with SglangBackend().open(_adapted_job(base, tmp_path / "server.log", made)) as running:
        answers, seen = _load(running, prompts, 2, tmp_path)
        scored = running.score([Continuation("c", (3, 7, 11), (5, 2))], Recorder(stage="score"), lambda _done: None)
    assert [a.tokens for a in answers] == [merged.answer(p) for p in prompts]
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        own = seen.request_routing.experts[seen.request_routing.token_request == number]
        assert np.array_equal(np.sort(own, -1), np.sort(merged.routing([*prompt.tokens, *answer.tokens[:-1]]), -1))
    assert scored[0].log_likelihood == pytest.approx(merged.log_likelihood((3, 7, 11), (5, 2))[0], abs=1e-3)
    assert running.info.details["adapter"].startswith("adapter: rank 4 on o_proj, q_proj, v_proj; SHA-256 ")


def test_an_adapter_of_another_model_is_refused(adapter, sglang_python, tmp_path):
    base, made, _ = adapter
    other = _checkpoint("qwen3_moe", tmp_path / "other", mlp_only_layers=[], hidden_size=64)
    with pytest.raises(BadInputError, match=r"o_proj\.lora_B\.weight is \(32, 4\), for this model it is \(64, 4\)"):
        SglangBackend().open(_adapted_job(other, tmp_path / "server.log", made))
    with pytest.raises(BadInputError, match="lora-paths=/no/such: no such folder; name that of one adapter"):
        SglangBackend.served_config({}, {"lora-paths": "/no/such"})
    with pytest.raises(NotBuiltError, match="engine argument lora-backend: a run does not count what it changes"):
        SglangBackend().open(_job(base, tmp_path / "server.log", **{"lora-backend": "triton"}))


def test_a_run_counts_the_adapter_and_keeps_what_it_counts_in_its_model(adapter, sglang_python):
    base, made, _ = adapter
    options = {"model": str(base), "backend": "sglang", "precision": "fp32", "task": ["none"]}
    asked = with_settings(options | {"engine_arg": [f"lora-paths={made}"]}, ())
    plan = make_plan(asked, lambda _line: None)
    assert plan.model_config[ADAPTER] == {"rank": 4, "targets": ["o_proj", "q_proj", "v_proj"]}
    whole = read_model(plan.model_config, "tiny", weights="fp32")
    alone = read_model(read_config_file(base / "config.json"), "tiny", weights="fp32")
    assert step_weights(plan.spec).attention == step_weights(whole).attention
    # q_proj and o_proj join 32 and 4 heads of 8, v_proj 32 and 2 heads of 8; three layers, four bytes
    more = 3 * 4 * (2 * (4 * 32 + 32 * 4) + (4 * 32 + 16 * 4))
    assert step_weights(whole).attention - step_weights(alone).attention == more
