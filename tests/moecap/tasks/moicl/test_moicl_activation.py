"""Activated experts of a query and the figure, by hand."""

import numpy as np
import pandas as pd
import pytest

from moecap.metrics.value import absent, measured
from moecap.observations.reader import Ragged, Routing, Steps
from moecap.observations.schema import Phase
from moecap.report.figures import NO_VALUE
from moecap.tasks.method import Passes
from moecap.tasks.moicl.activation import mean_activated, owners_by_sequence, owners_by_step
from moecap.tasks.moicl.figure import moicl_section
from moecap.tasks.moicl.pareto import front


def ragged(*rows):
    return Ragged(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


@pytest.fixture
def passes():
    """Step 0 feeds two demonstrations' tokens, step 1 two queries of one and two tokens after them, step 2 a load."""
    steps = Steps(
        stage=np.array(["score", "score", "load"]),
        start_ns=np.arange(3),
        duration_ns=np.array([5, 7, 9]),
        seq_request=ragged([10], [10, 20], [10]),
        seq_start=ragged([0], [2, 2], [0]),
        seq_new=ragged([2], [1, 2], [1]),
        seq_phase=ragged([Phase.SCORE], [Phase.SCORE, Phase.SCORE], [Phase.PREFILL]),
        logits_tokens=np.array([1, 2, 1]),
        distinct_experts=ragged([1], [1], [1]),
    )
    experts = np.array([[[0]], [[1]], [[2]], [[3]], [[3]], [[4]]])  # [tokens, one layer, k of 1]
    token_step = np.array([0, 0, 1, 1, 1, 2], np.int32)
    return Passes(steps, Routing(experts.astype(np.uint8), token_step, "hand"), 4)


@pytest.fixture
def sequences():
    return pd.DataFrame({"continuation": [10, 20], "tokens": [3, 4], "query_tokens": [1, 2], "query": [0, 1]})


def test_tokens_of_a_query_are_those_after_the_demonstrations(passes, sequences):
    assert owners_by_sequence(passes, sequences).tolist() == [-1, -1, 0, 1, 1, -1]
    shorter = sequences.assign(query_tokens=[2, 2])  # the first query begins within what was fed for all
    assert owners_by_sequence(passes, shorter).tolist() == [-1, 0, 0, 1, 1, -1]


def test_routing_in_another_order_than_that_of_the_steps_is_followed(passes, sequences):
    order = [5, 2, 0, 3, 1, 4]
    routing = Routing(passes.routing.experts[order], passes.routing.token_step[order], "hand")
    owners = owners_by_sequence(Passes(passes.steps, routing, 4), sequences)
    assert owners.tolist() == [-1, 0, -1, 1, -1, 1]


def test_tokens_of_a_query_alone_are_those_of_its_steps(passes):
    assert owners_by_step(passes, np.array([0, 2]), np.array([2, 3])).tolist() == [0] * 5 + [1]


def test_each_expert_of_a_query_counts_once_and_one_without_weights_never(passes):
    assert mean_activated(passes, np.array([0, 0, 0, 0, 0, -1])).value == 4
    assert mean_activated(passes, np.array([-1, -1, 0, 1, 1, -1])).value == 1
    assert mean_activated(passes, np.array([-1, -1, -1, -1, 0, 0])).value == 1  # 4 has no weights
    assert mean_activated(passes, np.full(6, -1)).value is None


def test_the_front_is_of_what_nothing_cheaper_equals():
    points = [(60, 0.7), (20, 0.5), (20, 0.6), (190, 0.7), (190, 0.75), (60, 0.65)]
    assert front(points) == [(20, 0.6), (60, 0.7), (190, 0.75)]


def test_generated_answers_have_no_chart_and_the_page_says_why():
    section = moicl_section({"accuracy_scalar_k3": measured(0.5, "1", 2, 0.1, 0.9)})
    assert section.charts == () and "no chart, since the tokens" in section.body


def test_the_chart_lays_accuracy_beside_tokens_time_and_experts_and_the_sentence_says_what_was_not_shown():
    metrics = {
        "accuracy_concat": measured(0.5, "1", 10, 0.2, 0.8),
        "accuracy_scalar_k3": measured(0.7, "1", 10, 0.4, 0.9),
        "gain_scalar_k3": measured(0.2, "1", 10, -0.1, 0.5),
        "new_tokens_per_query_k1": measured(20, "tokens", 10),
        "prompt_tokens_per_query_k1": measured(200, "tokens", 10),
        "experts_activated_k1": measured(3.5, "experts", 10),
        "new_tokens_per_query_k3": measured(60, "tokens", 10),
        "latency_k1": measured(0.1, "s", 2),
        "latency_k3": absent("s", "not asked"),
    }
    section = moicl_section(metrics)
    (chart,) = section.charts
    points = {trace["name"]: trace for trace in chart.data}
    assert points["MoICL, free weights"]["y"] == [0.7]
    assert points["MoICL, free weights"]["customdata"] == [[3, "60"]]
    assert points["all demonstrations in one prompt"]["y"] == [0.5]
    assert chart.layout["xaxis"]["tickvals"] == [20, 60]
    assert chart.layout["xaxis"]["ticktext"] == [
        "<b>k = 1</b><br>20 of 200<br>100 ms<br>3.5",
        f"<b>k = 3</b><br>60<br>{NO_VALUE}<br>{NO_VALUE}",
    ]
    assert "no difference was shown" in section.body
    apart = metrics | {"gain_scalar_k3": measured(0.2, "1", 10, 0.1, 0.5)}
    assert "no difference was shown" not in moicl_section(apart).body
    assert moicl_section({"latency_k1": metrics["latency_k1"]}) is None
