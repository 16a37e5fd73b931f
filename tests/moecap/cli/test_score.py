"""``moecap score``: predictions against a task's own questions or a file of golds, with the line of each error."""

import json

import pytest

from moecap.cli import main
from moecap.data.mmlu import load_mmlu


@pytest.fixture
def write(tmp_path):
    """Write rows, or lines as they are, to a file."""

    def written(name, *rows):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return written


def _scored(capsys, *arguments):
    status = main(["score", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


ANATOMY = ("--task", "mmlu", "--task-arg", "subject=anatomy")


def test_predictions_of_multiple_choice_are_letters_sentences_or_texts(write, capsys):
    questions = load_mmlu("anatomy")[:6]
    right = [q.labels[q.answer_index] for q in questions]
    wrong = "ABCD"[("ABCD".index(right[2]) + 1) % 4]
    path = write(
        "p.jsonl",
        {"id": "anatomy/0", "answer": right[0]},
        {"id": "anatomy/1", "prediction": f"The answer is ({right[1]})."},
        {"id": "anatomy/2", "answer": wrong},
        "",
        {"id": "anatomy/3", "answer": "I cannot say."},
        {"id": "anatomy/5", "answer": f"<think>{wrong}</think> {right[5]}"},
    )
    status, out, _ = _scored(capsys, *ANATOMY, "--limit", 6, "--predictions", path, "--json")
    result = json.loads(out)
    assert status == 0
    assert (result["task"], result["n"], result["missing"]) == ("mmlu", 6, 1)
    assert result["metrics"]["accuracy.mmlu"]["value"] == 0.5
    assert result["metrics"]["accuracy.mmlu_unanswered"]["value"] == pytest.approx(2 / 6)
    status, out, err = _scored(capsys, *ANATOMY, "--limit", 6, "--predictions", path)
    assert "0.5000" in out
    assert err == "1 of 6 questions have no prediction and count as wrong\n"


def test_the_samples_of_a_run_of_several_tasks_are_predictions_and_golds(write, capsys):
    own = {"task": "math", "gold": "2", "answer": "The answer is 2."}
    path = write(
        "samples.jsonl",
        own | {"id": "a/0", "outcome": "answered"},
        own | {"id": "a/1", "outcome": "truncated"},
        own | {"id": "a/2", "outcome": "failed"},
        {"task": "gsm8k", "id": "a/0", "gold": "3", "answer": "3"},
    )
    status, out, _ = _scored(capsys, "--task", "math", "--predictions", path, "--gold", path, "--json")
    metrics = json.loads(out)["metrics"]
    assert status == 0
    shares = [metrics[f"accuracy.math{name}"]["value"] for name in ("", "_truncated", "_failed")]
    assert shares == pytest.approx([1 / 3] * 3)
    one = write("one.jsonl", own | {"id": "a/0"})
    status, out, _ = _scored(capsys, "--task", "math", "--limit", 1, "--predictions", one, "--gold", path, "--json")
    assert json.loads(out)["n"] == 1
    status, out, err = _scored(capsys, "--task", "math_500", "--predictions", path, "--gold", path)
    assert (status, out) == (2, "")
    assert "all its lines are of gsm8k, math and none of math_500" in err


def test_golds_may_come_from_a_file(write, capsys):
    gold = write("g.jsonl", {"id": 1, "gold": "\\frac{3}{4}"}, {"id": 2, "answer": "2"}, {"id": 3, "gold": "x+1"})
    path = write(
        "p.jsonl", {"id": "1", "answer": "It is \\boxed{0.75}"}, {"id": 2, "answer": 2}, {"id": 3, "answer": "x"}
    )
    status, out, _ = _scored(capsys, "--task", "math", "--predictions", path, "--gold", gold, "--json")
    assert status == 0
    assert json.loads(out)["metrics"]["accuracy.math"]["value"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (['{"id": "anatomy/0", "answer": "A"}', "{"], r"p.jsonl, line 2: no JSON"),
        (["[1]"], "p.jsonl, line 1: a JSON object is needed"),
        (["", '{"answer": "A"}'], "p.jsonl, line 2: no id; each prediction needs the id of its question"),
        (['{"id": "anatomy/0"}'], "p.jsonl, line 1: no answer or prediction"),
        (['{"id": "anatomy/0", "answer": ["A"]}'], "p.jsonl, line 1: no answer or prediction"),
        (
            ['{"id": "anatomy/0", "answer": "A"}', '{"id": "anatomy/0", "answer": "B"}'],
            "p.jsonl, line 2: a second prediction for 'anatomy/0', after line 1",
        ),
        (['{"id": "anatomy/999", "answer": "A"}'], "p.jsonl, line 1: no question 'anatomy/999' in task 'mmlu'"),
    ],
)
def test_an_error_names_its_line(write, capsys, lines, problem):
    status, out, err = _scored(capsys, *ANATOMY, "--predictions", write("p.jsonl", *lines))
    assert (status, out) == (2, "")
    assert problem in err
    assert err.count("\n") == 1


def test_what_cannot_be_scored_is_refused(write, capsys, tmp_path):
    path = write("p.jsonl", {"id": "anatomy/0", "answer": "A"})
    for arguments, problem in (
        (["--task", "mmluu", "--predictions", path], "did you mean 'mmlu'"),
        ([*ANATOMY, "--predictions", tmp_path / "none.jsonl"], "none.jsonl: no such file"),
        ([*ANATOMY, "--predictions", path, "--gold", path], "brings its own right answers"),
        (["--task", "arena_hard", "--predictions", path, "--gold", path], "brings its own right answers"),
        (["--task", "mmlu_pro", "--predictions", path], "TIGER-Lab/MMLU-Pro is in no package"),
        (["--task", "mmlu_pro", "--predictions", path, "--gold", path], "lacks what the task's grading needs"),
        (
            ["--task", "math", "--predictions", path, "--gold", write("g.jsonl", {"id": "1"})],
            "g.jsonl, line 1: no gold",
        ),
        (["--task", "math", "--predictions", path, "--gold", write("e.jsonl")], "no question"),
        ([*ANATOMY, "--limit", "-1", "--predictions", path], "--limit -1: give a number from 0 on"),
    ):
        status, out, err = _scored(capsys, *arguments)
        assert (status, out) == (2, ""), arguments
        assert problem in err
