"""Sequences that begin alike are fed their beginning once, and score as if each had been fed whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.backend import Continuation
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap_backends.shared_prefix import LEAST_SAVED, SHORTEST, prefix_groups
from moecap_backends.transformers import TransformersEngine

pytestmark = pytest.mark.engine


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 3), max_size=6)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_every_sequence_is_in_one_group_and_begins_as_the_others_of_it(drawn):
    beginnings = [[1] * 40, [1] * 20 + [2] * 40, [3] * 90]
    sequences = [(*beginnings[which], *tail, 9) for which, tail in drawn]
    most = [len(s) - 1 for s in sequences]
    groups = prefix_groups(sequences, most)
    assert sorted(i for group in groups for i in group.members) == list(range(len(sequences)))
    for group in groups:
        assert len({sequences[i][: group.length] for i in group.members}) == 1
        assert all(group.length <= most[i] for i in group.members)
        if group.length:
            assert group.length >= SHORTEST and (len(group.members) - 1) * group.length >= LEAST_SAVED


def test_three_sets_of_examples_before_twenty_questions_are_three_groups():
    rng = np.random.default_rng(0)
    heads = [tuple(rng.integers(10, 90, 60).tolist()) for _ in range(3)]
    sequences = [(*head, *rng.integers(10, 90, 5).tolist()) for head in heads for _ in range(20)]
    groups = prefix_groups(sequences, [64] * 60)
    assert sorted((g.length >= 60, len(g.members)) for g in groups) == [(True, 20)] * 3


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3", "dense", "gpt_oss"])
def test_scores_after_a_shared_beginning_are_those_of_whole_sequences(family, tiny_model, job_for, tmp_path):
    rng = np.random.default_rng(1)
    head = tuple(rng.integers(1, 60, 70).tolist())
    items = [
        Continuation(f"c{i}", (*head, *rng.integers(1, 60, 1 + i % 4).tolist()), tuple(rng.integers(1, 60, 1 + i % 3)))
        for i in range(12)
    ]
    recorder = Recorder(stage="score", capture="hook")
    with TransformersEngine(job_for(tiny_model(family), score_batch_size="5")) as engine:
        together = engine.score(items, recorder, lambda _done: None)
        apart = [engine.score([item], Recorder(stage="score"), lambda _done: None)[0] for item in items]
    assert [s.log_likelihood for s in together] == pytest.approx([s.log_likelihood for s in apart], abs=2e-4)
    assert [s.is_greedy for s in together] == [s.is_greedy for s in apart]
    recorder.write(tmp_path)
    seen = read_observations(tmp_path)
    fed = sum(len(c.context) + len(c.target) - 1 for c in items)
    if family == "gpt_oss":  # a sliding window keeps no whole beginning
        assert seen.steps.tokens().sum() == fed
    else:
        assert seen.steps.tokens().sum() < fed - 11 * 60
        assert seen.steps.seq_start.values.max() >= 70
        assert family == "dense" or len(seen.routing.experts) == seen.steps.tokens().sum()
