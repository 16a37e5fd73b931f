"""Service levels as they are written, and how a load keeps them, by hand and against a simulated queue."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moecap.errors import BadInputError, UnknownNameError
from moecap.search.attainment import Attainment, attainments, over_saturated
from moecap.search.levels import Level, mlperf_levels, read_levels

MS = 1_000_000


def test_levels_are_of_the_99th_percentile_unless_they_say():
    assert read_levels("ttft=2s, tpot.p90=80ms,e2e.p99.9=1.5s") == (
        Level("ttft", 99, 2.0),
        Level("tpot", 90, 0.08),
        Level("e2e", 99.9, 1.5),
    )
    assert Level("tpot", 90, 0.08).words == "TPOT p90 ≤ 80 ms"


def test_those_of_mlperf_are_taken_by_name():
    assert read_levels("mlperf:llama2-70b-interactive") == (Level("ttft", 99, 0.45), Level("tpot", 99, 0.04))
    assert mlperf_levels("deepseek-r1-interactive") == (Level("ttft", 99, 1.5), Level("tpot", 99, 0.015))
    with pytest.raises(UnknownNameError, match="did you mean 'mixtral-8x7b-server'"):
        read_levels("mlperf:mixtral-8x7b")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "bounds nothing"),
        ("itl=2s", "no service level named 'itl'"),
        ("ttft=2", "give a time above 0 with its unit"),
        ("ttft=0s", "give a time above 0 with its unit"),
        ("ttft=1s,ttft.p50=2s", "given twice"),
        ("ttft.p0=1s", "give a percentile"),
        ("ttft.p101=1s", "give a percentile"),
        ("ttft.mean=1s", "give a percentile"),
    ],
)
def test_what_is_no_level_is_refused(text, problem):
    with pytest.raises((BadInputError, UnknownNameError), match=problem):
        read_levels(text)


def _load(*requests):
    """Requests of (scheduled, sent, token times) in ms; no token: it failed."""
    rows, chunks = [], []
    for number, (due, sent, tokens) in enumerate(requests):
        last = tokens[-1] * MS if tokens else None
        status = "completed" if tokens else "failed"
        rows.append((number, status, due * MS, sent * MS, last, len(tokens)))
        chunks += [(number, at * MS, count, "content") for count, at in enumerate(tokens, 1)]
    columns = ["request", "status", "scheduled_ns", "sent_ns", "ended_ns", "output_tokens"]
    return pd.DataFrame(rows, columns=columns), pd.DataFrame(chunks, columns=["request", "time_ns", "tokens", "kind"])


def test_the_share_of_each_level_by_hand():
    # TTFT 10, 30 and 50 ms; TPOT 10, 20 and none (one token); one request failed
    requests, chunks = _load((0, 0, [10, 20, 30]), (0, 0, [30, 50]), (5, 10, [60]), (0, 0, []))
    levels = read_levels("ttft=30ms,tpot=15ms,e2e=45ms")
    found = attainments(requests, chunks, levels, open_loop=False)
    assert [(a.within, a.n) for a in found] == [(2, 4), (1, 3), (1, 4)]
    low, high = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert (found[0].low, found[0].high) == pytest.approx((low, high), abs=1e-6)
    # in an open loop the third request was due 5 ms before it was sent
    assert attainments(requests, chunks, read_levels("ttft=52ms"), open_loop=True)[0].within == 2
    assert attainments(requests, chunks, read_levels("ttft=52ms"), open_loop=False)[0].within == 3


def test_a_level_holds_by_its_share_or_with_a_margin_by_its_interval():
    kept = Attainment(Level("ttft", 99, 1.0), 99, 100, 0.9455, 0.9982)
    assert kept.holds() and not kept.holds(margin=True)
    assert not Attainment(Level("ttft", 99, 1.0), 98, 100, 0.93, 0.994).holds()
    assert not Attainment(Level("ttft", 99, 1.0)).holds()


def test_a_level_that_nobody_can_tell_says_so():
    requests, chunks = _load((0, 0, [10, 20]), (0, 0, [10, 20]))
    found = attainments(requests, chunks.assign(tokens=None), read_levels("tpot=1s"), open_loop=False)[0]
    assert "the server does not tell the tokens" in found.problem and not found.holds()


def _queue(rate, servers, service, count, seed):
    """Times of an M/D/c queue in ns: Poisson arrivals, ``servers`` of a fixed service time each."""
    due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))
    free, ended = np.zeros(servers), []
    for at in due:
        place = int(np.argmin(free))
        free[place] = max(free[place], at) + service
        ended.append(free[place])
    return pd.DataFrame({"scheduled_ns": due * 1e9, "ended_ns": np.array(ended) * 1e9})


@pytest.mark.parametrize("seed", range(20))
def test_a_queue_that_grows_is_over_saturated_and_one_that_breathes_is_not(seed):
    capacity = 8 / 0.5
    assert over_saturated(_queue(1.6 * capacity, 8, 0.5, 400, seed))
    assert not over_saturated(_queue(0.8 * capacity, 8, 0.5, 400, seed))


def test_a_load_shorter_than_its_answers_is_no_growing_queue():
    assert not over_saturated(_queue(50, 10_000, 30.0, 300, 0))
    assert not over_saturated(_queue(50, 1, 1.0, 1, 0))
