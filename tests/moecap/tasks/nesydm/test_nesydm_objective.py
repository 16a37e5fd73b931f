"""The bound and its gradient against exact sums over all concepts."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.tasks.nesydm.enumeration import Worlds
from moecap.tasks.nesydm.masking import Unmasking
from moecap.tasks.nesydm.networks import Perception
from moecap.tasks.nesydm.objective import Weighting, diffusion_terms, log_expectation
from moecap.tasks.nesydm.programs import Program, program_of

XOR = program_of("xor", 0)


def draw_from(seed=0):
    return torch.Generator().manual_seed(seed)


def table_of(concepts, values, inputs, seed=0):
    return torch.randn(inputs, (values + 1) ** concepts, concepts, values, generator=draw_from(seed))


class Tabular(Perception):
    """A number for each input, each state of what is known, each concept and each value."""

    def __init__(self, concepts, values, inputs, seed=0, scale=1.0):
        super().__init__()
        self.values, self.concepts = values, concepts
        self.table = torch.nn.Parameter(scale * table_of(concepts, values, inputs, seed))

    def encode(self, inputs):
        return inputs

    def logits(self, encoded, known):
        state = (known * (self.values + 1) ** torch.arange(self.concepts)).sum(-1)
        return self.table[encoded, state]


# --- RLOO ---


def _gradients(logits, program, labels, samples, runs):
    """The mean over many runs of the estimated gradient of the label's log-probability, and the exact one."""
    exact = logits.clone().requires_grad_()
    Worlds(program).log_probability(exact.log_softmax(-1), labels).sum().backward()
    estimated = logits.expand(runs, *logits.shape[1:]).clone().requires_grad_()
    unmasking = Unmasking(estimated, torch.full((runs, program.concepts), program.values))
    drawn = unmasking.sample(samples, draw_from())
    hits = (program(drawn) == labels).float()
    log_expectation(unmasking.log_prob(drawn).sum(-1), hits).sum().backward()
    return estimated.grad.mean(0), exact.grad[0]


@pytest.mark.parametrize("values", [2, 3, 4])
def test_the_gradient_is_that_of_the_exact_log_probability(values):
    program = Program("sum", lambda a, b: (a + b,), 2, values, 1, 2 * values - 1)
    logits = torch.randn(1, 2, values, generator=draw_from(values)) * 0.5
    label = torch.tensor([[values - 1]])
    estimated, exact = _gradients(logits, program, label, 128, 20_000)
    torch.testing.assert_close(estimated, exact, atol=0.02, rtol=0)


def test_the_gradients_bias_shrinks_with_the_samples():
    program = Program("sum", lambda a, b: (a + b,), 2, 3, 1, 5)
    logits, label = torch.randn(1, 2, 3, generator=draw_from(5)), torch.tensor([[0]])
    few, exact = _gradients(logits, program, label, 8, 20_000)
    many, _ = _gradients(logits, program, label, 256, 20_000)
    assert (many - exact).norm() < (few - exact).norm() / 4


@settings(deadline=None)
@given(st.integers(2, 20), st.integers(0, 1), st.integers(0, 2**31))
def test_the_gradient_is_zero_where_all_samples_agree(samples, hit, seed):
    log_probability = torch.randn(samples, 2, generator=draw_from(seed)).requires_grad_()
    log_expectation(log_probability, torch.full((samples, 2, 3), float(hit))).sum().backward()
    torch.testing.assert_close(log_probability.grad, torch.zeros(samples, 2))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=2, max_size=12), st.integers(0, 2**31))
def test_value_and_gradient_follow_the_formula(hits, seed):
    samples, mean = len(hits), sum(hits) / len(hits)
    log_probability = torch.randn(samples, 1, generator=draw_from(seed)).double().requires_grad_()
    value = log_expectation(log_probability, torch.tensor(hits).double()[:, None, None])
    value.backward()
    assert value.item() == pytest.approx(math.log(mean + 1e-8))
    expected = [(hit - mean) / ((samples - 1) * (mean + 1e-8)) for hit in hits]
    assert log_probability.grad[:, 0].tolist() == pytest.approx(expected)


# --- sums over all concepts ---


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["xor", "half", "addition"]), st.integers(0, 2**31))
def test_label_probability_and_conditional_entropy_are_sums_over_all_concepts(name, seed):
    program = program_of(name, 1)
    probabilities = torch.randn(1, program.concepts, program.values, generator=draw_from(seed)).double().softmax(-1)[0]
    worlds = {
        world: math.prod(float(probabilities[place, value]) for place, value in enumerate(world))
        for world in itertools.product(range(program.values), repeat=program.concepts)
    }
    label = program.function(*(int(p.argmax()) for p in probabilities))
    fitting = [p for world, p in worlds.items() if program.function(*world) == label]
    listed = Worlds(program)
    found = listed.log_probability(probabilities.log()[None], torch.tensor([label]))
    assert found.item() == pytest.approx(math.log(sum(fitting)))
    entropy = -sum(p / sum(fitting) * math.log(p / sum(fitting)) for p in fitting) / program.concepts
    given_label = listed.conditional_entropy(probabilities.log()[None], torch.tensor([label]))
    assert given_label.item() == pytest.approx(entropy, abs=1e-6)


