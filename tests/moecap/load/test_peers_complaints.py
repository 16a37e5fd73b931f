"""What users of other load generators complain about, numbered as in their issues: each must not happen here.

Answers come over real sockets, from the stub on its known schedule or from a server that plays recorded bytes.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scripted_server import chunked

from moecap.backend import EngineJob, Prompt
from moecap.errors import BadInputError
from moecap.load.answers import decode_answer
from moecap.load.calibration import running_stub
from moecap.load.connection_pool import ConnectionPool
from moecap.load.loop import run_loop
from moecap.metrics.latency import latencies, throughput, token_latencies
from moecap.metrics.window import steady_state
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.settings import with_settings
from moecap_backends.served import ServedEngine

FIRST, GAP = 0.03, 0.005


class PlainEngine(ServedEngine):
    """An engine behind HTTP without any extra; a prompt whose id is ``lost`` asks for what is not there."""

    def render(self, prompt, key):
        body = {"prompt": list(prompt.tokens), "max_tokens": prompt.output_tokens}
        return self.target.request("/v1/completions", None if prompt.id == "lost" else json.dumps(body).encode())

    def score(self, continuations, recorder, done):
        raise NotImplementedError

    def close(self):
        pass


class Letters:
    """A tokenizer of one token a word."""

    def encode(self, text):
        return tuple(range(len(text.split())))


@pytest.fixture(scope="module")
def stub():
    with running_stub(FIRST, GAP) as target:
        yield target


@pytest.fixture
def observed(stub, tmp_path):
    """A function that sends prompts and gives what was observed of them."""

    def send(prompts, concurrency, arrivals=None, target=stub):
        job = EngineJob(Path(), None, "cpu", "fp32", 1, 0, {}, print, streams=concurrency)
        engine = PlainEngine(job, target, "stub", 30)
        engine.tokenizer = Letters()
        recorder = Recorder(stage="load")
        engine.generate(prompts, concurrency, recorder, lambda _done: None, arrivals)
        recorder.write(tmp_path)
        return read_observations(tmp_path)

    return send


def _prompts(count, output=6, **fields):
    return [Prompt(f"p{i}", tuple(range(i, i + 8)), output, **fields) for i in range(count)]


def _event(**fields):
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def _completion(ids=None, text="x", usage=None):
    choice = {"index": 0, "text": text} | ({} if ids is None else {"token_ids": ids})
    return _event(choices=[] if usage else [choice], **({"usage": usage} if usage else {}))


def _asked(running):
    """The reply of a scripted server to one request."""

    async def work():
        async with ConnectionPool(running.target, 20) as pool:
            return await pool.ask(running.target.request("/v1/completions", b"{}"), lambda _reply: None)

    return run_loop(work())


def test_1_a_read_buffer_of_64_kilobytes_does_not_throttle_the_server(server):
    """vllm#39963: what a server sends in one burst is read as fast as it comes, in pieces above 64 KiB."""
    event = _completion([7], "x" * 160)
    burst = event * 40_000
    pieces = chunked(burst, _completion(usage={"prompt_tokens": 1, "completion_tokens": 40_000}), b"data: [DONE]\n\n")
    reply = _asked(server([(0, piece) for piece in pieces]))
    answer = decode_answer(reply)
    assert answer.error is None
    assert answer.output_tokens == len(answer.token_ids) == 40_000
    assert max(len(body) for _, body in reply.reads) > 65_536


def test_2_prompt_tokens_that_a_cache_served_are_counted_and_do_not_pass_unseen(server):
    """vllm#52884, #54227; that no two runs share a prompt is tested with whole runs against an endpoint."""
    usage = {"prompt_tokens": 64, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 48}}
    pieces = chunked(_completion([7]), _completion(usage=usage), b"data: [DONE]\n\n")
    assert decode_answer(_asked(server([(0, piece) for piece in pieces]))).cached_tokens == 48


