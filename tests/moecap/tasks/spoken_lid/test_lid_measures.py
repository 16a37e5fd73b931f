"""The shared task's measures against scikit-learn's and against hand calculation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from moecap.data.languages import LANGUAGES, SIGTYP16
from moecap.tasks.spoken_lid.measures import (
    confusion,
    family_of,
    macro_f1,
    micro_f1,
    precision_recall_f1,
    right_families,
)

L = 5
ANSWERS = st.lists(st.tuples(st.integers(0, L - 1), st.integers(-1, L - 1)), min_size=1, max_size=40)


@given(ANSWERS)
def test_all_measures_are_those_of_scikit_learn(pairs):
    gold, found = map(np.array, zip(*pairs, strict=True))
    counts = confusion(gold, found, L)
    labels = list(range(L))
    table = precision_recall_fscore_support(gold, found, labels=labels, zero_division=0)
    np.testing.assert_allclose(precision_recall_f1(counts), table[:3])
    assert macro_f1(counts) == pytest.approx(f1_score(gold, found, labels=labels, average="macro", zero_division=0))
    assert micro_f1(counts) == pytest.approx(accuracy_score(gold, found))
    assert micro_f1(counts) == pytest.approx(
        f1_score(gold, found, labels=[*labels, -1], average="micro", zero_division=0)
    )
    np.testing.assert_array_equal(counts, confusion_matrix(gold, found, labels=[*labels, -1])[:L])
    assert 0 <= macro_f1(counts) <= 1


@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_utterances_changes_nothing(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    one, other = (confusion(*zip(*some, strict=True), L) for some in (pairs, shuffled))
    assert (one == other).all()


def test_one_answer_for_all_of_sixteen_languages():
    gold = np.repeat(np.arange(16), 5)
    counts = confusion(gold, np.zeros(80, int), 16)
    assert micro_f1(counts) == pytest.approx(1 / 16)
    assert macro_f1(counts) == pytest.approx((2 / 17) / 16)
    precision, recall, f1 = precision_recall_f1(counts)
    assert (precision[0], recall[0], f1[0]) == pytest.approx((1 / 16, 1, 2 / 17))
    assert f1[1:].tolist() == [0] * 15


def test_an_answer_without_a_language_is_wrong_and_of_no_family():
    counts = confusion([0, 0, 1], [0, -1, 1], 2)
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert micro_f1(counts) == pytest.approx(2 / 3)
    assert right_families(["hin", "hin", "tam"], ["mar", "", "kan"]).tolist() == [True, False, True]


def test_families_are_those_of_the_shared_task():
    groups = {}
    for code in SIGTYP16:
        groups.setdefault(family_of(code), set()).add(code)
    assert {"tam", "kan", "tel"} in groups.values()
    assert {"ind", "sun", "iba"} in groups.values()
    assert {"hin", "mar"} in groups.values()
    assert sorted(len(group) for group in groups.values()) == [1] * 8 + [2, 3, 3]
    assert len(SIGTYP16) == len(set(SIGTYP16)) == 16
    assert set(SIGTYP16) <= set(LANGUAGES)
    assert family_of("xyz") == "xyz"
