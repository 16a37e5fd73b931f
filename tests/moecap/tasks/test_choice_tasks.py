"""MMLU, MMLU-Pro and mathematics: what is asked, and what is right."""

import gzip
import json
from itertools import islice, pairwise

import pytest

from moecap.data.sets import fetch_data_set
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.tasks.answers.mathematics import are_equal
from moecap.tasks.answers.statement import last_boxed
from moecap.tasks.mathematics import Math, Math500, NuminaMath
from moecap.tasks.mmlu import Mmlu, MmluGenerative
from moecap.tasks.mmlu_pro import MmluPro


def test_a_limit_takes_the_subjects_in_turn_and_no_limit_takes_all(options):
    some = Mmlu().items(options(60))
    assert len({q.id.partition("/")[0] for q in some}) == 57
    assert [q.id for q in some[57:]] == ["abstract_algebra/1", "anatomy/1", "astronomy/1"]
    assert len(Mmlu().items(options(shots=0))) == 14042


def test_a_limit_or_a_subject_that_leaves_questions_out_is_told(options):
    def limited(task, *limit, **arguments):
        task.items(options(*limit, **arguments))
        return task.limited

    assert [limited(Mmlu(), 14041), limited(Mmlu(), 14042), limited(Mmlu())] == [True, False, False]
    assert limited(Mmlu(), subject="anatomy") is True
    assert [limited(Math500(), 499), limited(Math500(), 500), limited(Math500(), shots=0)] == [True, False, False]


def test_arguments_of_mmlu_are_checked(options):
    assert len(Mmlu().items(options(subject="anatomy,virology,anatomy"))) == 135 + 166
    for wrong in ({"shots": 6}, {"shots": "x"}):
        with pytest.raises(BadInputError, match="not a whole number from 0 to 5"):
            Mmlu().items(options(**wrong))
    with pytest.raises(UnknownNameError, match="did you mean 'anatomy'"):
        Mmlu().items(options(subject="anatomie"))
    with pytest.raises(UnknownNameError, match="argument of task mmlu named 'shot'"):
        Mmlu().items(options(shot=1))


def test_generated_letters_are_graded(options, answered, byte_tokenizer):
    task = MmluGenerative()
    items = task.items(options(4, shots=0, subject="anatomy"))
    golds = [item.gold for item in items]
    assert golds == ["A", "B", "A", "C"]  # the first answers of the published file
    answers = [" A", "A better guess is choice B", "The answer is C", "no idea"]
    samples = answered(task, items, answers, byte_tokenizer)
    assert [(s["scores"]["accuracy"], s["outcome"]) for s in samples] == [
        (1, "answered"),
        (1, "answered"),
        (0, "answered"),
        (0, "unanswered"),
    ]


def _pro(number, category, **changes):
    return {
        "question_id": number, "question": f"Q{number}?", "options": ["one", "two", "three"], "answer": "B",
        "answer_index": 1, "cot_content": "A: Let's think step by step. It is two. The answer is (B).",
        "category": category, "src": "s",
    } | changes  # fmt: skip


def test_mmlu_pro_shows_the_examples_of_its_category_and_reads_up_to_ten_letters(
    tmp_path, options, answered, byte_tokenizer
):
    (tmp_path / "data").mkdir()
    ten = [f"c{n}" for n in range(10)]
    test = [_pro(1, "law"), _pro(2, "law"), _pro(3, "math", options=ten, answer_index=9)]
    validation = [_pro(n, category) for category in ("law", "math") for n in range(10, 16)]
    for split, rows in (("test", test), ("validation", validation)):
        path = tmp_path / "data" / f"{split}-00000-of-00001.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = MmluPro()
    items = task.items(options(None, tmp_path))
    assert [item.id for item in items] == ["1", "3", "2"]
    assert items[0].prompt.count("Answer: Let's think step by step. It is two. The answer is (B).\n\n") == 5
    assert items[0].prompt.endswith("C. three\nAnswer: Let's think step by step.")
    assert task.facts(items, byte_tokenizer).source == "TIGER-Lab/MMLU-Pro, MIT, in a folder of the user's"
    assert {item.stop for item in items} == {("Question:",)}
    assert {item.stop for item in MmluPro().items(options(None, tmp_path, chat="true"))} == {()}
    answers = ["so the answer is (B).", "I think the answer is (J).", "The answer is (A)."]
    samples = answered(task, items, answers, byte_tokenizer)
    assert [sample["scores"]["accuracy"] for sample in samples] == [1, 1, 0]
    with pytest.raises(NotAvailableError, match=r"TIGER-Lab/MMLU-Pro is in no package .* give its folder with --data"):
        MmluPro().items(options(1))
    (tmp_path / "data" / "test-00000-of-00001.jsonl").write_text(json.dumps(_pro(1, "law", answer_index=3)))
    with pytest.raises(BadInputError, match=r"line 1: not a question of MMLU-Pro \(answer 3 of 3 choices\)"):
        MmluPro().items(options(1, tmp_path))


