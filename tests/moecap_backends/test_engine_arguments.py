"""Arguments that a server would take under any spelling, and the words that it is started with."""

import pytest

from moecap.errors import BadInputError, NotBuiltError
from moecap_backends.engine_arguments import ArgumentRules, command_words

RULES = ArgumentRules(uncounted=("tensor-parallel-size", "ep"), owned=("port", "dtype"), families=("kt-",))


@pytest.mark.parametrize(
    "name", ["tensor-parallel-size", "tensor_parallel_size", "tensor", "TENSOR-parallel", "ep", "e", "kt-method", "kt"]
)
def test_what_a_run_does_not_count_is_refused_under_every_spelling(name):
    with pytest.raises(NotBuiltError, match=f"engine argument {name}: a run does not count what it changes yet"):
        RULES.refuse(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("port", "moecap sets it itself"),
        ("dty", "moecap sets it itself"),
        ("api-key", "a result would hold it"),
        ("hf_token", "a result would hold it"),
    ],
)
def test_what_moecap_sets_and_what_is_secret_is_refused(name, problem):
    with pytest.raises(BadInputError, match=problem):
        RULES.refuse(name)


@pytest.mark.parametrize("name", ["page-size", "eplb", "ktx", "keyboard"])
def test_other_arguments_are_passed_on(name):
    RULES.refuse(name)


def test_the_users_arguments_take_the_place_of_moecaps_and_true_is_a_switch():
    words = command_words({"a": "1", "b": "2", "c": "true"}, {"b": "3", "d": "true"})
    assert words == ["--a", "1", "--b", "3", "--c", "--d"]
