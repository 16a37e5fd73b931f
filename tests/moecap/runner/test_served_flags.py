"""Flags of a load over HTTP that follow from what the server counts."""

import pandas as pd
import pytest
from pydantic import ValidationError

from moecap.metrics.repeats import over_repeats
from moecap.metrics.value import absent, measured
from moecap.result import BackendRecord
from moecap.runner.served_flags import queue_flags, served_flags

BACKEND = BackendRecord(name="openai", version="1", device="cpu", timer="none", batching="continuous", details={})
METRICS = {name: absent("1", "not asked") for name in ("client.utilisation", "server.prefix_cache_hit_share")}


def _flags(metrics=METRICS, exact=True, **columns):
    table = {"stage": "load", "status": "completed", "input_tokens_asked": 8, "output_tokens_asked": 6}
    table |= {"input_tokens": 8, "output_tokens": 6, "cached_tokens": 0, "choices": None} | columns
    requests = pd.DataFrame([table] * 4 + [table | {"input_tokens": 8, "output_tokens": 6, "cached_tokens": 0}])
    return {flag.name: flag.text for flag in served_flags(BACKEND, metrics, requests, exact=exact)}


def test_a_client_that_did_not_keep_up_in_one_repeat_makes_the_mean_invalid():
    each = [{"client.utilisation": measured(share, "1", 100)} for share in (0.1, 0.9, 0.1)]
    assert "client_limit" not in _flags(METRICS | over_repeats([each[0], each[2]]))
    found = _flags(METRICS | over_repeats(each))["client_limit"]
    assert found.startswith("The load generator was at 90% of what it can take")


def test_counts_as_asked_for_are_no_remark():
    assert _flags() == {}


@pytest.mark.parametrize("kind", ["input", "output"])
def test_lengths_that_the_server_counts_otherwise_are_flagged_with_their_number(kind):
    """vllm#24937, sglang#15732, vllm#44708."""
    assert _flags(**{f"{kind}_tokens": 5})[f"{kind}_length"].startswith("4 of 5 ")


def test_answers_that_end_by_themselves_may_be_shorter_and_not_longer():
    assert _flags(exact=False, output_tokens=5) == {}
    assert "output_length" in _flags(exact=False, output_tokens=7)


def test_prompts_from_a_prefix_cache_are_flagged_with_their_share():
    """vllm#52884, #54227."""
    assert _flags(cached_tokens=4)["prefix_cache"].startswith("A prefix cache served 40% of the prompts' tokens")


@pytest.mark.parametrize(
    ("attached", "marked", "cached", "share", "flagged"),
    [
        (True, False, None, None, True),
        (False, False, None, None, False),
        (True, True, None, None, False),
        (True, False, 0, None, False),
        (True, False, None, 0.0, False),
    ],
)
def test_questions_on_a_server_of_others_that_tells_nothing_of_its_cache_are_flagged(
    attached, marked, cached, share, flagged
):
    counts = {"input_tokens": 8, "output_tokens": 6, "input_tokens_asked": 8, "output_tokens_asked": 6}
    requests = pd.DataFrame(
        [{"stage": "load", "status": "completed", "choices": 1, "cached_tokens": cached} | counts] * 2
    )
    told = absent("1", "no metrics") if share is None else measured(share, "1", 1)
    metrics = METRICS | {"server.prefix_cache_hit_share": told}
    backend = BACKEND.model_copy(update={"attached": attached})
    names = {flag.name for flag in served_flags(backend, metrics, requests, marked=marked)}
    assert ("prefix_cache_possible" in names) == flagged


@pytest.mark.parametrize(("latency", "flagged"), [(2, False), (30, True)])
def test_an_open_loop_that_only_queues_is_flagged(latency, flagged):
    """Twenty arrivals, one a second: answers that take 30 s have all ended after the last arrival."""
    requests = pd.DataFrame(
        {"stage": "load", "scheduled_ns": range(20), "ended_ns": [i + latency for i in range(20)], "session": None}
    )
    flags = [*queue_flags(requests)]
    assert bool(flags) == flagged
    assert not flagged or flags[0].text.startswith("When the last of 20 arrivals was due, 0 had ended")


@pytest.mark.parametrize("tokens", [0, -1])
def test_a_record_of_an_engine_that_feeds_no_token_in_a_step_is_refused(tokens):
    with pytest.raises(ValidationError, match="greater than 0"):  # prompts in parts of no token would never end
        BackendRecord.model_validate(BACKEND.model_dump() | {"step_tokens": tokens})
