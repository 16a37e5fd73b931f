"""Steps from arrivals, against loads of which it is known what each step did."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_load import MS, Job, Load, served_load

from moecap.metrics.reconstruction import reconstruct_steps
from moecap.metrics.routing_source import LOCKSTEP

JOB = st.builds(Job, prompt=st.integers(30, 300), answer=st.integers(1, 12))


def as_sets(steps):
    """Each step as {request: (start, new)}."""
    columns = (steps.seq_request, steps.seq_start, steps.seq_new)
    return [
        {int(r): (int(a), int(b)) for r, a, b in zip(*(c.values[i:j] for c in columns), strict=True)}
        for i, j in zip(columns[0].offsets[:-1], columns[0].offsets[1:], strict=True)
    ]


def rebuilt(load, most=None):
    found = reconstruct_steps(load.requests, load.chunks, most)
    assert not isinstance(found, str), found
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(JOB, min_size=1, max_size=12), st.integers(1, 5), st.booleans(), st.integers(0, 999))
def test_steps_are_found_exactly_where_the_tokens_of_a_step_come_together(jobs, concurrency, prefill_first, seed):
    load = served_load(jobs, concurrency=concurrency, rng=np.random.default_rng(seed), prefill_first=prefill_first)
    found = rebuilt(load)
    assert as_sets(found.steps) == [sequences for _, sequences in load.steps]
    assert found.lockstep == 1.0
    ends = [end for end, _ in load.steps]
    np.testing.assert_allclose(found.steps.start_ns + found.steps.duration_ns, ends, atol=2)


@pytest.mark.parametrize("prefill_first", [False, True])
@pytest.mark.parametrize("scatter", [2.0, 8.0, 14.0])
@pytest.mark.parametrize("merged", [0.0, 0.1])
def test_tokens_that_come_scattered_or_merged_are_put_into_their_steps(prefill_first, scatter, merged):
    rng = np.random.default_rng(1)
    jobs = [Job(int(rng.integers(20, 200)), int(rng.integers(20, 120))) for _ in range(64)]
    load = served_load(jobs, concurrency=8, rng=rng, scatter=scatter, merged=merged, prefill_first=prefill_first)
    found = rebuilt(load)
    true = [decode_size(sequences) for _, sequences in load.steps]
    sizes = [decode_size(sequences) for sequences in as_sets(found.steps)]
    assert np.mean([s for s in sizes if s]) == pytest.approx(np.mean([s for s in true if s]), rel=0.02)
    assert found.lockstep > 0.97


@pytest.mark.parametrize("prefill_first", [False, True])
def test_tokens_that_a_late_client_read_at_once_are_put_into_the_steps_that_produced_them(prefill_first):
    """A client that stands still reads what came over several steps at one time, whatever the request."""
    rng = np.random.default_rng(3)
    jobs = [Job(int(rng.integers(20, 200)), int(rng.integers(20, 120))) for _ in range(48)]
    load = served_load(jobs, concurrency=6, rng=rng, scatter=1.0, prefill_first=prefill_first)
    every = 120_000_000  # six steps or so
    late = (load.chunks["time_ns"] // every + 1) * every
    stands = (load.chunks["time_ns"] // (3 * every)) % 2 == 0
    load.chunks["time_ns"] = np.where(stands, late, load.chunks["time_ns"])
    found = rebuilt(load)
    true = [decode_size(sequences) for _, sequences in load.steps]
    sizes = [decode_size(sequences) for sequences in as_sets(found.steps)]
    assert np.mean([s for s in sizes if s]) == pytest.approx(np.mean([s for s in true if s]), rel=0.02)
    assert len(sizes) == pytest.approx(len(true), rel=0.05)


def decode_size(sequences):
    """Sequences of a step that only decodes, else 0: a prompt here has at least 20 tokens."""
    return len(sequences) if all(new == 1 for _, new in sequences.values()) else 0


def test_tokens_that_no_engine_would_give_in_lockstep_are_not_called_reconstructed():
    rng = np.random.default_rng(2)
    requests = served_load([Job(64, 40)] * 8, concurrency=8, rng=rng).requests
    times = np.sort(requests["sent_ns"].max() + rng.uniform(1e8, 1e10, (8, 40)), axis=1)
    rows = [(r, int(t), i, "content") for r in range(8) for i, t in enumerate(times[r], 1)]
    chunks = pd.DataFrame(rows, columns=["request", "time_ns", "tokens", "kind"])
    assert reconstruct_steps(requests, chunks).lockstep < LOCKSTEP


def test_answers_that_come_whole_are_not_called_reconstructed():
    """Behind something that holds answers back until they end, four at a time look like one after the other."""
    load = served_load(
        [Job(12, n) for n in (20, 26, 22, 24, 21, 25, 23, 20)], concurrency=4, rng=np.random.default_rng(0)
    )
    whole = load.chunks.groupby("request")["time_ns"].transform("max")
    load.chunks["time_ns"] = whole + load.chunks["request"] * 1000
    assert rebuilt(load).lockstep < LOCKSTEP


def test_an_idle_server_is_in_no_step():
    # two requests, the second sent a second after the first has ended: its step begins when it was sent
    load = served_load([Job(50, 3), Job(50, 3)], concurrency=1, rng=np.random.default_rng(0))
    later = load.requests["request"] == 1
    load.requests.loc[later, ["sent_ns", "ended_ns"]] += 1_000_000_000
    load.chunks.loc[load.chunks["request"] == 1, "time_ns"] += 1_000_000_000
    steps = rebuilt(load).steps
    assert len(steps) == 6
    assert steps.start_ns[3] == load.requests.loc[later, "sent_ns"].item()
    assert steps.duration_ns[3] == pytest.approx(6e6, abs=3)  # 50 tokens of 0.1 ms and 1 ms


def test_tokens_of_which_the_number_is_not_known_give_no_steps():
    load = served_load([Job(50, 3)], concurrency=1, rng=np.random.default_rng(0))
    load.chunks["tokens"] = load.chunks["tokens"].astype("Int64")
    load.chunks.loc[1, "tokens"] = None
    assert "not known" in reconstruct_steps(load.requests, load.chunks)
    assert "no token" in reconstruct_steps(load.requests, load.chunks.iloc[:0])


def test_several_answers_to_one_prompt_give_no_steps():
    load = served_load([Job(50, 3)], concurrency=1, rng=np.random.default_rng(0))
    assert "several answers" in reconstruct_steps(load.requests, load.chunks.assign(choice=[0, 1, 0]))


def test_role_and_usage_chunks_are_no_tokens():
    load = served_load([Job(50, 3)], concurrency=1, rng=np.random.default_rng(0))
    other = pd.DataFrame([(0, 1, 0, "role"), (0, 9**17, 3, "usage")], columns=load.chunks.columns)
    with_them = dataclasses.replace(load, chunks=pd.concat([load.chunks, other]))
    assert as_sets(rebuilt(with_them).steps) == as_sets(rebuilt(load).steps)


@settings(max_examples=60, deadline=None)
@given(st.lists(JOB, min_size=1, max_size=8), st.integers(1, 4), st.integers(16, 200), st.integers(0, 99))
def test_prompts_that_are_fed_in_parts_keep_every_token_and_every_bound(jobs, concurrency, most, seed):
    load = served_load(jobs, concurrency=concurrency, rng=np.random.default_rng(seed), most=most)
    steps = rebuilt(load, most).steps
    assert steps.tokens().max() <= most
    fed = {}
    for sequences in as_sets(steps):
        for r, (start, new) in sequences.items():
            assert start == fed.get(r, jobs[r].cached)
            fed[r] = start + new
    assert fed == {r: job.prompt + job.answer - 1 for r, job in enumerate(jobs)}
    # the last part of a prompt may be a token or two, whose step comes at once after the one before
    assert (steps.logits_tokens > 0).sum() == pytest.approx(load.chunks["time_ns"].nunique(), abs=len(jobs))
    assert (np.diff(steps.start_ns) >= 0).all()
    assert len(steps) == pytest.approx(len(load.steps), abs=1 + 2 * len(jobs))


def test_a_prompt_beside_decoding_requests_takes_the_room_that_they_leave():
    # request 0 decodes, one token a step; request 1 brings 100 tokens into steps of 32: 31 + 31 + 31 + 7
    load = served_load([Job(20, 12), Job(12, 2), Job(100, 2)], concurrency=2, rng=np.random.default_rng(0), most=32)
    assert as_sets(rebuilt(load, 32).steps) == [sequences for _, sequences in load.steps]
    parts = [s[2] for _, s in load.steps if 2 in s]
    assert parts == [(0, 31), (31, 31), (62, 31), (93, 7), (100, 1)]


def test_a_prompt_for_which_decoding_requests_wait_takes_no_room_beside_them():
    load = served_load(
        [Job(30, 12), Job(60, 2), Job(100, 2)], concurrency=2, rng=np.random.default_rng(0), most=32, prefill_first=True
    )
    assert as_sets(rebuilt(load, 32).steps) == [sequences for _, sequences in load.steps]


def test_steps_that_answer_nobody_are_counted_before_the_one_that_does():
    # one prompt of 100 tokens in steps of 32: 32 + 32 + 32 unseen, then 4 and the first token
    load = served_load([Job(100, 2)], concurrency=1, rng=np.random.default_rng(0), most=32)
    steps = rebuilt(load, 32).steps
    assert as_sets(steps) == [{0: (0, 32)}, {0: (32, 32)}, {0: (64, 32)}, {0: (96, 4)}, {0: (100, 1)}]
    assert steps.logits_tokens.tolist() == [0, 0, 0, 1, 1]
    whole = load.steps[3][0] - load.requests["sent_ns"].item()
    assert steps.duration_ns[:4].sum() == pytest.approx(whole, abs=4)
    assert steps.duration_ns[:4] / whole == pytest.approx([0.32, 0.32, 0.32, 0.04], abs=1e-6)


def test_a_prompt_that_was_sent_between_two_passes_is_fed_from_the_next_one_on():
    """Request 1 takes 5 tokens of each of two steps of 6, beside request 0; a third step would have answered that."""
    came = [(0, at, tokens) for tokens, at in enumerate((20, 40, 60, 80, 100), 1)]
    steps = rebuilt(_seen([0, 40.1], *came, (1, 80, 1), (1, 100, 2)), 6).steps
    assert as_sets(steps) == [
        {0: (0, 6)},
        {0: (6, 4)},
        {0: (10, 1)},
        {0: (11, 1), 1: (0, 5)},
        {0: (12, 1), 1: (5, 5)},
        {0: (13, 1), 1: (10, 1)},
    ]


def test_an_engine_that_takes_prompts_between_two_passes_is_thought_to_do_so_where_it_is_not_seen():
    """Of request 2 it is open whether a step after that at 120 was unseen; of request 1 it is not."""
    first = [(0, at, tokens) for tokens, at in enumerate((20, 40, 60, 80), 1)]
    second = [(1, at, tokens) for tokens, at in enumerate((80, 100, 120), 1)]
    steps = rebuilt(_seen([0, 40.1, 100.1], *first, *second, (2, 140, 1), (2, 160, 2)), 6).steps
    assert as_sets(steps)[3:] == [
        {0: (11, 1), 1: (0, 5)},
        {0: (12, 1), 1: (5, 5)},
        {1: (10, 1)},
        {1: (11, 1), 2: (0, 5)},
        {2: (5, 5)},
        {2: (10, 1)},
    ]


def _seen(sent, *chunks):
    """A load of which a client saw this: when each was sent in ms, and (request, ms, tokens so far)."""
    rows = [(r, "load", at * MS, 10, 10, None) for r, at in enumerate(sent)]
    columns = ["request", "stage", "sent_ns", "input_tokens", "input_tokens_asked", "cached_tokens"]
    came = [(r, at * MS, tokens, "content") for r, at, tokens in chunks]
    chunks = pd.DataFrame(came, columns=["request", "time_ns", "tokens", "kind"])
    return Load(pd.DataFrame(rows, columns=columns), chunks, [])


def test_no_token_comes_before_its_request_was_sent():
    """The first chunk has five tokens 50 ms after sending, and the later ones say 20 ms a token."""
    steps = rebuilt(_seen([100], (0, 150, 5), (0, 170, 6), (0, 190, 7))).steps
    assert steps.start_ns[0] == 100 * MS
    assert (steps.duration_ns / MS).tolist() == pytest.approx([10] * 5 + [20] * 2, abs=1e-5)


def test_an_answer_in_one_chunk_took_its_steps_since_it_was_sent():
    steps = rebuilt(_seen([0, 200], (0, 80, 8), (1, 240, 4))).steps
    assert (steps.duration_ns / MS).tolist() == pytest.approx([10] * 12, abs=1e-5)
