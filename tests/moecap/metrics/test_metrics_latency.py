"""Latency and throughput against hand calculation on a schedule that is written out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.metrics.latency import latencies, percentile, throughput, token_latencies
from moecap.metrics.window import steady_state

S = 1_000_000_000


def _request(number, sent, first, last, tokens, *, status="completed", inputs=64, due=None):
    done = status == "completed"
    return {
        "request": number,
        "stage": "load",
        "scheduled_ns": int((sent if due is None else due) * S),
        "sent_ns": int(sent * S),
        "first_token_ns": int(first * S) if done else None,
        "last_token_ns": int(last * S) if done else None,
        "ended_ns": int(last * S),
        "input_tokens": inputs,
        "output_tokens": tokens if done else None,
        "status": status,
    }


def _chunks(rows):
    return pd.DataFrame([{"request": r, "time_ns": int(t * S), "tokens": n, "kind": k} for r, t, n, k in rows])


def test_a_stream_of_single_tokens_gives_ttft_tpot_itl_and_e2e():
    requests = pd.DataFrame([_request(0, 1.0, 1.5, 2.1, 4)])
    chunks = _chunks([(0, 1.5, 1, "content"), (0, 1.7, 2, "content"), (0, 1.8, 3, "content"), (0, 2.1, 4, "content")])
    values = token_latencies(requests, chunks)
    assert values["ttft"] == pytest.approx([0.5])
    assert values["e2e"] == pytest.approx([1.1])
    assert values["tpot"] == pytest.approx([0.6 / 3])
    assert values["itl"] == pytest.approx([0.2, 0.1, 0.3])


def test_a_chunk_of_several_tokens_gives_one_itl_value_for_each_token():
    requests = pd.DataFrame([_request(0, 0.0, 1.0, 2.0, 6)])
    values = token_latencies(requests, _chunks([(0, 1.0, 2, "content"), (0, 2.0, 6, "content")]))
    assert values["itl"] == pytest.approx([0.25] * 4)
    assert values["tpot"] == pytest.approx([1.0 / 4])


def test_role_usage_and_empty_chunks_bear_no_token_and_move_no_latency():
    requests = pd.DataFrame([_request(0, 0.0, 1.0, 2.0, 2)])
    chunks = _chunks(
        [
            (0, 0.1, 0, "role"),
            (0, 1.0, 1, "reasoning"),
            (0, 1.5, 1, "empty"),
            (0, 2.0, 2, "content"),
            (0, 3.0, 2, "usage"),
        ]
    )
    values = token_latencies(requests, chunks)
    assert values["ttft"] == pytest.approx([1.0])
    assert values["e2e"] == pytest.approx([2.0])
    assert values["itl"] == pytest.approx([1.0])


def test_an_answer_of_one_token_has_no_tpot():
    requests = pd.DataFrame([_request(0, 0.0, 1.0, 1.0, 1)])
    values = token_latencies(requests, _chunks([(0, 1.0, 1, "content")]))
    assert len(values["tpot"]) == 0
    assert len(values["itl"]) == 0


def test_chunks_of_unknown_length_give_no_itl_and_no_tpot():
    requests = pd.DataFrame([_request(0, 0.0, 1.0, 2.0, 2)])
    values = token_latencies(requests, _chunks([(0, 1.0, None, "content"), (0, 2.0, None, "content")]))
    assert values["ttft"] == pytest.approx([1.0])
    assert len(values["itl"]) == len(values["tpot"]) == 0


def test_a_failed_request_is_in_no_latency_and_its_time_counts_in_throughput():
    requests = pd.DataFrame([_request(0, 0.0, 1.0, 2.0, 2), _request(1, 0.0, 0, 4.0, 0, status="failed")])
    chunks = _chunks([(0, 1.0, 1, "content"), (0, 2.0, 2, "content"), (1, 1.0, 1, "content")])
    assert token_latencies(requests, chunks)["ttft"] == pytest.approx([1.0])
    metrics = throughput(requests, chunks, (0, 4 * S), devices=2)
    assert metrics["failed_requests"].value == 1
    assert metrics["output_tokens_per_second"].value == pytest.approx(2 / 4)
    assert metrics["output_tokens_per_second_per_device"].value == pytest.approx(1 / 4)
    assert metrics["requests_per_second"].value == pytest.approx(1 / 4)
    assert metrics["input_tokens_per_second"].value == pytest.approx(64 / 4)


@pytest.mark.parametrize(("n", "p", "given_value"), [(2, 50, True), (1, 50, False), (99, 99, False), (100, 99, True)])
def test_a_percentile_is_given_only_where_its_tail_holds_an_observation(n, p, given_value):
    metric = percentile(np.arange(n, dtype=float), p)
    assert (metric.value is not None) == given_value
    assert given_value or "too few" in metric.reason


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=200))
def test_the_median_is_numpys_linear_interpolation(values):
    assert percentile(np.array(values), 50).value == pytest.approx(float(np.median(values)), rel=1e-12, abs=1e-12)


def test_no_request_gives_reasons_and_not_zeros():
    empty = pd.DataFrame([_request(0, 0, 0, 0, 0)]).iloc[:0]
    chunks = _chunks([(0, 1.0, 1, "content")]).iloc[:0]
    metrics = latencies(empty, chunks) | throughput(empty, chunks, None, 1)
    assert metrics["failed_requests"].value == 0
    assert all(m.value is None and m.reason for n, m in metrics.items() if n != "failed_requests")


def test_the_steady_state_is_the_longest_span_at_nine_tenths_of_the_target():
    rows = [_request(0, 0, 1, 10, 1), _request(1, 2, 3, 8, 1), _request(2, 9, 9.5, 9.8, 1)]
    assert steady_state(pd.DataFrame(rows), concurrency=2) == (2 * S, 8 * S)


def test_back_to_back_batches_do_not_interrupt_the_steady_state():
    rows = [_request(i, i // 2 * 5, 1, (i // 2 + 1) * 5, 1) for i in range(6)]
    assert steady_state(pd.DataFrame(rows), concurrency=2) == (0, 15 * S)


def test_a_static_batch_takes_its_places_until_its_last_answer_has_ended():
    """Two batches of two, whose answers end at 1 and 4 s and at 5 and 9 s, and half a batch."""
    rows = [_request(i, *times, 1) for i, times in enumerate([(0, 1, 1), (0, 1, 4), (4, 5, 5), (4, 5, 9), (9, 10, 12)])]
    assert steady_state(pd.DataFrame(rows), concurrency=2) == (0, 1 * S)
    assert steady_state(pd.DataFrame(rows), concurrency=2, static=True) == (0, 9 * S)


def test_a_target_that_is_never_reached_has_no_steady_state():
    assert steady_state(pd.DataFrame([_request(0, 0, 1, 2, 1)]), concurrency=2) is None


def test_a_client_that_sends_a_little_late_does_not_interrupt_the_steady_state():
    rows = [_request(i, i // 2 * 5 + 0.001, 1, (i // 2 + 1) * 5, 1, due=i // 2 * 5) for i in range(6)]
    assert steady_state(pd.DataFrame(rows), concurrency=2) == (0, 15 * S)


def test_an_open_loop_is_steady_between_the_first_and_the_last_tenth_of_its_arrivals():
    rows = [_request(i, i, i + 1, i + 2, 1) for i in range(20)]
    assert steady_state(pd.DataFrame(rows), concurrency=None) == (2 * S, 17 * S)
    assert steady_state(pd.DataFrame(rows[:2]), concurrency=None) is None


def test_latency_from_the_schedule_holds_the_time_that_a_request_waited_to_be_sent():
    requests = pd.DataFrame([_request(0, 3.0, 3.5, 4.0, 2, due=1.0)])
    values = token_latencies(requests, _chunks([(0, 3.5, 1, "content"), (0, 4.0, 2, "content")]))
    assert values["ttft"] == pytest.approx([0.5])
    assert values["ttft_from_schedule"] == pytest.approx([2.5])
    assert values["e2e_from_schedule"] == pytest.approx([3.0])


def test_the_first_token_that_is_no_reasoning_stands_apart():
    """inference-perf#559: an answer that is all reasoning has a first token, and none of output."""
    requests = pd.DataFrame([_request(0, 0.0, 1.0, 3.0, 3), _request(1, 0.0, 1.0, 2.0, 2)])
    chunks = _chunks(
        [
            (0, 1.0, 1, "reasoning"),
            (0, 2.0, 2, "reasoning"),
            (0, 3.0, 3, "content"),
            (1, 1.0, 1, "reasoning"),
            (1, 2.0, 2, "reasoning"),
        ]
    )
    values = token_latencies(requests, chunks)
    assert values["ttft"] == pytest.approx([1.0, 1.0])
    assert values["ttfo"] == pytest.approx([3.0])


def test_tokens_that_are_not_known_are_not_counted_as_none():
    requests = pd.DataFrame([_request(0, 0.0, 1.0, 2.0, 6), _request(1, 0.0, 1.0, 2.0, 6)])
    chunks = _chunks([(r, t, None, "content") for r in (0, 1) for t in (1.0, 2.0)])
    metrics = throughput(requests, chunks, (0, 2 * S), 1)
    assert metrics["output_tokens_per_second"].value is None
    assert "not known" in metrics["output_tokens_per_second"].reason
    assert metrics["output_tokens_per_second_whole_run"].value == pytest.approx(12 / 2)
    assert metrics["requests_per_second"].value == pytest.approx(1.0)
