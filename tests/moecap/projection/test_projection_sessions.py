"""Simulated sessions and prefix caches, by hand and against a cache that is written as plainly as can be."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.projection.capacity import LIMITS, room
from moecap.projection.coefficients import calibrated
from moecap.projection.prefix_cache import PrefixCache, block_chains
from moecap.projection.requests import Requests
from moecap.projection.routing import UNIFORM
from moecap.projection.simulation import simulate
from moecap.projection.trace import observation_tables
from moecap.projection.work import WorkModel

COEFFICIENTS = calibrated()


@pytest.fixture(scope="module")
def model(on_a100):
    return WorkModel(on_a100(2))


def _requests(inputs, outputs, **more):
    return Requests(np.array(inputs), np.array(outputs), **more)


def _ends(run, requests):
    ends = run.start + run.duration
    return np.array([ends[run.token_steps(r)[-1]] for r in range(len(requests.input_tokens))])


def test_the_prompt_of_a_later_turn_is_the_conversation_so_far():
    requests = _requests([100, 20, 30, 50, 5], [10, 7, 3, 2, 1], sessions=np.array([0, 0, 0, 1, 1]))
    assert requests.prompts.tolist() == [100, 130, 167, 50, 57]
    assert requests.turns.tolist() == [0, 1, 2, 0, 1]
    assert requests.firsts.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"sessions": np.array([0, 2])}, "not numbered 0, 1"),
        ({"sessions": np.array([1, 1])}, "not numbered 0, 1"),
        ({"sessions": np.array([0, 0]), "arrivals": np.array([0.0, 1.0])}, "one time of arrival a session"),
        ({"arrivals": np.array([1.0, 0.0])}, "do not ascend"),
        ({"waits": np.zeros(3)}, "as many lengths, sessions and waits"),
    ],
)
def test_loads_that_contradict_themselves_are_refused(more, problem):
    with pytest.raises(BadInputError, match=problem):
        _requests([10, 10], [5, 5], **more)


def test_a_turn_is_sent_when_the_answer_before_it_has_ended_and_its_wait_is_over(model):
    requests = _requests([100] * 6, [20] * 6, sessions=np.repeat([0, 1], 3), waits=np.array([0, 2.0, 3.0] * 2))
    run = simulate(model, COEFFICIENTS, requests)  # one session in flight
    ends = _ends(run, requests)
    np.testing.assert_allclose(run.sent, [0, ends[0] + 2, ends[1] + 3, ends[2], ends[3] + 2, ends[4] + 3])


def test_sessions_arrive_at_their_own_times(model):
    sessions, arrivals = np.repeat(np.arange(4), 2), np.array([0.0, 0.1, 0.2, 30.0])
    run = simulate(model, COEFFICIENTS, _requests([50] * 8, [30] * 8, sessions=sessions, arrivals=arrivals))
    np.testing.assert_allclose(run.sent[::2], arrivals)


def test_a_prefix_cache_serves_whole_blocks_and_never_the_last_token(model):
    shared = (7,) * 64
    tokens = [shared + (1,) * 36, shared + (2,) * 36, (3,) * 100, shared]
    requests = _requests([100, 100, 100, 64], [8] * 4, tokens=tokens, block_tokens=16)
    run = simulate(model, COEFFICIENTS, requests)
    assert run.cached.tolist() == [0, 64, 0, 48]  # of the last one's four blocks the last holds the token to feed
    assert run.fed[:, 3].tolist() == [100, 36, 100, 16]


def test_requests_that_come_together_share_what_the_first_of_them_feeds(model):
    tokens = [(7,) * 64 + (n,) * 36 for n in range(3)]
    run = simulate(model, COEFFICIENTS, _requests([100] * 3, [8] * 3, concurrency=3, tokens=tokens, block_tokens=16))
    assert run.cached.tolist() == [0, 64, 64]
    assert run.fed[:3].tolist() == [[0, 0, 0, 100, 1], [1, 0, 64, 36, 1], [2, 0, 64, 36, 1]]  # all in the first step


def test_a_prompt_that_is_fed_in_chunks_is_served_only_before_its_first(model):
    limits = replace(LIMITS["vllm"], sequences=8, step_tokens=32)
    tokens = [(7,) * 96, (7,) * 64 + (8,) * 32]
    requests = _requests([96, 96], [4, 4], concurrency=2, tokens=tokens, block_tokens=16)
    run = simulate(model, COEFFICIENTS, requests, limits)
    assert run.cached.tolist() == [0, 64]
    assert [row[2:4] for row in run.fed[run.fed[:, 0] == 0].tolist()] == [[0, 32], [32, 32], [64, 32]]
    assert run.fed[run.fed[:, 0] == 1, 3].sum() == 32


def test_a_later_turn_starts_from_the_blocks_of_the_conversation(model):
    tokens = [(1,) * 100, (2,) * 60]
    requests = _requests([100, 60], [50, 8], sessions=np.array([0, 0]), tokens=tokens, block_tokens=16)
    run = simulate(model, COEFFICIENTS, requests)
    assert run.cached.tolist() == [0, 144]  # 149 entries are there: the last token of an answer is never fed
    cold = simulate(model, COEFFICIENTS, replace(requests, tokens=None))
    assert _ends(run, requests)[1] < _ends(cold, requests)[1]


def test_a_cache_that_is_too_small_gives_up_what_was_used_longest_ago():
    cache = PrefixCache(16)
    cache.add([1, 2, 3])
    cache.give([1, 2, 3])
    cache.add([4, 5])
    cache.give([4, 5])
    cache.shrink(3 * 16)
    assert cache.leading([4, 5], 100) == [4, 5]
    assert cache.leading([1, 2, 3], 100) == [1]  # the end of a sequence goes before its start


def test_blocks_that_are_held_are_never_given_up():
    cache = PrefixCache(16)
    cache.add([1, 2])
    cache.shrink(0)
    assert cache.leading([1, 2], 100) == [1, 2]
    cache.take([1])
    assert cache.give([1, 2]) == 1
    assert cache.held([1, 2]) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1, 4, 16]))
def test_what_is_served_is_the_longest_prefix_that_an_earlier_request_left(model, seed, size):
    """One request at a time in a large cache: the served tokens by comparing the sequences themselves."""
    rng = np.random.default_rng(seed)
    count = 12
    stems = [tuple(rng.integers(0, 3, 40).tolist()) for _ in range(2)]
    tokens = [
        stems[rng.integers(2)][: rng.integers(1, 41)] + tuple(rng.integers(0, 3, 9).tolist()) for _ in range(count)
    ]
    outputs = rng.integers(1, 20, count)
    requests = _requests([len(t) for t in tokens], outputs, tokens=tokens, block_tokens=size)
    run = simulate(model, COEFFICIENTS, requests)
    for request in range(count):
        best = 0
        for earlier in range(request):
            there = tokens[earlier]  # what it answered is shared with nobody
            common = next((i for i, (a, b) in enumerate(zip(there, tokens[request], strict=False)) if a != b), None)
            common = min(len(there), len(tokens[request])) if common is None else common
            best = max(best, min(common, len(tokens[request]) - 1) // size * size)
        assert run.cached[request] == best


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.integers(1, 20))
def test_every_token_is_fed_or_served_whatever_is_shared_and_however_small_the_cache(
    model, tmp_path_factory, seed, open_loop, concurrency
):
    rng = np.random.default_rng(seed)
    sessions = np.sort(rng.integers(0, 8, 30))
    sessions = np.unique(sessions, return_inverse=True)[1]
    inputs, outputs = rng.integers(1, 400, 30), rng.integers(1, 120, 30)
    tokens = [(int(rng.integers(0, 2)),) * n for n in inputs]
    load = Requests(
        inputs,
        outputs,
        arrivals=np.cumsum(rng.exponential(0.3, sessions[-1] + 1)) if open_loop else None,
        concurrency=concurrency,
        sessions=sessions,
        waits=rng.exponential(0.2, 30),
        tokens=tokens,
    )
    longest = int((load.prompts + load.output_tokens).max())
    whole = room(model.deployment, LIMITS["vllm"])
    cache = 131072 * (longest + 64 + int(rng.integers(0, 3000)))
    share = LIMITS["vllm"].memory * (whole.memory - whole.cache + cache) / whole.memory
    limits = replace(LIMITS["vllm"], memory=share, sequences=32, step_tokens=int(rng.integers(33, 400)))
    run = simulate(model, COEFFICIENTS, load, limits)
    made = run.decoded[:, 2].sum() + run.fed[:, 4].sum()
    assert made == outputs.sum()
    folder = tmp_path_factory.mktemp("files")
    Recorder(simulated=observation_tables(run, load, model.deployment.spec, UNIFORM)).write(folder)
    read_observations(folder)


def test_chains_are_equal_exactly_where_all_tokens_before_are():
    tokens = [(1,) * 32, (1,) * 16 + (2,) * 16, (2,) * 16 + (1,) * 16]
    chains = block_chains(_requests([32, 32, 32], [1, 1, 1], tokens=tokens, block_tokens=16))
    assert chains[0][0] == chains[1][0]
    assert chains[0][1] != chains[1][1]
    assert not set(chains[2]) & {*chains[0], *chains[1]}
