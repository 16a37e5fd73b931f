"""LongBench and LongBench v2: scores by hand, files in the published layout, texts cut in the middle."""

import json

import pytest

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.metrics.accuracy import accuracy_metrics
from moecap.tasks.answers.longbench import LANGUAGES, longbench_score
from moecap.tasks.answers.overlap import exact_match, f1, normalised, rouge_l
from moecap.tasks.generative import OpenQuestion
from moecap.tasks.longbench import LongBench, LongBenchV2

LONG = " ".join(f"w{n}" for n in range(600))
"""A sentence at which the library would overflow Python's usual limit."""

CLASSES = ("Other location", "location", "City")


@pytest.mark.parametrize(
    ("name", "answer", "golds", "score"),
    [
        ("hotpotqa", "The cat sat.", ["a cat sat down"], 0.8),  # cat, sat of 2 and of 3 words
        ("hotpotqa", "The cat sat.", ["dog", "cat sat"], 1.0),
        ("qasper", "", ["unanswerable"], 0.0),
        ("triviaqa", "\nParis\nLondon and more", ["Paris"], 1.0),
        ("trec", "City\nand then", ["City"], 1.0),
        ("trec", "Other location", ["Other location"], 1.0),  # location is part of the right one
        ("trec", "location or City", ["City"], 0.5),
        ("trec", "nowhere", ["City"], 0.0),
        ("passage_count", "There are 3 of 12, so 3", ["3"], 2 / 3),
        ("passage_count", "none", ["3"], 0.0),
        ("passage_retrieval_en", "Paragraph 7", ["Paragraph 7"], 1.0),
        ("passage_retrieval_en", "Paragraph 17", ["Paragraph 7"], 0.0),
        ("lcc", "\n// a comment\nreturn x\nreturn y", ["return x"], 1.0),
        ("lcc", "abcd", ["abxy"], 0.5),  # two of four letters in order
        ("lcc", "    return x", ["    return x"], 1.0),
        ("samsum", "a b c d\nmore", ["a b c d"], pytest.approx(1, abs=1e-6)),
        ("gov_report", "a b c d", ["a x c y"], pytest.approx(0.5, abs=1e-6)),
        ("gov_report", " ...", ["a"], 0.0),
        ("gov_report", LONG, [LONG], pytest.approx(1, abs=1e-6)),
    ],
)
def test_scores_by_hand(name, answer, golds, score):
    assert longbench_score(name, answer, golds, CLASSES) == score


def test_words_are_normalised_as_squad_does():
    assert normalised("  The U.S.A., an   example!") == "usa example"
    assert exact_match("The Beatles.", ["beatles"]) == 1
    assert exact_match("Beatles band", ["beatles"]) == 0
    assert f1("the", "a") == 0.0
    assert rouge_l("a b", "") == 0.0


@pytest.fixture
def folder(tmp_path):
    """LongBench's repository with two of its data sets."""
    (tmp_path / "config").mkdir()
    (tmp_path / "data").mkdir()
    prompts = {"qasper": "Article: {context}\nQuestion: {input}\nAnswer:", "trec": "{context}\n{input}"}
    (tmp_path / "config" / "dataset2prompt.json").write_text(json.dumps(prompts))
    (tmp_path / "config" / "dataset2maxlen.json").write_text(json.dumps({"qasper": 128, "trec": 64}))
    for name, classes in (("qasper", None), ("trec", list(CLASSES))):
        rows = [
            {"_id": f"{n}", "context": f"text {n}", "input": f"what {n}?", "answers": ["City"], "all_classes": classes}
            for n in range(3)
        ]
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_data_sets_come_in_turn_with_their_own_prompts_and_scores(folder, options, answered, byte_tokenizer):
    task = LongBench()
    items = task.items(options(4, folder, sets="qasper,trec"))
    assert [item.id for item in items] == ["qasper/0", "trec/0", "qasper/1", "trec/1"]
    assert items[0].prompt == "Article: text 0\nQuestion: what 0?\nAnswer:"
    assert [item.output_tokens for item in items[:2]] == [128, 64]
    assert len(LongBench().items(options(None, folder, sets="qasper,qasper"))) == 3
    samples = answered(task, items, ["city hall", "City", ("City", "length"), ""], byte_tokenizer)
    assert [sample["scores"]["accuracy"] for sample in samples] == [pytest.approx(2 / 3), 1.0, 1.0, 0]
    metrics = accuracy_metrics(samples)
    assert metrics["accuracy.longbench_qasper"].value == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["accuracy.longbench_trec"].value == pytest.approx(1 / 2)
    assert metrics["accuracy.longbench_truncated"].value == pytest.approx(1 / 4)


