"""Continuous batching of transformers: the answers and experts of static batches, and exact steps of its own."""

import signal
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import FAMILIES, VOCABULARY

from moecap.backend import Prompt
from moecap.cli import main
from moecap.errors import BadInputError, NotAvailableError, RunError, UnknownNameError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.result import read_result
from moecap.verification.recomputation import verify_run
from moecap_backends.continuous_batching import ContinuousBackend, ContinuousEngine, _Load
from moecap_backends.transformers import TransformersBackend

pytestmark = pytest.mark.engine

PROMPTS = ((9, 6), (17, 3), (5, 8), (12, 2), (7, 6))
"""Lengths of prompts and answers, of which no two end together."""


def _prompts(sizes=PROMPTS, seed=1):
    rng = np.random.default_rng(seed)
    return [
        Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, VOCABULARY, asked)), answered)
        for i, (asked, answered) in enumerate(sizes)
    ]


@pytest.fixture
def open_engine(tiny_model, job_for):
    """A function that opens a tiny model in one of the two modes."""

    def make(family, batching, longest=64, concurrency=2, prefix_cache=False, **arguments):
        job = job_for(tiny_model(family), batching=batching, **arguments)
        job = replace(job, longest=longest, concurrency=concurrency, prefix_cache=prefix_cache)
        return TransformersBackend.variant(job.arguments)().open(job)

    return make


def _generate(engine, prompts, folder, concurrency=2, arrivals=None):
    recorder = Recorder(stage="load")
    answers = engine.generate(prompts, concurrency, recorder, lambda _done: None, arrivals)
    folder.mkdir()
    recorder.write(folder)
    return [a.tokens for a in answers], read_observations(folder)


def _experts(seen):
    """The experts of each token, sorted, by request and position."""
    steps = seen.steps
    request = np.repeat(steps.seq_request.values, steps.seq_new.values)
    ends = np.cumsum(steps.seq_new.values)
    within = np.arange(ends[-1]) - np.repeat(ends - steps.seq_new.values, steps.seq_new.values)
    position = np.repeat(steps.seq_start.values, steps.seq_new.values) + within
    order = np.lexsort((position, request))
    return request[order], position[order], np.sort(seen.routing.experts[order], -1)


LATENT = ("deepseek_v2", "deepseek_v3", "longcat_flash")
"""Families whose keys are wider than their values, which the paged cache of transformers 5.19 does not hold."""

OTHER_HEADS = ("jetmoe",)
"""The family whose attention has more key heads than its configuration says."""


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("dense", *LATENT, *OTHER_HEADS)])
def test_answers_and_experts_are_those_of_static_batches(open_engine, tmp_path, family):
    found = {}
    for batching in ("static", "continuous"):
        with open_engine(family, batching) as engine:
            assert engine.info.batching == batching
            found[batching] = _generate(engine, _prompts(), tmp_path / batching)
    assert found["continuous"][0] == found["static"][0]
    static, continuous = (_experts(found[batching][1]) for batching in ("static", "continuous"))
    for one, other in zip(static, continuous, strict=True):
        assert np.array_equal(one, other)
    assert len(static[0]) == sum(asked + answered - 1 for asked, answered in PROMPTS)


@pytest.mark.parametrize("family", [*LATENT, *OTHER_HEADS])
def test_a_model_that_the_paged_cache_does_not_hold_is_refused_when_it_is_opened(open_engine, family, capfd):
    with pytest.raises(NotAvailableError, match=r"index_copy_\(\).*; leave batching=continuous out"):
        open_engine(family, "continuous")
    assert "Traceback" not in capfd.readouterr().err
    assert not any(thread.name.endswith("(_run_generation_loop)") for thread in threading.enumerate())


