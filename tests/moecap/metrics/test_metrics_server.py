"""Metrics of what servers counted, against quotients of the numbers that three engines really published."""

from pathlib import Path

import pytest

from moecap.metrics.server import server_metrics, server_series
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.runner.server_flags import server_flags
from moecap_backends.exposition import read_exposition, watched_lines

RECORDINGS = Path(__file__).parents[2] / "moecap_backends" / "recordings"


def _samples(name):
    return [(s.name, s.labels, s.value) for s in read_exposition((RECORDINGS / f"{name}.metrics.txt").read_bytes())]


def _zero(samples):
    return [(name, labels, 0.0) for name, labels, _ in samples]


def _observed(tmp_path, *looks, requests=()):
    """Observations with looks (moment, samples), one a second, and requests (input, output, status, ttft in s)."""
    recorder = Recorder(stage="load")
    for number, (moment, samples) in enumerate(looks):
        recorder.server_metrics(number * 10**9, moment, samples)
    for number, (prompt, answer, status, ttft) in enumerate(requests):
        record = recorder.send(f"p{number}", prompt, answer, 1000)
        record.status = status
        if status == "completed":
            record.input_tokens, record.output_tokens = prompt, answer
            record.ended_ns = 1000 + round(ttft * 1e9)
            recorder.chunk(record.request, record.ended_ns, answer)
    recorder.write(tmp_path)
    return read_observations(tmp_path)


def _counted(tmp_path, *looks, requests=()):
    return server_metrics(_observed(tmp_path, *looks, requests=requests))


def _flags(tmp_path, *looks, requests=(), prefix_cache=False):
    seen = _observed(tmp_path, *looks, requests=requests)
    return {flag.name: flag.text for flag in server_flags(server_metrics(seen), seen.requests, prefix_cache)}


def test_vllms_counters_give_tokens_iterations_queue_and_time_to_first_token(tmp_path):
    after = _samples("vllm-0.32")
    found = _counted(tmp_path, ("before", _zero(after)), ("after", after))
    assert found["server.prompt_tokens"].value == 943
    assert found["server.generated_tokens"].value == 418
    assert found["server.prefix_cache_hit_share"].value == 0
    assert found["server.preemptions"].value == 0
    assert found["server.tokens_per_iteration"].value == pytest.approx((943 + 418) / 404)
    assert found["server.tokens_per_iteration"].n == 404
    assert found["server.queue_time_mean"].value == pytest.approx(0.0012092739998479374 / 52)
    assert found["server.ttft_mean"].value == pytest.approx(2.0516130924224854 / 52)


def test_sglangs_counters_add_up_over_their_labels(tmp_path):
    after = _samples("sglang-0.5.23")
    found = _counted(tmp_path, ("before", _zero(after)), ("after", after))
    assert found["server.prompt_tokens"].value == 205 + 54
    assert found["server.generated_tokens"].value == 234 + 40
    assert found["server.prefix_cache_hit_share"].value == pytest.approx(130 / 259)
    assert found["server.ttft_mean"].value == pytest.approx((0.6015030873286378 + 0.10674159099926328) / 29)
    assert found["server.queue_time_mean"].value == pytest.approx(0.019375532001504325 / 33)
    for name in ("server.preemptions", "server.tokens_per_iteration"):
        assert found[name].reason == "the server does not publish it"


def test_llamacpps_prompt_tokens_are_those_computed_and_those_cached(tmp_path):
    found = _counted(tmp_path, *((m, _samples(f"llamacpp-{m}")) for m in ("before", "after")))
    assert found["server.prompt_tokens"].value == 87 + 300
    assert found["server.prefix_cache_hit_share"].value == pytest.approx(300 / 387)
    assert found["server.generated_tokens"].value == 555
    assert found["server.tokens_per_iteration"].value == pytest.approx((87 + 555) / 547)
    assert found["server.queue_time_mean"].reason == "the server does not publish it"


