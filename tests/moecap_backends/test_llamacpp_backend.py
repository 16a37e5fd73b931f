"""llama.cpp's real server on this machine's CPU: answers and scores as transformers gives them, and every failure."""

import json
import os
import shutil
import signal
import sys
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from endings import check_endings
from tiny_models import VOCABULARY

from moecap.backend import Continuation, Prompt, Sampling
from moecap.errors import BadInputError, NotBuiltError, RunError, UnknownNameError
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.telemetry import descendants
from moecap_backends.gguf_files.export import write_gguf
from moecap_backends.llamacpp import LlamacppBackend
from moecap_backends.router_capture import ROUTER

pytestmark = pytest.mark.engine

END = VOCABULARY - 1
"""The end token of the tiny models, which llama.cpp never answers where the end is to be ignored."""

NEAR_TIE = 0.02
"""Nats between two tokens, or between the scores of the last expert that a router takes and the first that it leaves,
below which the fp16 KV cache may turn them."""


def _prompts(lengths, output=8, seed=1):
    rng = np.random.default_rng(seed)
    return [Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, END, n)), output) for i, n in enumerate(lengths)]


@pytest.fixture(scope="module", params=["mixtral", "qwen3_moe", "olmoe", "dense"])
def checkpoint(request, ascii_model):
    return ascii_model(request.param)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOECAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def engine(checkpoint, llamacpp_job, cache, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.log"
    with LlamacppBackend().open(llamacpp_job(checkpoint, log)) as running:
        yield running


@pytest.fixture(scope="module")
def reference(checkpoint):
    """The same weights in transformers, fp32: from tokens to log-probabilities and to the routers' narrowest choices.

    Returns [tokens, vocabulary] and [tokens], the latter infinite where the model has no router.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    scores = []
    for module in model.modules():
        if ROUTER.search(type(module).__name__):
            module.register_forward_hook(lambda _m, _i, out: scores.append(out[0]))

    def forward(tokens):
        scores.clear()
        with torch.inference_mode():
            logp = model(torch.tensor([list(tokens)])).logits[0].log_softmax(-1).numpy().copy()
        narrowest = np.full(len(logp), np.inf)
        for layer in scores:
            best = layer.reshape(len(logp), -1).sort(-1, descending=True).values
            narrowest = np.minimum(narrowest, (best[:, 1] - best[:, 2]).numpy())
        return logp, narrowest

    return forward


def _parted(prompt, answer, reference):
    """Where an answer leaves the greedy one, and the narrowest choice up to there; ``None`` if nowhere."""
    logp, routers = reference([*prompt.tokens, *answer])
    first = len(prompt.tokens) - 1
    rows = logp[first:-1]
    rows[:, END] = -np.inf
    gaps = rows.max(1) - rows[np.arange(len(answer)), list(answer)]
    return next(
        ((i, min(float(gap), float(routers[: first + i + 1].min()))) for i, gap in enumerate(gaps) if gap > 0), None
    )


def test_every_request_says_why_its_answer_ended(engine):
    check_endings(engine, _prompts([9, 17, 5], output=12, seed=3))


def test_greedy_answers_are_those_of_transformers_but_for_near_ties(engine, reference):
    prompts = _prompts([9, 17, 5, 12, 30, 3])
    answers = engine.generate(prompts, 4, Recorder(stage="load"), lambda _done: None)
    parted = [_parted(p, a.tokens, reference) for p, a in zip(prompts, answers, strict=True)]
    print(f"{parted.count(None)} of {len(parted)} answers equal; parted: {parted}")  # noqa: T201  (the rate, with -s)
    assert [len(a.tokens) for a in answers] == [8] * 6
    assert all(found is None or found[1] < NEAR_TIE for found in parted)
    assert parted.count(None) >= 5


def test_each_request_is_recorded_with_the_servers_counts(engine, tmp_path):
    recorder = Recorder(stage="load")
    engine.generate(_prompts([9, 17, 5, 12, 30]), 2, recorder, lambda _done: None)
    recorder.write(tmp_path)
    seen = read_observations(tmp_path)
    assert seen.requests["status"].tolist() == ["completed"] * 5
    assert seen.requests["input_tokens"].tolist() == [9, 17, 5, 12, 30]
    assert seen.requests["output_tokens"].tolist() == [8] * 5
    assert seen.requests["cached_tokens"].tolist() == [0] * 5
    assert seen.requests["answer_sha256"].notna().all()
    bearing = seen.chunks[seen.chunks["kind"] == "content"]
    assert bearing.groupby("request")["tokens"].apply(list).tolist() == [list(range(1, 9))] * 5
    assert "ms a token after it" in engine.info.details["server_times"]


def test_each_of_several_choices_is_counted_in_a_slot_of_its_own(ascii_model, llamacpp_job, cache, tmp_path):
    sampling = Sampling(n=3, temperature=1.0, seed=4)
    job = replace(llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log"), sampling=sampling, concurrency=2)
    recorder = Recorder(stage="load")
    with LlamacppBackend().open(job) as running:
        assert running.info.details["slots"] == "6"
        prompts = [replace(p, sampling=sampling) for p in _prompts([9, 17, 5, 12])]
        answers = running.generate(prompts, 2, recorder, lambda _done: None)
    recorder.write(tmp_path)
    seen = read_observations(tmp_path)
    assert [len(a.tokens) for a in answers] == [8] * 4
    assert seen.requests["status"].tolist() == ["completed"] * 4
    assert seen.requests["input_tokens"].tolist() == [9, 17, 5, 12]
    assert seen.requests["output_tokens"].tolist() == [24] * 4
    bearing = seen.chunks[seen.chunks["kind"] == "content"]
    assert bearing.groupby(["request", "choice"]).size().tolist() == [8] * 12
    assert bearing.groupby("request")["tokens"].apply(list).tolist() == [list(range(1, 25))] * 4


def test_a_repeated_prompt_is_fed_again_unless_a_cache_is_allowed(ascii_model, llamacpp_job, cache, tmp_path):
    """Its prompt cache is on in llama.cpp, where nobody asks for it."""
    prompts = _prompts([40]) * 2
    for allowed in (False, True):
        job = replace(llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log"), prefix_cache=allowed)
        recorder = Recorder(stage="load")
        with LlamacppBackend().open(job) as running:
            running.generate(prompts, 1, recorder, lambda _done: None)
        assert [r.cached_tokens for r in recorder.requests] == [0, 39 if allowed else 0]


def test_scores_are_those_of_transformers(engine, reference):
    context, answers = (3, 7, 11, 19), [(23, 29), (200, 101, 7), (5,)]
    best = int(reference(context)[0][-1].argmax())
    targets = [*answers, (best,)]
    told = []
    scored = engine.score([Continuation(str(t), context, t) for t in targets], Recorder(stage="score"), told.append)
    for target, score in zip(targets, scored, strict=True):
        rows = reference([*context, *target])[0][len(context) - 1 : -1]
        expected = [float(row[token]) for row, token in zip(rows, target, strict=True)]
        assert score.tokens == pytest.approx(expected, abs=0.02)
        assert score.log_likelihood == pytest.approx(sum(expected), abs=0.02)
        assert score.is_greedy == all(row.argmax() == token for row, token in zip(rows, target, strict=True))
    assert scored[-1].is_greedy
    assert told[-1] == len(targets)


def test_an_answer_ends_where_its_sampling_says(ascii_model, llamacpp_job, cache, tmp_path):
    """Drawn answers differ by their seed and repeat with it; nothing is drawn where the temperature is 0."""
    folder = ascii_model("mixtral")
    with LlamacppBackend().open(llamacpp_job(folder, tmp_path / "server.log")) as running:

        def answer(**how):
            prompt = replace(_prompts([9], output=24)[0], sampling=Sampling(**how))
            return running.generate([prompt], 1, Recorder(stage="load"), lambda _done: None)[0].tokens

        assert answer() == answer()
        assert answer(temperature=1.5, seed=1) == answer(temperature=1.5, seed=1)
        assert answer(temperature=1.5, seed=1) != answer(temperature=1.5, seed=2)
        greedy = answer()
        texts = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        fifth = next(text for text, i in texts.items() if i == greedy[4])
        assert len(answer(stop=(fifth,))) <= 5


def test_what_the_engine_says_of_itself(engine, checkpoint):
    info = engine.info
    assert info.name == "llamacpp"
    assert info.version == "xllamacpp 2026.10.11549"
    assert (info.weight_dtype, info.kv_dtype, info.compute_dtype) == ("gguf-fp32", "fp16", "fp32")
    assert info.timer == "none"  # it gives no record of its steps
    assert info.details["gguf_type"] == "all F32"
    assert info.details["slots"] == "4"
    assert info.step_tokens == 512


def test_where_experts_lie_is_declared_and_moves_nothing_on_a_cpu(ascii_model, llamacpp_job, cache, tmp_path):
    arguments = {"n-cpu-moe": "2", "override-tensor": r"blk\.2\.ffn_.*_exps=CPU", "ubatch-size": "64"}
    job = llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log", **arguments)
    with LlamacppBackend().open(job) as running:
        answer = running.generate(_prompts([9]), 1, Recorder(stage="load"), lambda _done: None)[0]
    assert len(answer.tokens) == 8
    layout = running.info.details["memory_layout"]
    assert "n-cpu-moe=2" in layout
    assert "on a CPU build it moves nothing" in layout
    assert running.info.step_tokens == 64
    assert "tensor overrides to CPU are used" in (tmp_path / "server.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({"cache-type-k": "q8_0"}, UnknownNameError, "no argument of the llamacpp backend named 'cache-type-k'"),
        ({"ubatch-size": "many"}, BadInputError, "ubatch-size=many: not a positive whole number"),
        ({"batch-size": "0"}, BadInputError, "batch-size=0: not a positive whole number"),
        ({"kv-unified": "perhaps"}, BadInputError, "kv-unified=perhaps: true or false"),
        ({"server": "/no/such/llama-server"}, BadInputError, "no such file; give the path of a llama-server"),
        ({"gguf": "/no/such.gguf"}, BadInputError, "cannot be read"),
    ],
)
def test_arguments_that_it_does_not_know_are_refused(
    ascii_model, llamacpp_job, cache, tmp_path, arguments, error, problem
):
    with pytest.raises(error, match=problem):
        LlamacppBackend().open(llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log", **arguments))


def test_a_value_that_the_server_refuses_ends_in_its_own_words(ascii_model, llamacpp_job, cache, tmp_path):
    job = llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log", **{"flash-attn": "perhaps"})
    with pytest.raises(RunError, match="argument --flash-attn: invalid choice: 'perhaps'"):
        LlamacppBackend().open(job)


def test_a_port_in_use_and_a_damaged_file_are_named(ascii_model, llamacpp_job, cache, tmp_path, monkeypatch):
    """What the server says first is what is wrong; what it says last is only that it ends."""
    import socket

    job = llamacpp_job(ascii_model("mixtral"), tmp_path / "port.log")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("moecap_backends.llamacpp.free_port", lambda: taken.getsockname()[1])
        with pytest.raises(RunError, match="couldn't bind HTTP server socket"):
            LlamacppBackend().open(job)
    monkeypatch.undo()
    damaged = tmp_path / "damaged.gguf"
    write_gguf(ascii_model("mixtral"), damaged, "fp32")
    damaged.write_bytes(damaged.read_bytes().replace(b"blk.1.attn_q.weight", b"blk.1.attn_x.weight"))
    with pytest.raises(
        RunError, match=r"llama.cpp ended with status 1 while starting: .*'blk.1.attn_q.weight' not found"
    ):
        LlamacppBackend().open(replace(job, log=tmp_path / "damaged.log", arguments={"gguf": str(damaged)}))
    said = (tmp_path / "damaged.log").read_text().splitlines()
    assert said[-1].startswith("error: Failed to init")  # llama.cpp's own lines are whole before it, and not cut by it


def test_a_folder_with_a_gguf_file_alone_is_enough(ascii_model, llamacpp_job, cache, tmp_path):
    whole, folder = ascii_model("mixtral"), tmp_path / "own"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(whole / name, folder / name)
    job = llamacpp_job(folder, tmp_path / "server.log", "q8_0")
    LlamacppBackend.check(folder, job.spec, "cpu")  # the file may be named by an argument
    with pytest.raises(
        BadInputError, match=r"no \*.safetensors and no \*.gguf; name a file with --engine-arg gguf=PATH"
    ):
        LlamacppBackend().open(job)
    write_gguf(whole, folder / "mine.gguf", "q8_0")
    LlamacppBackend.check(folder, job.spec, "cpu")
    with LlamacppBackend().open(job) as running:
        answer = running.generate(_prompts([9]), 1, Recorder(stage="load"), lambda _done: None)[0]
    assert running.info.details["gguf"] == "mine.gguf"
    assert len(answer.tokens) == 8
    other = read_model(read_config_file(folder / "config.json"), "own", weights="gguf-fp16", kv="fp16")
    with pytest.raises(BadInputError, match="holds its matrices in q8_0 and the run counts fp16; say --precision q8_0"):
        LlamacppBackend.check(folder, other, "cpu")


def test_a_named_file_serves_a_folder_whose_weights_cannot_be_converted(ascii_model, llamacpp_job, cache, tmp_path):
    """Refusing such a folder, the backend says to give a file."""
    folder = tmp_path / "unlike"
    shutil.copytree(ascii_model("mixtral"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 4096}))
    spec = llamacpp_job(folder, tmp_path / "server.log").spec
    with pytest.raises(NotBuiltError, match="sliding_window is not what"):
        LlamacppBackend.variant({}).check(folder, spec, "cpu")
    LlamacppBackend.variant({"gguf": "own.gguf"}).check(folder, spec, "cpu")


def test_a_server_that_is_killed_under_load_is_named_and_leaves_no_process(ascii_model, llamacpp_job, cache, tmp_path):
    prompts, recorder = _prompts([20] * 6, output=400), Recorder(stage="load")
    job = replace(llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log"), longest=450, concurrency=2)
    running = LlamacppBackend().open(job)
    family = descendants(running._server._process.pid)

    def kill():
        while (
            '"is_processing":true' not in urllib.request.urlopen(f"http://{running.target.name}/slots").read().decode()
        ):
            time.sleep(0.01)
        os.kill(family[-1], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(RunError, match=r"llama\.cpp ended during the load"), running:
        running.generate(prompts, 2, recorder, lambda _done: None)
    states = [r.status for r in recorder.requests]
    assert len(states) == 6
    assert states.count("failed") >= 4
    assert all(r.error for r in recorder.requests if r.status == "failed")
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in family) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in family)


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [
        ("auto", "bf16", "gguf-bf16"),
        ("auto", "fp8", "gguf-bf16"),
        ("q8_0", "bf16", "gguf-q8_0"),
        ("Q8_0", "bf16", "gguf-q8_0"),
        ("f16", "bf16", "gguf-fp16"),
        ("float32", "bf16", "gguf-fp32"),
    ],
)
def test_the_format_is_the_models_own_or_the_one_asked_for(ascii_model, asked, own, expected):
    config = read_config_file(ascii_model("mixtral") / "config.json")
    spec = read_model(config, "m", weights=own)
    assert LlamacppBackend.dtype(spec, "cpu", asked, frozenset()) == expected
    with pytest.raises(BadInputError, match="precision 'q3_k': GGUF files are counted in fp32, fp16, bf16, q8_0"):
        LlamacppBackend.dtype(spec, "cpu", "q3_k", frozenset())
    with pytest.raises(NotBuiltError, match=r"runs llama\.cpp on a CPU"):
        LlamacppBackend.dtype(spec, "cuda", asked, frozenset())


def test_a_users_own_server_is_started_with_the_same_options(ascii_model, llamacpp_job, cache, tmp_path):
    """A program of the user's own that takes llama-server's options: here a script that starts the wheel's server."""
    own = tmp_path / "llama-server"
    own.write_text(f'#!/bin/sh\nexec {sys.executable} -m moecap_backends.llamacpp_server "$@"\n')
    own.chmod(0o755)
    job = llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log", server=str(own))
    with LlamacppBackend().open(job) as running:
        answer = running.generate(_prompts([9]), 1, Recorder(stage="load"), lambda _done: None)[0]
    assert len(answer.tokens) == 8
    assert running.info.details["server"] == "the user's llama-server"
    assert not running.info.version.startswith("xllamacpp")
