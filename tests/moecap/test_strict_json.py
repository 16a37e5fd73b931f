"""What the values of a JSON text would take is bounded before they are built, and no wider than it must be."""

import json
import sys

import pytest

from moecap.strict_json import memory_of, parse_json


def test_a_character_that_stands_by_its_number_widens_its_own_text_alone():
    numbers = json.dumps([0.1234567890123456] * 100_000)
    assert memory_of(f'{numbers[:-1]}, "It\\u2019s"]') < memory_of(numbers) + 500
    assert memory_of(f'{numbers[:-1]}, "\\"It\\u2019s", "\\\\"]') < memory_of(numbers) + 500


@pytest.mark.parametrize(
    "text", ["a\U0001f600", 9000 * "a" + "\U0001f600", '\\"\U0001f600' + 99 * "\\", 999 * "\u2019"]
)
def test_texts_take_no_more_than_the_bound(text):
    written = json.dumps([text] * 50)
    assert "\\u" in written
    assert sum(map(sys.getsizeof, parse_json(written))) <= memory_of(written)