def test_what_the_server_counted_before_the_load_is_not_of_the_load(tmp_path):
    after = _samples("vllm-0.32")
    half = [(name, labels, value / 2) for name, labels, value in after]
    found = _counted(tmp_path, ("before", half), ("after", after))
    assert found["server.generated_tokens"].value == 209
    assert found["server.ttft_mean"].value == pytest.approx(2.0516130924224854 / 52)


def test_a_counter_that_is_published_once_it_counts_rose_from_nothing(tmp_path):
    cached = ("sglang:cached_tokens_total", "{}", 30.0)
    prompts = [("sglang:prompt_tokens_total", "{}", value) for value in (0.0, 120.0)]
    found = _counted(tmp_path, ("before", prompts[:1]), ("after", [prompts[1], cached]))
    assert found["server.prefix_cache_hit_share"].value == 0.25


GAUGE = b'vllm:num_requests_running{engine="%d"} %d\nvllm:num_requests_waiting{engine="%d"} %d\n'


def test_requests_that_run_and_wait_add_up_over_engines_at_each_look(tmp_path):
    looks = []
    for running in ((3, 1), (5, 1)):
        body = b"".join(GAUGE % (engine, number, engine, 0) for engine, number in enumerate(running))
        looks.append(("during", [(s.name, s.labels, s.value) for s in read_exposition(watched_lines(body))]))
    after = _samples("vllm-0.32")
    found = _counted(tmp_path, ("before", after), *looks, ("after", after))
    assert (found["server.running_mean"].value, found["server.running_max"].value) == (5, 6)
    assert found["server.running_mean"].n == 2
    assert (found["server.waiting_mean"].value, found["server.waiting_max"].value) == (0, 0)
    assert "look during the load" in found["server.kv_cache_usage_max"].reason


TTFT = [
    ("vllm:time_to_first_token_seconds_sum", "{}", 0.5),
    ("vllm:time_to_first_token_seconds_count", "{}", 2.0),
]


def test_the_clients_time_to_first_token_less_the_servers_is_what_lies_between(tmp_path):
    requests = [(10, 4, "completed", 0.3), (10, 4, "completed", 0.4)]
    found = _counted(tmp_path, ("before", _zero(TTFT)), ("after", TTFT), requests=requests)
    assert found["server.ttft_outside"].value == pytest.approx(0.35 - 0.25)
    found = _counted(tmp_path, ("before", _zero(TTFT)), ("after", TTFT), requests=requests[:1])
    assert found["server.ttft_outside"].reason == "the server timed 2 requests, of this load 1 completed"


def test_without_a_word_of_a_server_every_metric_says_so(tmp_path):
    found = _counted(tmp_path)
    assert {m.reason for m in found.values()} == {"no server published metrics of its own"}


def test_a_load_that_did_not_end_and_counters_that_fell_give_no_numbers(tmp_path):
    after = _samples("vllm-0.32")
    assert "did not come to its end" in _counted(tmp_path, ("before", after))["server.generated_tokens"].reason
    fallen = _counted(tmp_path, ("before", after), ("after", _zero(after)))
    assert fallen["server.generated_tokens"].reason == "the server's counters were set back during the load"


def _tokens(prompt, generated, **more):
    named = {"prompt_tokens_total": prompt, "generation_tokens_total": generated, **more}
    samples = [(f"vllm:{name}", "{}", float(value)) for name, value in named.items()]
    return ("before", _zero(samples)), ("after", samples)


COMPLETED = [(10, 4, "completed", 0.1)] * 3


def test_a_server_that_counts_what_the_requests_have_has_no_flag(tmp_path):
    assert _flags(tmp_path, *_tokens(30, 12), requests=COMPLETED) == {}


def test_tokens_of_others_are_flagged(tmp_path):
    found = _flags(tmp_path, *_tokens(1030, 76), requests=COMPLETED)
    assert (
        "generated 76 tokens during the load, whose requests have 12: others used it" in found["server_output_tokens"]
    )
    assert "1030 tokens during the load, whose requests have 30" in found["server_input_tokens"]


