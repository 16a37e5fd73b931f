"""Rows of the data sets, from the package and from a user's folder."""

from __future__ import annotations

import json

import pytest

from moecap.data.rows import data_set_rows
from moecap.data.sets import DATA_SETS, fetch_data_set
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError

NO_ROWS = ("arc", "photographs")
READ = [(name, split) for name, known in DATA_SETS.items() if not name.startswith(NO_ROWS) for split in known.splits]


@pytest.mark.parametrize(("name", "split"), READ)
def test_each_split_has_the_number_of_rows_that_is_stated(name, split):
    rows = list(data_set_rows(name, split))
    assert len(rows) == DATA_SETS[name].splits[split].examples
    assert len({where for where, _ in rows}) == len(rows)
    assert len({tuple(row) for _, row in rows}) == 1  # all with the same columns


def test_mmlu_is_read_by_subject_or_whole():
    anatomy = [row for _, row in data_set_rows("mmlu", "test", config="anatomy")]
    whole = [row for _, row in data_set_rows("mmlu", "test")]
    assert {row["subject"] for row in anatomy} == {"anatomy"}
    assert [row for row in whole if row["subject"] == "anatomy"] == anatomy
    assert len({row["subject"] for row in whole}) == 57


def test_math_has_its_seven_subjects_and_every_solution_a_boxed_answer():
    rows = [row for _, row in data_set_rows("math", "test")]
    assert len({row["type"] for row in rows}) == 7
    assert all("\\boxed" in row["solution"] or "\\fbox" in row["solution"] for row in rows)


def test_every_part_of_a_set_of_many_files_is_fetched():
    paths = fetch_data_set("mmlu")
    assert len(paths) == 171
    assert paths["anatomy/test"].is_file()


def test_a_users_folder_is_read_in_the_published_layout(tmp_path):
    row = {"question": "2+2?", "answer": "2+2 = 4\n#### 4"}
    for place in ("openai/gsm8k/main", "gsm8k/main", "main", "gsm8k", ""):
        path = tmp_path / (place.replace("/", "-") or "plain") / place / "test.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(row) + "\n")
        data = path.parents[len([p for p in place.split("/") if p])]
        assert [r for _, r in data_set_rows("gsm8k", "test", data=data)] == [row]


def test_what_is_not_there_is_refused_with_what_is(tmp_path):
    with pytest.raises(NotAvailableError, match=r"gsm8k has no 'train' split .*known: test; .*--data"):
        list(data_set_rows("gsm8k", "train"))
    with pytest.raises(UnknownNameError, match="did you mean 'anatomy'"):
        list(data_set_rows("mmlu", "test", config="anatomie"))
    (tmp_path / "test.jsonl").write_text('{"question": "x"}\nnothing\n')
    with pytest.raises(BadInputError, match=r"test\.jsonl, line 2"):
        list(data_set_rows("gsm8k", "test", data=tmp_path))
