"""What is drawn and shown: classes, disturbances, subsets, and the baselines that search for a prompt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.tasks.base import TaskOptions, refuse_mismatch
from moecap.tasks.moicl.datasets import DATA, Example, form, load_examples
from moecap.tasks.moicl.draw import Perturbation, draw, partition, shown, split_off
from moecap.tasks.moicl.search import filtered, helpfulness, lens_search, random_search
from moecap.tasks.moicl.settings import SIZES, Settings
from moecap.tasks.moicl.task import Moicl
from moecap_backends.transformers import TransformersBackend
from moecap_backends.vllm import VllmBackend

POOL = [Example(str(i), f"Review: number {i}\nSentiment:", i % 2) for i in range(60)]
OTHER = [Example(str(i), f"Tweet: number {i}\nSentiment:", i % 2) for i in range(20)]
WORDS = ((" bad", " good"), (" sad", " glad"))


def drawn(perturb="none", count=10, train=8, seed=0):
    return draw(POOL, OTHER, WORDS, count, train, Perturbation.parse(perturb), seed)


def test_demonstrations_are_balanced_and_none_of_the_training_items():
    found = drawn()
    assert sorted(one.shown for one in found.demonstrations) == [0] * 5 + [1] * 5
    assert not {one.text for one in found.demonstrations} & {one.text for one in found.train}
    assert found == drawn() != drawn(seed=1)


def test_each_disturbance_concerns_the_share_that_is_asked_for():
    noisy = drawn("noise:0.4").demonstrations
    assert sum(one.changed for one in noisy) == 4
    right = {example.text: example.gold for example in POOL}
    assert all((one.shown != right[one.text]) == one.changed for one in noisy)
    outside = drawn("ood:0.7").demonstrations
    assert sum(one.foreign for one in outside) == 7
    assert all(one.text.startswith("Tweet") == one.foreign for one in outside)
    assert {one.label for one in outside if one.foreign} <= {" sad", " glad"}
    uneven = drawn("imbalance:0.9").demonstrations
    assert sum(one.shown for one in uneven) == 9


@pytest.mark.parametrize("text", ["noise", "noise:2", "noise:x", "none:0.1", "typos:0.1", "noise:-0.1"])
def test_a_disturbance_that_is_none_is_refused(text):
    with pytest.raises(BadInputError, match="--task-arg perturb="):
        Perturbation.parse(text)


def test_too_few_items_are_refused():
    for wish, said in (
        ({"count": 70}, "of class"),
        ({"train": 60}, "training items"),
        ({"perturb": "ood:1", "count": 30}, "20"),
    ):
        with pytest.raises(BadInputError, match=said):
            drawn(**wish)


@given(st.integers(1, 40), st.integers(0, 99), st.data())
@settings(max_examples=40, deadline=None)
def test_subsets_are_disjoint_and_of_equal_size(count, seed, data):
    parts = partition(count, data.draw(st.integers(1, count)), seed)
    assert sorted(i for part in parts for i in part) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_test_items_are_the_same_whatever_is_drawn_for_demonstrations():
    tested, rest = split_off(POOL, 15, seed=3)
    assert len(tested) == 15 and len(rest) == 45 and not {e.id for e in tested} & {e.id for e in rest}


def test_a_prompt_is_each_example_with_its_label_and_an_empty_line():
    (one, two) = drawn(count=2).demonstrations
    assert shown([one, two]) == f"{one.text}{one.label}\n\n{two.text}{two.label}\n\n"


def test_the_data_sets_are_read_with_their_classes():
    sizes = {"sst2": 872, "rte": 277, "boolq": 3270}
    for name in DATA:
        examples = load_examples(form(name), None, None)
        if name == "nq_open":
            assert len(examples) == 3610 and all(example.answers for example in examples)
            continue
        assert {example.gold for example in examples} == {0, 1}
        assert len(examples) == sizes.get(name, len(examples)) > 400 or name == "rte"
        assert all(example.text.endswith(":") for example in examples)
    movies = load_examples(form("movies"), None, None)
    assert len(movies) == 2270  # at least 1 from neutral, 20 to 75 characters, counted in the file
    assert len(load_examples(form("movies"), None, 200)) > 2270
    with pytest.raises(UnknownNameError, match="did you mean 'movies'"):
        form("moovies")


def test_snippets_of_a_users_folder_name_file_and_line(tmp_path):
    path = tmp_path / "tweets_GroundTruth.txt"
    path.write_text("1\t2.5\tAnother very good interview today\r\n2\tfive\tSo it was\r\n")
    with pytest.raises(BadInputError, match=r"tweets_GroundTruth\.txt, line 2"):
        load_examples(form("tweets"), tmp_path, None)
    path.write_text("1\t2.5\tAnother very good interview today\r\n2\t0.2\tIt was a day as others are\r\n")
    (only,) = load_examples(form("tweets"), tmp_path, None)
    assert (only.id, only.gold) == ("1", 1)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_gives_settings(size):
    assert Settings.of(SIZES[size]).experts[0] == 1


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("experts", "1,99"),
        ("experts", "two"),
        ("train", "1"),
        ("weight_l2", "-1"),
        ("weight_l2", "nan"),
        ("labels", "good"),
        ("labels", "good|good"),
        ("normalisation", "all"),
        ("concat_train", "maybe"),
        ("demos", "0"),
    ],
)
def test_an_argument_that_is_none_is_refused_by_its_name(argument, value, options):
    with pytest.raises(BadInputError, match=f"--task-arg {argument}={value}".replace("|", r"\|")):
        Moicl().items(options(**{argument: value}))


def test_the_limit_bounds_the_test_items_and_every_draw_is_another(options):
    task = Moicl()
    items = task.items(options(limit=5, seeds="2"))
    assert len(items) == 5 and task.limited
    first, second = task.draws
    assert {one.text for one in first.demonstrations} != {one.text for one in second.demonstrations}
    asked = {item.example.id for item in items}
    assert not asked & {one.id for drawn in task.draws for one in drawn.train}


def test_a_small_set_keeps_room_for_demonstrations_and_training_items():
    task, wide = Moicl(), {"size": "full", "data": "rte"}
    items = task.items(TaskOptions(None, None, wide, lambda _line: None))
    assert len(items) == 277 - 2 * 30 - 100  # noisy answers may need as many more as there are demonstrations
    with pytest.raises(BadInputError, match="which leaves none to test"):
        task.items(TaskOptions(None, None, wide | {"train": "300"}, lambda _line: None))


def test_the_longest_sequence_of_an_item_holds_demonstrations_and_training_items(options, byte_tokenizer):
    task = Moicl()
    items = task.items(options(size="ci", concat_train="true", limit=2))
    lengths = dict(task.lengths(items, byte_tokenizer))
    (only,) = task.draws
    whole = shown(only.demonstrations) + "".join(
        f"{one.text}{task.settings.labels[one.gold]}\n\n" for one in only.train
    )
    expected = len(whole.encode()) + len(items[0].example.text.encode()) + len(" positive")
    assert lengths[items[0].id] == expected


def test_helpfulness_is_what_an_example_adds_to_the_right_label():
    after = np.log(np.array([[[0.5, 0.5], [0.9, 0.1]], [[0.2, 0.8], [0.3, 0.7]]]))  # [items, demonstrations, labels]
    none = np.log(np.array([[0.4, 0.6], [0.4, 0.6]]))
    helps = helpfulness(after, none, np.array([0, 1]))
    assert np.allclose(helps, [[0.1, 0.2], [0.5, 0.1]])


def test_the_filter_ends_with_those_of_the_highest_sum_where_they_lead_everywhere():
    helps = np.arange(12.0)[:, None] * np.ones((12, 32))
    assert filtered(helps, 3, seed=0) == [11, 10, 9]


def test_searches_try_as_many_prompts_as_they_may_and_keep_the_best():
    tried = []

    def judge(prompt):
        tried.append(prompt)
        return -float(sum(prompt))

    found = random_search(10, 3, 6, judge, seed=0)
    assert len(tried) == 6 and sum(found) == max(map(sum, tried))
    tried.clear()
    helps = np.random.default_rng(0).normal(0, 1, (10, 8))
    found = lens_search(helps, list(range(8)), 3, 6, judge, seed=0)
    assert len(tried) == 6 and len(set(tried)) == 6 and tried[0] == (0, 1, 2)
    assert sum(found) == max(map(sum, tried))
    for one, other in zip(tried[1:], tried, strict=False):
        assert len(set(one)) == 3 and len(set(one) & set(other)) >= 1


def test_lens_proposes_the_example_that_helps_other_items_than_the_rest_of_the_prompt():
    """Examples 0 to 2 help the same items, 3 helps others and by less in all: the cosine to the rest decides."""
    helps = np.array([[0.04, 0.04, 0, 0], [0.04, 0.035, 0, 0], [0.035, 0.035, 0, 0], [0, 0, 0.03, 0.03]])
    tried = []

    def judge(prompt):
        tried.append(prompt)
        return 0.0

    lens_search(helps, [0, 1, 2, 3], 2, 2, judge, seed=0)
    assert tried[0] == (0, 1)
    assert 3 in tried[1]


@pytest.mark.parametrize("argument", [{"normalisation": "vocabulary"}, {"data": "nq_open"}])
def test_sums_over_the_whole_vocabulary_are_refused_where_the_model_is_in_another_process(argument):
    refuse_mismatch(Moicl(), VllmBackend, {"data": "sst2"})
    refuse_mismatch(Moicl(), TransformersBackend, argument)
    with pytest.raises(NotAvailableError, match=r"task 'moicl' needs hidden_states.*would do: transformers"):
        refuse_mismatch(Moicl(), VllmBackend, argument)