def test_a_line_of_code_keeps_its_indentation():
    about = {"kinds": ["lcc"], "classes": []}
    question = OpenQuestion("lcc/0", "", ["    return x"], 64, about=about)
    sample = LongBench().graded(question, "    return x\n", failed=False, cut_off=False)
    assert sample["scores"] == {"accuracy": 1.0, "lcc": 1.0}


def test_a_prompt_that_is_too_long_keeps_its_beginning_and_its_end(folder, options, byte_tokenizer):
    from dataclasses import replace

    task = LongBench()
    items = task.items(replace(options(1, folder, sets="qasper"), max_context=128 + 20))
    (prompt,) = task.prompts(items, byte_tokenizer)
    assert byte_tokenizer.decode(prompt.tokens) == "Article: te"[:10] + "t 0?\nAnswer:"[-10:]


def test_what_is_missing_or_malformed_is_named(folder, options):
    with pytest.raises(
        NotAvailableError, match=r"THUDM/LongBench with data\.zip unpacked .* is in no package; give its folder"
    ):
        LongBench().items(options(1))
    with pytest.raises(UnknownNameError, match="no data set of LongBench named 'qaspar'"):
        LongBench().items(options(1, folder, sets="qaspar"))
    with pytest.raises(BadInputError, match=r"dataset2prompt\.json: says nothing of lcc"):
        LongBench().items(options(1, folder, sets="lcc"))
    (folder / "data" / "qasper.jsonl").write_text('{"_id": "1", "context": "x", "input": "y"}\n')
    with pytest.raises(BadInputError, match=r"qasper\.jsonl, line 1: not a question of LongBench"):
        LongBench().items(options(1, folder, sets="qasper"))


def _row(**changes):
    return {
        "_id": "1", "domain": "d", "sub_domain": "s", "difficulty": "hard", "length": "short", "question": "Who?",
        "choice_A": "Ann", "choice_B": "Bob", "choice_C": "Cid", "choice_D": "Dee", "answer": "B",
        "context": "Bob did.",
    } | changes  # fmt: skip


def test_longbench_v2_is_graded_by_its_letter_and_by_its_kinds(tmp_path, options, answered, byte_tokenizer):
    (tmp_path / "data.json").write_text(json.dumps([_row(), _row(_id="2", difficulty="easy", length="long")]))
    task = LongBenchV2()
    items = task.items(options(None, tmp_path))
    assert "(B) Bob\n(C) Cid" in items[0].prompt
    samples = answered(task, items, ["The correct answer is (B).", "It is Ann, choice A."], byte_tokenizer)
    assert [sample["extracted"] for sample in samples] == ["B", "A"]
    assert samples[0]["scores"] == {"accuracy": 1, "hard": 1, "short": 1}
    assert samples[1]["scores"] == {"accuracy": 0, "easy": 0, "long": 0}


def test_longbench_v2_in_another_format_is_refused(tmp_path, options):
    other = r"entry 1: not a question of LongBench v2 \(answer 'E'"
    for content, reason in (("[1]", "not a list"), (json.dumps([_row(answer="E")]), other)):
        (tmp_path / "data.json").write_text(content)
        with pytest.raises(BadInputError, match=reason):
            LongBenchV2().items(options(None, tmp_path))


def test_the_sets_of_a_language_are_named_by_it(options, folder):
    with pytest.raises(BadInputError, match=r"dataset2prompt\.json: says nothing of multifieldqa_zh"):
        LongBench().items(options(1, folder, sets="chinese"))
    assert {len(names) for names in LANGUAGES.values()} == {14, 2, 5}
