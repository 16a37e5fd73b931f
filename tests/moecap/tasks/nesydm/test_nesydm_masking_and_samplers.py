"""Invariants of the forward process, of what a network unmasks, and of the samplers."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.tasks.nesydm import training
from moecap.tasks.nesydm.masking import Unmasking, masked
from moecap.tasks.nesydm.programs import program_of
from moecap.tasks.nesydm.samplers import Target, resampled, sample_concepts
from moecap.tasks.nesydm.training import drawn_concepts

V = 3


def draw_from(seed=0):
    return torch.Generator().manual_seed(seed)


class Network:
    """Logits that depend on what is known, and the number of times that they were asked for."""

    def __init__(self, concepts, values=V, seed=0):
        self.tables = torch.randn((values + 1) ** concepts, concepts, values, generator=draw_from(seed)) * 1.5
        self.powers = (values + 1) ** torch.arange(concepts)
        self.calls = 0
        self.seen = []

    def __call__(self, known):
        self.calls += 1
        self.seen.append(known)
        return self.tables[(known * self.powers).sum(-1)]


@settings(deadline=None)
@given(st.lists(st.integers(0, V), min_size=4, max_size=4), st.integers(0, 2**31))
def test_what_is_unmasked_is_carried_over_and_the_mask_has_no_probability(known, seed):
    known = torch.tensor([known])
    unmasking = Unmasking(torch.randn(1, 4, V, generator=draw_from(seed)), known)
    probabilities = unmasking.probabilities()
    assert probabilities.shape == (1, 4, V)  # no place for the mask
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(1, 4))
    samples = unmasking.sample(50, draw_from(seed))
    assert ((samples >= 0) & (samples < V)).all()
    for place, value in enumerate(known[0].tolist()):
        if value < V:
            assert probabilities[0, place, value] == 1
            assert (samples[..., place] == value).all()
            assert (unmasking.log_prob(samples)[..., place] == 0).all()
            assert unmasking.entropy()[0, place] == 0


def test_log_probabilities_and_entropy_are_those_of_torchs_own_distribution():
    logits = torch.randn(5, 4, V, generator=draw_from())
    unmasking = Unmasking(logits, torch.full((5, 4), V))
    own = torch.distributions.Categorical(logits=logits)
    samples = unmasking.sample(7, draw_from())
    torch.testing.assert_close(unmasking.log_prob(samples), own.log_prob(samples))
    torch.testing.assert_close(unmasking.entropy(), own.entropy())


def test_samples_have_the_probabilities_of_the_network():
    logits = torch.tensor([[[0.0, 1.0, -1.0], [5.0, 0.0, 0.0]]])
    unmasking = Unmasking(logits, torch.full((1, 2), V))
    samples = unmasking.sample(40_000, draw_from())
    for value in range(V):
        share = (samples == value).float().mean(0)
        torch.testing.assert_close(share, logits.softmax(-1)[..., value], atol=0.01, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 1.0), st.integers(0, 2**31))
def test_the_forward_process_masks_a_share_of_t(time, seed):
    concepts = torch.randint(0, V, (5_000, 4), generator=draw_from(seed))
    known = masked(concepts, torch.full((5_000,), time), V, draw_from(seed))
    share = (known == V).float().mean().item()
    assert share == pytest.approx(time, abs=5 * 0.5 / 20_000**0.5)
    assert (known[known < V] == concepts[known < V]).all()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([None, 1, 2, 3]), st.integers(0, 2**31), st.booleans())
def test_samplers_leave_no_mask_and_change_nothing_that_is_known(steps, seed, towards_label):
    start = torch.tensor([[V, V, 1, V], [V, 0, V, V]])
    network = Network(4, seed=seed)
    program = program_of("addition", 2)  # digits 0 to 2 among its ten
    target = Target(program, torch.tensor([[0, 2, 2], [0, 1, 1]]), 5, 2.0) if towards_label else None
    found = sample_concepts(network, start, V, steps, draw_from(seed), target)
    assert (found < V).all()
    assert (found[start < V] == start[start < V]).all()
    for before, after in zip(network.seen, [*network.seen[1:], found], strict=True):
        assert (after[before < V] == before[before < V]).all()


@pytest.mark.parametrize("steps", [None, 4, 9])
def test_first_hitting_asks_the_network_once_a_masked_concept_and_unmasks_one_each_time(steps):
    network = Network(4)
    sample_concepts(network, torch.full((3, 4), V), V, steps, draw_from())
    assert network.calls == 4
    assert [(known == V).sum(-1).unique().tolist() for known in network.seen] == [[4], [3], [2], [1]]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_discretised_sampler_asks_the_network_once_a_step(steps):
    network = Network(4)
    sample_concepts(network, torch.full((3, 4), V), V, steps, draw_from())
    assert network.calls == steps


def _shares(found):
    counts = Counter(map(tuple, found.tolist()))
    return {concepts: count / len(found) for concepts, count in counts.items()}


def test_one_step_draws_all_concepts_independently():
    network = Network(2)
    start = torch.full((40_000, 2), V)
    shares = _shares(sample_concepts(network, start, V, 1, draw_from()))
    first, second = network(start[:1])[0].softmax(-1)
    for (a, b), share in shares.items():
        assert share == pytest.approx(float(first[a] * second[b]), abs=0.01)


def test_first_hitting_draws_the_mean_over_the_two_orders():
    """Either concept first with chance one half, then the other one given it: by hand for two concepts."""
    network = Network(2)
    start = torch.full((60_000, 2), V)
    shares = _shares(sample_concepts(network, start, V, None, draw_from()))
    first, second = network(start[:1])[0].softmax(-1)
    for a in range(V):
        for b in range(V):
            second_given = network(torch.tensor([[a, V]]))[0, 1].softmax(-1)[b]
            first_given = network(torch.tensor([[V, b]]))[0, 0].softmax(-1)[a]
            expected = 0.5 * first[a] * second_given + 0.5 * second[b] * first_given
            assert shares.get((a, b), 0) == pytest.approx(float(expected), abs=0.01)


def test_the_discretised_sampler_unmasks_a_share_of_one_by_the_steps_left():
    network = Network(2)
    sample_concepts(network, torch.full((20_000, 2), V), V, 1, draw_from())
    one, two = Network(3), Network(3)
    sample_concepts(one, torch.full((20_000, 3), V), V, 2, draw_from())
    assert (one.seen[1] == V).float().mean().item() == pytest.approx(1 / 2, abs=0.01)
    sample_concepts(two, torch.full((20_000, 3), V), V, 2, draw_from(1))
    assert (two.seen[1] == V).float().mean().item() == pytest.approx(1 / 2, abs=0.01)


def test_resampling_with_a_strong_beta_takes_a_candidate_that_explains_the_label_where_there_is_one():
    candidates = torch.randint(0, 10, (6, 200, 4), generator=draw_from())
    missed = torch.randint(0, 4, (6, 200), generator=draw_from(1))
    missed[0, ::2] = 0
    numbered = torch.arange(6)[:, None, None].expand(6, 200, 4)
    chosen = resampled(numbered, missed, 1000.0, draw_from())[:, 0]
    assert (missed[chosen, torch.arange(200)] == missed.min(0).values).all()
    assert resampled(candidates, missed, 1000.0, draw_from()).shape == (200, 4)


def test_resampling_takes_candidates_in_proportion_to_exp_of_minus_beta_times_misses():
    candidates = torch.arange(3)[:, None, None].expand(3, 50_000, 1)
    missed = torch.tensor([0, 1, 3])[:, None].expand(3, 50_000)
    chosen = resampled(candidates, missed, 0.7, draw_from())[:, 0]
    weights = torch.exp(-0.7 * torch.tensor([0.0, 1.0, 3.0]))
    shares = torch.bincount(chosen, minlength=3) / 50_000
    torch.testing.assert_close(shares, weights / weights.sum(), atol=0.01, rtol=0)


def test_resampling_survives_misses_whose_weights_underflow():
    candidates = torch.arange(2)[:, None, None].expand(2, 4, 1)
    missed = torch.tensor([[900], [901]]).expand(2, 4)
    assert (resampled(candidates, missed, 50.0, draw_from()) == 0).all()


def test_one_candidate_is_a_free_sample():
    target = Target(program_of("half", 0), torch.zeros(50_000, 1, dtype=torch.long), 1, 20.0)
    network, start = Network(2), torch.full((50_000, 2), V)
    free, towards = (
        _shares(sample_concepts(network, start, V, None, draw_from(s), t)) for s, t in ((0, None), (1, target))
    )
    assert free == pytest.approx(towards, abs=0.01)


class Looking(Network):
    """The same of inputs that differ: each input has logits of its own, and rows that are asked are counted."""

    def __init__(self, concepts, inputs):
        super().__init__(concepts)
        self.own = torch.randn(inputs, 1, V, generator=draw_from(7))
        self.rows = []

    def encode(self, inputs):
        return inputs

    def logits(self, encoded, known):
        self.rows.append(len(known))
        return self(known) + self.own[encoded]


@pytest.mark.parametrize("steps", [None, 1])
def test_chains_that_know_the_same_of_an_input_are_asked_once_and_drawn_as_if_each_were_asked(steps):
    program, inputs, samples = program_of("half", 0), torch.arange(3), 400
    network, every = Looking(2, 3), Looking(2, 3)
    program = replace(program, values=V)
    found = drawn_concepts(network, inputs, program, samples, steps, draw_from(5))
    looked, start = inputs.repeat(samples), torch.full((samples * 3, 2), V)
    expected = sample_concepts(partial(every.logits, looked), start, V, steps, draw_from(5))
    assert torch.equal(found, expected.unflatten(0, (samples, 3)))
    assert every.rows == [samples * 3] * len(every.rows)
    assert network.rows[0] == 3  # nothing is known yet
    assert all(rows <= 3 * 2 * V for rows in network.rows[1:])


def test_states_that_no_number_tells_apart_are_asked_chain_by_chain(monkeypatch):
    program, inputs = replace(program_of("half", 0), values=V), torch.arange(3)
    apart, together = (Looking(2, 3) for _ in range(2))
    expected = drawn_concepts(together, inputs, program, 40, None, draw_from(5))
    monkeypatch.setattr(training, "MOST_NUMBERED", 10)
    assert torch.equal(drawn_concepts(apart, inputs, program, 40, None, draw_from(5)), expected)
    assert apart.rows == [120, 120]