@pytest.mark.parametrize("told", [True, False])
def test_3_a_chunk_of_several_tokens_gives_a_value_for_each_or_none(server, observed, told):
    """vllm#27485, sglang#12064, #33193: not one gap a chunk."""
    chunks = [_completion([7] * 4 if told else None, "w w w w") for _ in range(3)]
    end = _completion(usage={"prompt_tokens": 8, "completion_tokens": 12}) + b"data: [DONE]\n\n"
    head, *rest = chunked(*chunks, end)
    running = server([(0, head), *((0.08, piece) for piece in rest[:2]), *((0, piece) for piece in rest[2:])])
    seen = observed([Prompt("p", tuple(range(8)), 12)], 1, target=running.target)
    values = token_latencies(seen.requests, seen.chunks)
    if told:
        assert len(values["itl"]) == 8
        assert values["itl"] == pytest.approx([0.02] * 8, abs=0.012)
        assert values["tpot"] == pytest.approx([0.02], abs=0.012)
    else:
        assert len(values["itl"]) == len(values["tpot"]) == 0
        metrics = latencies(seen.requests, seen.chunks)
        assert metrics["itl.p50"].value is None
        assert metrics["itl.p50"].reason


def test_4_a_prompt_that_the_server_counts_otherwise_is_seen(server, observed):
    """vllm#24937, #44708, sglang#15732: 92 % of random prompts had another length than was reported."""
    end = _completion(usage={"prompt_tokens": 9, "completion_tokens": 1}) + b"data: [DONE]\n\n"
    running = server([(0, piece) for piece in chunked(_completion([7]), end)])
    seen = observed([Prompt("p", tuple(range(8)), 1)], 1, target=running.target)
    assert (seen.requests["input_tokens_asked"][0], seen.requests["input_tokens"][0]) == (8, 9)


def test_5_an_answer_that_is_all_reasoning_has_tokens_and_a_first_one(server, observed):
    """inference-perf#559, #592: zero output and no time to first token."""
    thought = [_event(choices=[{"index": 0, "delta": {"reasoning_content": "hm"}}]) for _ in range(3)]
    end = _completion(usage={"prompt_tokens": 8, "completion_tokens": 3}) + b"data: [DONE]\n\n"
    running = server([(0.05, piece) for piece in chunked(*thought, end)])
    seen = observed([Prompt("p", tuple(range(8)), 3)], 1, target=running.target)
    values = token_latencies(seen.requests, seen.chunks)
    assert seen.requests["output_tokens"].tolist() == [3]
    assert values["ttft"].min() > 0.045
    assert len(values["ttfo"]) == 0


def test_6_the_clients_own_delay_is_not_the_servers_latency(observed):
    """inference-perf#86, llm-d-benchmark#261: each time is that of the socket, and a ceiling is measured beside it."""
    seen = observed(_prompts(24), 8)
    chunks, requests = seen.chunks, seen.requests
    times = token_latencies(requests, chunks)["ttft"]
    assert len(times) == 24
    assert times.min() > FIRST - 0.002
    assert np.median(times) == pytest.approx(FIRST, abs=0.025)
    assert (requests["sent_ns"] >= requests["scheduled_ns"]).all()


def test_7_ramp_and_failed_requests_do_not_count_as_served_and_unsent_ones_have_failed(observed):
    """guidellm#470, #529, inference-perf#245: a stage that ended with 8,288 requests unsent."""
    turns = [
        Prompt("lost" if turn == 1 else f"s{session}t{turn}", (1, 2, 3), 4, session=session, turn=turn)
        for session in range(3)
        for turn in range(4)
    ]
    seen = observed(turns, 3)
    status = seen.requests.sort_values(["session", "turn"]).groupby("session")["status"].agg(list)
    assert status.tolist() == [["completed", "failed", "failed", "failed"]] * 3
    errors = seen.requests[seen.requests["turn"] > 1]["error"]
    assert set(errors) == {"not sent: the turn before it has failed"}
    metrics = throughput(seen.requests, seen.chunks, None, 1)
    assert metrics["failed_requests"].value == 9
    assert metrics["failed_requests"].n == 12


