"""Two hundred loads on a server that fails as a seed says: no answer that was whole is lost, and none is made up."""

import hashlib
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from faulty_server import BROKEN, SILENT, WHOLE, WRONGLY_MORE, FaultyServer

from moecap.backend import EngineJob, Prompt
from moecap.load.connection import Target
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap_backends.served import ServedEngine

TIMEOUT = 2.0
"""Time limit of a request where servers keep silent, s."""


class PlainEngine(ServedEngine):
    """An engine behind HTTP without any extra."""

    def render(self, prompt, key):
        body = {"prompt": list(prompt.tokens), "max_tokens": prompt.output_tokens}
        return self.target.request("/v1/completions", json.dumps(body).encode())

    def score(self, continuations, recorder, done):
        raise NotImplementedError

    def close(self):
        pass


def _load(seed, silent):
    """Prompts, how many are in flight, arrivals of an open loop, and the server, as a seed says."""
    rng = random.Random(seed)
    prompts = [Prompt(f"p{n}", (n, *range(7)), rng.randrange(1, 9)) for n in range(rng.randrange(4, 14))]
    arrivals = None if rng.random() < 0.7 else sorted(rng.random() * 0.05 for _ in prompts)
    server = FaultyServer(seed, faults=rng.choice([0.0, 0.3, 0.6, 1.0]), silent=silent, gap=rng.choice([0, 0, 0.002]))
    return prompts, rng.randrange(1, 9), arrivals, server


@pytest.fixture(scope="module")
def engine():
    """One client, calibrated once, whose target and time limit each load sets."""
    job = EngineJob(Path(), None, "cpu", "fp32", 1, 0, {}, print, streams=8)
    return PlainEngine(job, Target.parse("http://127.0.0.1:9"), "faulty", 20)


def _check(engine, seed, directory, silent=0.0):
    prompts, concurrency, arrivals, server = _load(seed, silent)
    recorder = Recorder(stage="load")
    begin = time.monotonic()
    with server:
        engine.target, engine._timeout = server.target, TIMEOUT if silent else 20
        engine.generate(prompts, concurrency, recorder, lambda _done: None, arrivals)
    took = time.monotonic() - begin
    recorder.write(directory)
    seen = read_observations(directory)  # which refuses what contradicts itself
    requests = seen.requests.set_index("prompt_id")
    assert len(requests) == len(prompts)
    for prompt in prompts:
        got, request = server.treated[prompt.tokens[0]], requests.loc[prompt.id]
        what = f"seed {seed}, {prompt.id}: {got.kind}: {request['error']}"
        assert request["status"] == ("completed" if got.kind in WHOLE else "failed"), what
        chunks = seen.chunks[seen.chunks["request"] == request["request"]]
        bearing = chunks[chunks["kind"] == "content"]
        if got.kind in WHOLE:
            wrong = got.kind == "wrong usage"
            told = None if got.kind == "no usage" else len(got.token_ids) + WRONGLY_MORE * wrong  # the server's count
            assert (None if np.isnan(request["output_tokens"]) else request["output_tokens"]) == told, what
            digest = hashlib.sha256(np.asarray(got.token_ids, "<i4").tobytes()).hexdigest()
            assert request["answer_sha256"] == digest, what
            if wrong:  # counts that contradict each other give no tokens to a chunk
                assert bearing["tokens"].isna().all(), what
            else:
                assert bearing["tokens"].iloc[-1] == len(got.token_ids), what
        else:
            assert request["error"], what
            assert "\n" not in request["error"], what
            assert len(bearing) <= got.delivered, what
            if got.kind not in ("reset midway", "half a character"):  # a reset may overtake what was sent before it
                assert len(bearing) == got.delivered, what
    return took, [server.treated[p.tokens[0]].kind for p in prompts]


@pytest.mark.parametrize("tenth", range(10))
def test_no_completed_request_is_lost_in_any_of_200_schedules(engine, tmp_path, tenth):
    kinds = []
    for seed in range(20 * tenth, 20 * tenth + 20):
        kinds += _check(engine, seed, tmp_path)[1]
    assert len(kinds) > 80
    assert set(kinds) & set(WHOLE)
    assert set(kinds) & set(BROKEN)


def test_a_server_that_keeps_silent_costs_each_request_its_time_limit_and_no_more(engine, tmp_path):
    kinds = []
    for seed in range(1000, 1010):
        took, seen = _check(engine, seed, tmp_path, silent=1.0)
        waits = sum(kind in SILENT for kind in seen)
        assert took >= TIMEOUT * bool(waits)
        kinds += seen
    assert set(SILENT) <= set(kinds)


def test_every_kind_of_treatment_comes_up_among_the_schedules():
    kinds = set()
    for seed in range(200):
        prompts, _, _, server = _load(seed, 0.0)
        kinds |= {server.treatment(prompt.tokens[0], 1)[0].kind for prompt in prompts}
    assert kinds == {*WHOLE, *BROKEN}