def test_requests_that_two_threads_send_at_once_are_told_apart(open_engine, monkeypatch):
    """Answers of one token end, and send the next prompts from the manager's thread, while the first are still sent."""
    prompts = _prompts([(2, 1)] * 2000)
    with open_engine("dense", "continuous") as engine:
        monkeypatch.setattr(engine._manager, "add_request", lambda *_words, **_named: "taken")
        switch = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for _ in range(20):
                load = _Load(prompts, Recorder(), iter(range(len(prompts))))
                threads = [threading.Thread(target=_send_the_rest, args=(engine, load)) for _ in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert [r.request for r in load.recorder.requests] == list(range(len(prompts)))
                assert len(load.records) == len(prompts)
        finally:
            sys.setswitchinterval(switch)


def _send_the_rest(engine, load):
    while (number := next(load.following, None)) is not None:
        engine._send(load, number, 0)


def test_a_dense_model_answers_without_experts(open_engine, tmp_path):
    with open_engine("dense", "continuous") as engine:
        answers, seen = _generate(engine, _prompts(), tmp_path / "run")
    assert [len(a) for a in answers] == [answered for _, answered in PROMPTS]
    assert seen.routing is None


def test_a_request_joins_at_the_pass_after_one_has_left(open_engine, tmp_path):
    """By hand: of two in flight, request 1 ends with its third token in the third pass; 2 joins the fourth."""
    with open_engine("mixtral", "continuous") as engine:
        _, seen = _generate(engine, _prompts(), tmp_path / "run")
    steps = seen.steps
    rows = list(zip(*(c.values.tolist() for c in (steps.seq_request, steps.seq_start, steps.seq_new)), strict=True))
    passes = [rows[a:b] for a, b in zip(steps.seq_new.offsets, steps.seq_new.offsets[1:], strict=False)]
    assert [sorted(p) for p in passes[:5]] == [
        [(0, 0, 9), (1, 0, 17)],
        [(0, 9, 1), (1, 17, 1)],
        [(0, 10, 1), (1, 18, 1)],
        [(0, 11, 1), (2, 0, 5)],
        [(0, 12, 1), (2, 5, 1)],
    ]
    kinds = [
        set(steps.seq_phase.values[a:b].tolist())
        for a, b in np.stack([steps.seq_new.offsets[:-1], steps.seq_new.offsets[1:]], 1)
    ]
    assert kinds[:4] == [{0}, {1}, {1}, {0, 1}]
    assert steps.logits_tokens.tolist() == steps.seq_new.lengths().tolist()


def test_chunks_come_when_the_pass_that_made_their_token_has_ended(open_engine, tmp_path):
    with open_engine("mixtral", "continuous") as engine:
        answers, seen = _generate(engine, _prompts(), tmp_path / "run")
    steps, chunks = seen.steps, seen.chunks
    ends = steps.start_ns + steps.duration_ns
    assert (ends[:-1] <= steps.start_ns[1:]).all()
    for request, answer in enumerate(answers):
        own = chunks[chunks["request"] == request]
        assert own["tokens"].tolist() == list(range(1, len(answer) + 1))
        passes = [i for i in range(len(steps)) if request in _of(steps, i)]
        assert len(passes) == len(answer)
        following = [steps.start_ns[i + 1] if i + 1 < len(steps) else np.inf for i in passes]
        for time_ns, number, limit in zip(own["time_ns"], passes, following, strict=True):
            assert ends[number] <= time_ns <= limit
    rows = seen.requests
    assert rows["status"].tolist() == ["completed"] * 5
    assert (rows["scheduled_ns"] <= rows["sent_ns"]).all()
    assert rows["scheduled_ns"][2] == rows["ended_ns"][1]


def _of(steps, number):
    return steps.seq_request.values[slice(*steps.seq_request.offsets[number : number + 2])].tolist()


def test_a_long_prompt_is_fed_in_parts_of_which_the_last_alone_gives_a_token(open_engine, tmp_path):
    prompts = _prompts([(20, 3)])
    with open_engine("mixtral", "static") as engine:
        expected, _ = _generate(engine, prompts, tmp_path / "static")
    with open_engine("mixtral", "continuous", max_batch_tokens="8") as engine:
        answers, seen = _generate(engine, prompts, tmp_path / "continuous")
    assert answers == expected
    assert seen.steps.seq_new.values.tolist() == [8, 8, 4, 1, 1]
    assert seen.steps.seq_phase.values.tolist() == [0, 0, 0, 1, 1]
    assert seen.steps.logits_tokens.tolist() == [0, 0, 1, 1, 1]


def test_an_open_loop_sends_each_request_at_its_time(open_engine, tmp_path):
    arrivals = [0.0, 0.05, 0.05, 0.3, 0.31]
    with open_engine("mixtral", "static") as engine:
        expected, _ = _generate(engine, _prompts(), tmp_path / "static")
    with open_engine("mixtral", "continuous") as engine:
        answers, seen = _generate(engine, _prompts(), tmp_path / "continuous", arrivals=arrivals)
    assert answers == expected
    rows = seen.requests
    assert ((rows["scheduled_ns"] - rows["scheduled_ns"][0]) * 1e-9).tolist() == pytest.approx(arrivals, abs=1e-6)
    assert (rows["sent_ns"] >= rows["scheduled_ns"]).all()
    first = {
        request: seen.steps.start_ns[i] for i in reversed(range(len(seen.steps))) for request in _of(seen.steps, i)
    }
    assert all(first[request] >= sent for request, sent in enumerate(rows["sent_ns"]))
    assert seen.steps.seq_new.lengths().max() <= 2  # the batch holds as many as were to be in flight


def test_more_requests_wait_until_the_batch_has_room(open_engine, tmp_path):
    prompts = _prompts([(6, 4)] * 6)
    with open_engine("mixtral", "continuous", max_requests="3") as engine:
        _, seen = _generate(engine, prompts, tmp_path / "run", concurrency=6)
    assert seen.steps.seq_new.lengths().max() == 3
    assert seen.requests["status"].tolist() == ["completed"] * 6


@pytest.mark.parametrize("allowed", [False, True])
def test_a_prompt_is_served_from_the_prefix_cache_only_if_it_is_allowed(open_engine, tmp_path, allowed):
    prompts = _prompts([(80, 3)]) * 2
    with open_engine("mixtral", "continuous", longest=96, concurrency=1, prefix_cache=allowed) as engine:
        answers, seen = _generate(engine, prompts, tmp_path / "run", concurrency=1)
    assert answers[0] == answers[1]
    cached = seen.requests["cached_tokens"].tolist()
    assert cached == ([0, 64] if allowed else [0, 0])  # whole pages of 32
    fed = [seen.steps.seq_new.values[seen.steps.seq_request.values == r].sum() for r in (0, 1)]
    assert fed == [82, 82 - cached[1]]


def test_a_second_load_on_the_same_engine_starts_anew(open_engine, tmp_path):
    with open_engine("mixtral", "continuous") as engine:
        first, _ = _generate(engine, _prompts(), tmp_path / "a")
        second, seen = _generate(engine, _prompts(), tmp_path / "b")
    assert first == second
    assert len(seen.requests) == 5


def test_an_interruption_keeps_the_tokens_so_far_and_ends_the_thread(open_engine, tmp_path):
    prompts = _prompts([(8, 3000)] * 2)
    recorder = Recorder(stage="load")
    with open_engine("mixtral", "continuous", longest=3100) as engine:
        threading.Timer(1.0, lambda: signal.raise_signal(signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            engine.generate(prompts, 2, recorder, lambda _done: None)
    assert not any(thread.name.endswith("(_run_generation_loop)") for thread in threading.enumerate())
    recorder.write(tmp_path)
    seen = read_observations(tmp_path)
    assert seen.requests["status"].tolist() == ["unfinished"] * 2
    tokens = seen.chunks.groupby("request")["tokens"].max()
    assert (tokens > 3).all()
    assert seen.requests["output_tokens"].tolist() == tokens.tolist()
    fed = [seen.steps.seq_new.values[seen.steps.seq_request.values == r].sum() for r in (0, 1)]
    assert fed == [8 + count - 1 for count in tokens]


def test_a_pass_that_is_not_what_its_batch_says_ends_the_load(open_engine, tmp_path, monkeypatch):
    original = ContinuousEngine._fed
    recorder = Recorder(stage="load")
    with (
        open_engine("mixtral", "continuous") as engine,
        pytest.raises(RunError, match=r"fed 27 tokens in a pass whose batch has 26.*use static batches"),
    ):
        monkeypatch.setattr(ContinuousEngine, "_fed", lambda self, load, tokens: original(self, load, tokens + 1))
        engine.generate(_prompts(), 2, recorder, lambda _done: None)
    assert {record.status for record in recorder.requests} == {"failed"}
    assert recorder.steps == 0


def test_a_sequence_that_lost_its_cache_ends_the_load(open_engine):
    with (
        open_engine("mixtral", "continuous", longest=32) as engine,
        pytest.raises(RunError, match=r"too small for this load|No requests can be scheduled"),
    ):
        engine.generate(_prompts([(40, 60)] * 2), 2, Recorder(stage="load"), lambda _done: None)


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({"batching": "dynamic"}, BadInputError, "batching=dynamic: not one of static, continuous"),
        ({"batching": "continuous", "max_requests": "0"}, BadInputError, "max_requests=0: not a positive whole number"),
        ({"batching": "continuous", "pages": "3"}, UnknownNameError, "pages"),
        ({"batching": "static", "max_requests": "3"}, UnknownNameError, "max_requests"),
    ],
)
def test_wrong_arguments_are_refused(tiny_model, job_for, arguments, error, problem):
    job = job_for(tiny_model("mixtral"), **arguments)
    with pytest.raises(error, match=problem):
        TransformersBackend.variant(job.arguments)().open(job)


def test_a_run_in_an_open_loop_verifies_and_names_its_batching(tiny_model, tmp_path):
    sizes = ["--num-requests", "12", "--input-len", "8", "--output-len", "4", "--rate", "40", "--task", "arc_easy"]
    run = ["run", "--backend", "transformers", "--model", str(tiny_model("mixtral")), "--output", str(tmp_path / "run")]
    assert main([*run, *sizes, "--limit", "2", "--engine-arg", "batching=continuous"]) == 0
    result = read_result(tmp_path / "run")
    assert result.backend.batching == "continuous"
    assert "static_batch" not in {flag.name for flag in result.flags}
    assert result.metrics["decode.s_mbu"].value is not None
    assert verify_run(tmp_path / "run").ok


def test_static_batches_still_refuse_arrivals():
    assert TransformersBackend.variant({}) is TransformersBackend
    assert not TransformersBackend.open_loop
    assert TransformersBackend.variant({"batching": "continuous"}) is ContinuousBackend
    assert ContinuousBackend.open_loop