def test_7_throughput_is_that_of_the_steady_state_and_not_of_the_ramps(observed):
    """guidellm#470: at the ends of a load fewer requests run; the steady state has its own rate beside the whole's."""
    prompts = [Prompt(f"p{i}", (1, 2), 200 if i == 11 else 20) for i in range(12)]
    seen = observed(prompts, 4)
    window = steady_state(seen.requests, 4)
    metrics = throughput(seen.requests, seen.chunks, window, 1)
    steady, whole = (metrics[f"output_tokens_per_second{part}"].value for part in ("", "_whole_run"))
    assert steady > 1.3 * whole
    alone = 4 * 20 / (FIRST + 20 * GAP)
    assert steady == pytest.approx(alone, rel=0.35)


def test_8_a_load_that_never_reaches_its_concurrency_is_refused():
    """dynamo#6777: ten requests by default, whatever the concurrency."""
    with pytest.raises(BadInputError, match="20 requests never reach a concurrency of 64"):
        with_settings({"concurrency": 64}, ())
    with pytest.raises(BadInputError, match="100 requests in sessions of 4 turns never reach a concurrency of 50"):
        with_settings({"concurrency": 50, "num_requests": 100, "turns": 4}, ())


def test_9_the_warm_up_is_as_wide_and_as_long_as_the_load(stub):
    """vllm#26943, sglang#39398: one request of warm-up before a load of hundreds."""
    from moecap.data.recording import RecordedSession, RecordedTurn, Recording
    from moecap.runner.workload import make_workload
    from moecap_backends.openai import OpenaiBackend

    texts = Recording("texts", tuple(RecordedSession(str(i), (RecordedTurn(text=f"a b c {i}"),)) for i in range(9)))
    config = with_settings({}, ("concurrency=16", "num_requests=32", "length_spread=0.5", "input_len=40"))
    workload = make_workload(config, texts, OpenaiBackend, Letters(), 4096)
    assert len(workload.warmup) == 16 * config.warmup.max_batches
    lengths = [len(prompt.tokens) for prompt in workload.prompts]
    assert [len(prompt.tokens) for prompt in workload.warmup[:32]] == lengths


@pytest.mark.parametrize(("share", "flagged"), [(0.97, True), (0.3, False)])
def test_10_routing_that_no_real_text_gives_is_flagged(share, flagged):
    """sglang#25571, #37741, vllm#21990: dummy weights or repeated tokens route to the same experts."""
    from moecap.metrics.value import measured
    from moecap.models.registry import load_model_config
    from moecap.runner.degenerate_routing import degenerate_routing_flags

    config, _ = load_model_config("mixtral", None)

    class Model:
        id, is_moe = "mixtral", True

    Model.config = config
    load = np.array([share, share] + [2 * (1 - share) / 6] * 6) / 2
    entropy = -sum(float(p) * math.log(p) for p in load) / math.log(8)
    metrics = {"experts.load_entropy": measured(entropy, "1", 10**6)}
    assert bool([*degenerate_routing_flags(Model, metrics)]) == flagged
    few = {"experts.load_entropy": measured(entropy, "1", 1000)}
    assert not [*degenerate_routing_flags(Model, few)]


def test_11_output_tokens_are_output_alone(observed):
    """InferenceX#293: "token throughput" was input and output together."""
    prompts = [Prompt(f"p{i}", tuple(range(500)), 5) for i in range(16)]
    seen = observed(prompts, 4)
    metrics = throughput(seen.requests, seen.chunks, None, 1)
    seconds = (seen.requests["ended_ns"].max() - seen.requests["sent_ns"].min()) * 1e-9
    assert metrics["output_tokens_per_second_whole_run"].value == pytest.approx(16 * 5 / seconds)
    assert metrics["input_tokens_per_second_whole_run"].value == pytest.approx(16 * 500 / seconds)
    assert not [name for name in metrics if name.startswith(("token", "total_token"))]
