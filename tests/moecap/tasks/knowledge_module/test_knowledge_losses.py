"""The losses against hand calculation, SciPy and their own identities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr, softmax

torch = pytest.importorskip("torch")

from moecap.tasks.knowledge_module.losses import (  # noqa: E402
    Read,
    distillation_loss,
    hidden_distance,
    kl_divergence,
    label_loss,
)

LOGITS = arrays(np.float64, (2, 3, 7), elements=st.floats(-8, 8))
STATES = arrays(np.float64, (2, 4, 3, 5), elements=st.floats(0.1, 9))


@given(LOGITS)
def test_kl_is_that_of_scipy_and_never_negative(logits):
    teacher, student = softmax(logits, -1)
    expected = rel_entr(teacher, student).sum(-1).mean()
    found = kl_divergence(*torch.tensor(logits)).item()
    assert found == pytest.approx(expected, abs=2e-5)
    assert found >= -1e-6


@given(LOGITS, STATES)
def test_a_student_that_is_its_teacher_has_no_loss_at_all(logits, states):
    read = Read(torch.tensor(logits[0]), torch.tensor(states[0]))
    found = distillation_loss([read, read], [read, read])
    assert (found.kl.item(), found.hidden.item(), found.total.item()) == (0.0, 0.0, 0.0)


def test_the_hidden_distance_by_hand():
    teacher = torch.tensor([[[1.0, -1.0]], [[2.0, 4.0]]])  # two layers, one token, two dimensions
    student = torch.tensor([[[1.0, -1.0]], [[5.0, 4.0]]])
    # layer 0: 0 / 1; layer 1: mean(3, 0) / mean(2, 4) = 1.5 / 3; the mean of both is 0.25
    assert hidden_distance(teacher, student).item() == pytest.approx(0.25)


@given(STATES, st.floats(0.01, 100))
def test_the_hidden_distance_is_the_same_in_another_unit(states, factor):
    found = hidden_distance(*torch.tensor(states)).item()
    assert hidden_distance(*torch.tensor(states * factor)).item() == pytest.approx(found, rel=1e-4, abs=1e-6)


def test_means_are_over_all_tokens_of_a_batch():
    drawn = torch.Generator().manual_seed(0)
    sizes = (2, 5)
    reads = [
        [Read(torch.randn(n, 6, generator=drawn), torch.randn(3, n, 4, generator=drawn)) for n in sizes] for _ in "ts"
    ]
    found = distillation_loss(*reads)
    each = [kl_divergence(t.logits, s.logits) * n for t, s, n in zip(*reads, sizes, strict=True)]
    assert found.kl.item() == pytest.approx(sum(each).item() / 7, rel=1e-5)


def test_a_cold_teacher_teaches_its_likeliest_token_alone():
    drawn = torch.Generator().manual_seed(1)
    teacher = torch.randn(4, 9, generator=drawn)
    student = torch.randn(4, 9, generator=drawn, requires_grad=True)
    (cold,) = torch.autograd.grad(kl_divergence(teacher, student, temperature=1e-3), student)
    (warm,) = torch.autograd.grad(kl_divergence(teacher, student), student)
    read = Read(student, torch.zeros(0))
    (hard,) = torch.autograd.grad(label_loss([read], [teacher.argmax(-1).tolist()]), student)
    assert torch.allclose(cold, hard, atol=1e-6)
    assert not torch.allclose(warm, hard, atol=1e-2)


def test_the_label_loss_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]))
    read = Read(logits, torch.zeros(0))
    assert label_loss([read], [[0, 2]]).item() == pytest.approx(-(np.log(0.5) + np.log(0.75)) / 2)