def test_groups_of_concepts_multiply_and_their_entropies_add():
    """The rules of the road by groups against all 2 ** 21 of them taken a group at a time by hand."""
    program = program_of("driving", 0)
    logits = torch.randn(1, 21, 2, generator=draw_from()).double()
    p = logits.softmax(-1)[0, :, 1].tolist()
    label = torch.tensor([[2, 1, 0]])

    def chance(places, bits):
        return math.prod(p[i] if bit else 1 - p[i] for i, bit in zip(places, bits, strict=True))

    total, entropy = 0.0, 0.0
    for places, (output,) in program.parts():
        fitting = []
        for bits in itertools.product((0, 1), repeat=len(places)):
            seen = [0] * 21
            for place, bit in zip(places, bits, strict=True):
                seen[place] = bit
            if program.function(*seen)[output] == label[0, output]:
                fitting.append(chance(places, bits))
        total += math.log(sum(fitting))
        entropy -= sum(q / sum(fitting) * math.log(q / sum(fitting)) for q in fitting if q)
    listed = Worlds(program)
    assert listed.log_probability(logits.log_softmax(-1), label).item() == pytest.approx(total)
    assert listed.conditional_entropy(logits.log_softmax(-1), label).item() == pytest.approx(entropy / 21)


def test_a_label_that_no_concepts_give_has_no_probability():
    uniform = torch.full((1, 2, 5), 0.2).log()
    assert Worlds(program_of("half", 0)).log_probability(uniform, torch.tensor([[18]])).item() == -math.inf


def test_too_many_concepts_to_list_are_refused():
    with pytest.raises(BadInputError, match=r"addition has 10\^8 combinations of concepts"):
        Worlds(program_of("addition", 4))


# --- the three terms and the bound ---


def _exact_terms(network, program, label, explaining):
    """L_c and L_y of theorem 3.1 for concepts that explain a label, by enumeration of the masks; one input.

    Some m of C concepts are masked at time t with probability t^m (1-t)^(C-m); integrals over t are Beta functions.
    """
    c, denoising, missing = program.concepts, 0.0, 0.0
    for mask in itertools.product((False, True), repeat=c):
        m = sum(mask)
        known = torch.tensor(
            [[program.values if hidden else value for hidden, value in zip(mask, explaining, strict=True)]]
        )
        unmasking = Unmasking(network.logits(torch.tensor([0]), known), known)
        if m:
            weight = math.gamma(m) * math.gamma(c - m + 1) / math.gamma(c + 1)  # of t^(m-1) (1-t)^(c-m)
            denoising -= weight * unmasking.log_prob(torch.tensor([explaining])).sum().item()
        weight = math.gamma(m + 1) * math.gamma(c - m + 1) / math.gamma(c + 2)
        for output, value in enumerate(label):
            chance = sum(
                math.exp(unmasking.log_prob(torch.tensor([world])).sum().item())
                for world in itertools.product(range(program.values), repeat=c)
                if program.function(*world)[output] == value
                and all(h or w == e for h, w, e in zip(mask, world, explaining, strict=True))
            )
            missing -= weight * math.log(chance) if chance else -math.inf
    return denoising, missing


def test_the_terms_of_a_batch_are_those_of_the_theorem():
    """Only (1, 2) explains the label 12, so that the concepts which are drawn are known."""
    program = Program("both", lambda a, b: (10 * a + b,), 2, 3, 1, 23)
    network = Tabular(2, 3, 1)
    weighting = Weighting(1.0, 1.0, 100.0, samples=512, candidates=64, y_weight="paper")
    batch = 8_000
    with torch.no_grad():
        terms = diffusion_terms(
            network,
            torch.zeros(batch, dtype=torch.long),
            torch.full((batch, 1), 12),
            program,
            weighting,
            None,
            draw_from(),
        )
        denoising, missing = _exact_terms(network, program, (12,), (1, 2))
        probabilities = network.logits(torch.tensor([0]), torch.tensor([[3, 3]])).softmax(-1)
    assert terms.concepts.item() == pytest.approx(denoising / 2, rel=0.1)  # a mean over concepts
    assert terms.label.item() == pytest.approx(missing, rel=0.05)
    assert terms.entropy.item() == pytest.approx(-(probabilities * probabilities.log()).sum().item() / 2, rel=1e-4)
    assert terms.loss(weighting) == terms.concepts + terms.label - terms.entropy


