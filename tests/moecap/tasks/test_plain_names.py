"""Names of metrics out of names that data gives."""

from hypothesis import given
from hypothesis import strategies as st

from moecap.tasks.plain_names import plain_names


def test_names_that_are_told_apart_by_letters_are_as_they_were():
    assert plain_names(["Studio", "call centre", "pt-br"]) == {
        "Studio": "studio",
        "call centre": "call_centre",
        "pt-br": "pt_br",
    }


def test_no_name_depends_on_the_order_or_on_how_often_it_comes():
    assert plain_names(["a b", "a_b", "a b"]) == plain_names(["a_b", "a b"])


@given(st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=8))
def test_different_names_stay_different_and_fit_a_metric(names):
    found = plain_names(names)
    assert len(set(found.values())) == len(names)
    assert all(name.isascii() and name.replace("_", "a").isalnum() and name == name.lower() for name in found.values())