def test_math_asks_seven_subjects_in_turn_after_four_solved_problems(options):
    items = Math().items(options(14))
    assert len({item.id.partition("/")[0] for item in items}) == 7
    assert items[0].prompt.count("I hope it is correct.") == 4
    assert items[0].prompt.endswith("\n\nSolution:")
    (plain,) = Math500().items(options(1, shots=0))
    assert plain.prompt.endswith("\\boxed{}.")
    assert "Solution" not in plain.prompt
    assert plain.gold == "\\left( 3, \\frac{\\pi}{2} \\right)"


def test_every_published_solution_of_math_500_is_right(options, answered, byte_tokenizer):
    task = Math500()
    items = task.items(options(shots=0))
    solutions = [problem.solution for problem in task.problems(options())]
    samples = answered(task, items, solutions, byte_tokenizer)
    assert len(samples) == 500
    assert all(sample["scores"]["accuracy"] == 1 for sample in samples)


MARKS = ("\\le(", "\\le[", "\\iny", "{{}")
"""What is left of ``\\left(``, ``\\infty`` and the like in an answer that lost letters."""


def test_right_answers_equal_those_that_others_have_brought_into_another_form():
    # the package gives each answer in the normal form of Minerva's authors, which loses commas, and letters of \left
    # and \infty; where it does not, it must be equal, and the answer to the next problem must not
    with gzip.open(fetch_data_set("math_500")["test"], "rt") as file:
        docs = [json.loads(line)["doc"] for line in islice(file, 250)]
    pairs = [(last_boxed(doc["solution"]), doc["answer"]) for doc in docs]
    damaged = [(g, a) for g, a in pairs if g.count(",") != a.count(",") or any(m in a for m in MARKS)]
    whole = [pair for pair in pairs if pair not in damaged]
    assert len(whole) > 230
    unequal = [pair for pair in whole if not are_equal(*pair)]
    assert [gold for gold, _ in unequal if "=" not in gold] == []  # an equation loses its left side
    others = sum(are_equal(gold, answer) for (gold, _), (_, answer) in pairwise(whole))
    same = sum(a == b for (_, a), (_, b) in pairwise(whole))
    assert others <= same + 2


def test_numina_math_leaves_proofs_out(tmp_path, options, answered, byte_tokenizer):
    rows = [
        {"source": "amc", "problem": "1+1?", "solution": "It is $\\boxed{2}$.", "messages": []},
        {"source": "olympiads", "problem": "Prove it.", "solution": "Obvious.", "messages": []},
        {"source": "orca_math", "problem": "1/2+1/4?", "solution": "So \\boxed{\\frac{3}{4}}", "messages": []},
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = NuminaMath()
    items = task.items(options(2, tmp_path, shots=0))
    assert [item.id for item in items] == ["0", "2"]
    samples = answered(task, items, ["The answer is 2.", "\\boxed{0.75}"], byte_tokenizer)
    assert [sample["scores"]["accuracy"] for sample in samples] == [1, 1]
    with pytest.raises(BadInputError, match="shots=1: not 0 or 4"):
        task.items(options(2, tmp_path, shots=1))