def test_the_released_weighting_divides_the_labels_term_by_the_time():
    program, network = Program("first", lambda a: (a,), 1, 2, 1, 2), Tabular(1, 2, 1)
    inputs, labels = torch.zeros(1, dtype=torch.long), torch.ones(1, 1, dtype=torch.long)

    def label_term(y_weight, seed):
        weighting = Weighting(1.0, 0.0, 100.0, samples=64, candidates=64, y_weight=y_weight)
        with torch.no_grad():
            return diffusion_terms(network, inputs, labels, program, weighting, None, draw_from(seed)).label.item()

    for seed in range(5):
        draw = draw_from(seed)
        paper, released = label_term("paper", seed), label_term("released", seed)
        # the resampling draws before the time: candidates, a choice, an order
        torch.rand((64, 1, 1), generator=draw), torch.rand((1, 1), generator=draw, dtype=torch.double)
        torch.rand(1, 1, generator=draw)
        assert released == pytest.approx(paper / torch.rand(1, generator=draw).item(), rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 3), st.integers(0, 4))
def test_the_bound_is_never_below_minus_the_log_probability_of_the_label(seed, values, label):
    """p(y): the output is unmasked at a time of its own, uniform, with the concepts that are known by then."""
    label = min(label, 2 * values - 2)
    program = Program("sum", lambda a, b: (a + b,), 2, values, 1, 2 * values - 1)
    network = Tabular(2, values, 1, seed, scale=2.0)
    fitting = [(a, b) for a in range(values) for b in range(values) if a + b == label]
    explain = torch.randn(len(fitting), generator=draw_from(seed)).softmax(-1).tolist()  # any q(c | y)
    with torch.no_grad():
        terms = [_exact_terms(network, program, (label,), concepts) for concepts in fitting]
        bound = sum(q * (sum(t) + math.log(q)) for q, t in zip(explain, terms, strict=True))
        probability = _label_probability(network, program, label)
    assert bound >= -math.log(probability) - 1e-6


def _label_probability(network, program, label):
    values, mask = program.values, program.values

    def p(known):
        return network.logits(torch.tensor([0]), torch.tensor([known])).softmax(-1)[0]

    first, second = p((mask, mask))
    nothing = sum(first[a] * second[b] for a in range(values) for b in range(values) if a + b == label)
    one = sum(first[a] * p((a, mask))[1, label - a] for a in range(values) if 0 <= label - a < values)
    one += sum(second[b] * p((mask, b))[0, label - b] for b in range(values) if 0 <= label - b < values)
    both = sum(
        0.5 * first[a] * p((a, mask))[1, b] + 0.5 * second[b] * p((mask, b))[0, a]
        for a in range(values) for b in range(values) if a + b == label
    )  # fmt: skip
    # at a uniform time none, one (either, with equal chance) or both of two concepts are known with chance 1/3 each
    return float(nothing / 3 + one / 6 + both / 3)


# --- XOR ---


def _joint(network, label):
    """Probability of each pair of concepts by first-hitting, both orders."""
    first, second = network.logits(torch.tensor([label]), torch.tensor([[2, 2]])).softmax(-1)[0]
    joint = torch.zeros(2, 2)
    for a, b in itertools.product((0, 1), repeat=2):
        given_first = network.logits(torch.tensor([label]), torch.tensor([[a, 2]])).softmax(-1)[0, 1, b]
        given_second = network.logits(torch.tensor([label]), torch.tensor([[2, b]])).softmax(-1)[0, 0, a]
        joint[a, b] = 0.5 * first[a] * given_first + 0.5 * second[b] * given_second
    return joint


def _trained(network, step, steps, rate):
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    for number in range(steps):
        optimiser.zero_grad()
        step(number).backward()
        optimiser.step()


def test_diffusion_holds_both_explanations_of_an_xor_where_independent_concepts_take_one():
    seed = 1
    inputs = torch.tensor([0, 1])
    labels = inputs[:, None]
    diffusion, independent = Tabular(2, 2, 2, seed, 0.3), Tabular(2, 2, 2, seed, 0.3)
    weighting = Weighting(0.1, 1.0, 20.0, samples=32, candidates=32, entropy="conditional")
    worlds, draw = Worlds(XOR), draw_from(seed)
    many, many_labels = inputs.repeat(16), labels.repeat(16, 1)
    _trained(
        diffusion,
        lambda _: diffusion_terms(diffusion, many, many_labels, XOR, weighting, worlds, draw).loss(weighting),
        250,
        0.05,
    )
    all_masked = torch.full((2, 2), 2)
    _trained(
        independent,
        lambda _: -worlds.log_probability(independent.logits(inputs, all_masked).log_softmax(-1), labels).mean(),
        200,
        0.1,
    )
    with torch.no_grad():
        for label in (0, 1):
            fitting = [(0, label), (1, 1 - label)]
            joint = _joint(diffusion, label)
            assert all(0.4 < joint[pair].item() < 0.6 for pair in fitting)
            assert sum(joint[pair].item() for pair in fitting) > 0.95
            first, second = independent.logits(torch.tensor([label]), all_masked[:1]).softmax(-1)[0]
            assert max((first[a] * second[b]).item() for a, b in fitting) > 0.95