def test_a_server_that_others_use_makes_the_run_invalid(tmp_path):
    seen = _observed(tmp_path, *_tokens(30, 76), requests=COMPLETED)
    levels = {flag.name: flag.level for flag in server_flags(server_metrics(seen), seen.requests, False)}
    assert levels == {"server_output_tokens": "invalid"}


def test_a_prompt_that_is_read_for_each_choice_is_not_of_others(tmp_path):
    seen = _observed(tmp_path, *_tokens(120, 12), requests=COMPLETED)
    found = server_metrics(seen)
    assert list(server_flags(found, seen.requests, False, choices=3)) == []
    assert [flag.name for flag in server_flags(found, seen.requests, False, choices=2)] == ["server_input_tokens"]


def test_fewer_tokens_than_the_answers_have_are_flagged(tmp_path):
    found = _flags(tmp_path, *_tokens(30, 11), requests=COMPLETED)
    assert "it did not compute all of them itself" in found["server_output_tokens"]


def test_a_request_that_failed_may_have_had_any_part_of_its_tokens(tmp_path):
    requests = [*COMPLETED, (10, 4, "failed", 0)]
    assert _flags(tmp_path, *_tokens(40, 14), requests=requests) == {}
    found = _flags(tmp_path, *_tokens(40, 17), requests=requests)
    assert "whose requests have 12 to 16" in found["server_output_tokens"]


def test_a_prefix_cache_that_hits_although_it_is_off_is_flagged(tmp_path):
    looks = _tokens(30, 12, prompt_tokens_cached_total=6)
    assert "served 20% of the prompt tokens" in _flags(tmp_path, *looks, requests=COMPLETED)["prefix_cache_not_off"]
    assert _flags(tmp_path, *looks, requests=COMPLETED, prefix_cache=True) == {}


def test_sequences_that_were_preempted_are_flagged(tmp_path):
    found = _flags(tmp_path, *_tokens(30, 12, num_preemptions_total=2), requests=COMPLETED)
    assert "preempted running sequences 2 times" in found["preempted"]


def test_what_a_server_said_over_time_adds_up_over_engines_and_counts_from_the_start(tmp_path):
    def look(running, usage, preempted, prompts, cached):
        of = [("vllm:num_requests_running", f'{{"engine": "{i}"}}', float(r)) for i, r in enumerate(running)]
        of += [("vllm:kv_cache_usage_perc", f'{{"engine": "{i}"}}', u) for i, u in enumerate(usage)]
        names = ("num_preemptions_total", "prompt_tokens_total", "prompt_tokens_cached_total")
        return of + [(f"vllm:{n}", "{}", float(v)) for n, v in zip(names, (preempted, prompts, cached), strict=True)]

    first = look((0, 0), (0.0, 0.0), 5, 100, 40)
    looks = [("before", first), ("during", first), ("during", look((3, 4), (0.25, 0.5), 7, 180, 60)), ("after", first)]
    series = server_series(_observed(tmp_path, *looks).server_metrics)
    assert list(series.columns) == ["running", "kv_usage", "preemptions", "cached_share"]  # none is said to wait
    assert series.index.tolist() == [10**9, 2 * 10**9]
    assert series["running"].tolist() == [0, 7]
    assert series["kv_usage"].tolist() == [0, 0.5]
    assert series["preemptions"].tolist() == [0, 2]
    assert series["cached_share"].isna().tolist() == [True, False]
    assert series["cached_share"].iloc[1] == 20 / 80


def test_a_load_without_a_look_has_no_series(tmp_path):
    after = _samples("vllm-0.32")
    assert server_series(_observed(tmp_path, ("before", after), ("after", after)).server_metrics).empty
    assert server_series(_observed(tmp_path).server_metrics).empty
