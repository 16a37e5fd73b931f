"""The table at the end of a run, on terminals of any width."""

import re
from collections import Counter

import pytest
from rich.console import Console

from moecap.cli.summary import print_summary
from moecap.report.figures import display_value
from moecap.result import read_result


def _numbers(text: str) -> Counter[str]:
    return Counter(re.findall(r"\d[\d.,]*", text))


@pytest.mark.parametrize("width", [40, 60])
def test_every_number_of_the_wide_summary_is_in_the_narrow_one(make_run, width, monkeypatch, capsys):
    result = read_result(make_run())
    print_summary(result)
    wide = capsys.readouterr().out
    monkeypatch.setattr("moecap.cli.summary.Answers", lambda _piped: Console(width=width, highlight=False))
    print_summary(result)
    narrow = capsys.readouterr().out
    assert len(_numbers(wide)) > 15
    assert not _numbers(wide) - _numbers(narrow)
    assert "…" not in narrow
    assert max(map(len, narrow.splitlines())) <= width


def test_an_end_of_an_interval_below_zero_has_the_prefix_of_its_size():
    assert [display_value(value, "s") for value in (-0.0149, -2.0, 0.0)] == ["-14.9 ms", "-2 s", "0 µs"]
