"""Submissions to the shared task, scored offline through the command line."""

import json

import pytest

from moecap.cli import main
from moecap.data.languages import SIGTYP16


def written(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def gold(tmp_path):
    """Three utterances of each of the sixteen languages."""
    return written(tmp_path / "gold.tsv", [(f"{code}-{n}", code) for code in SIGTYP16 for n in range(3)])


def scored(capsys, predictions, gold, *arguments):
    command = ["score", "--task", "spoken_lid", "--predictions", str(predictions), "--gold", str(gold), "--json"]
    status = main([*command, *(part for argument in arguments for part in ("--task-arg", argument))])
    told = capsys.readouterr()
    return status, json.loads(told.out) if status == 0 else {}, told.err


def test_one_answer_for_all_has_the_measures_by_hand(tmp_path, gold, capsys):
    answers = written(tmp_path / "team_constrained.tsv", [(f"{c}-{n}", "kab") for c in SIGTYP16 for n in range(3)])
    status, found, told = scored(capsys, answers, gold, "labels=sigtyp16")
    assert status == 0
    values = {name.removeprefix("task.spoken_lid_submission_given_"): m for name, m in found["metrics"].items()}
    assert values["accuracy.spoken_lid"]["value"] == pytest.approx(1 / 16)
    assert values["micro_f1"]["value"] == pytest.approx(1 / 16)
    assert values["macro_f1"]["value"] == pytest.approx(2 / 17 / 16)
    assert (values["f1_kab"]["value"], values["f1_hin"]["value"]) == (pytest.approx(2 / 17), 0)
    assert values["recall_kab"]["value"] == 1
    assert (found["n"], found["missing"], values["f1_kab"]["n"]) == (48, 0, 3)
    assert "submission of team, constrained track" in told
    assert "unparsed" not in values


def test_json_lines_may_name_no_language_and_a_family_counts(tmp_path, gold, capsys):
    answers = tmp_path / "mine.jsonl"
    rows = [{"id": f"{c}-{n}", "lang": {"hin": "mar", "tam": None}.get(c, c)} for c in SIGTYP16 for n in range(3)]
    answers.write_text("\n".join(map(json.dumps, rows)))
    status, found, told = scored(capsys, answers, gold)
    values = {
        name.removeprefix("task.spoken_lid_submission_given_"): m["value"] for name, m in found["metrics"].items()
    }
    assert status == 0
    assert values["accuracy"] == pytest.approx(14 / 16)
    assert values["family_accuracy"] == pytest.approx(15 / 16)
    assert values["unparsed"] == pytest.approx(1 / 16)
    assert found["missing"] == 3
    assert values["precision_mar"] == pytest.approx(1 / 2)
    assert "track" not in told


def test_with_the_training_list_domains_and_speakers_count_as_in_a_run(lists, capsys):
    rows = [line.split("\t") for line in (lists / "test.tsv").read_text().splitlines()]
    answers = written(lists / "a_b_unconstrained.tsv", [(row[0], "hin") for row in rows])
    status, found, told = scored(capsys, answers, lists / "test.tsv", f"train={lists / 'train.tsv'}")
    assert status == 0
    values = {name.removeprefix("task.spoken_lid_submission_"): m for name, m in found["metrics"].items()}
    assert values["given_new_speakers_accuracy"] == values["given_domain_field_accuracy"]
    assert values["given_gap"]["value"] == 0
    assert values["training_speaker_tells_language"]["value"] == pytest.approx(1 / 3)
    assert "submission of a_b, unconstrained track" in told


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("kab-0", "kab"), ("kab-0", "kab")], "team.tsv, line 2: the id 'kab-0' comes twice, first in line 1"),
        ([("kab-0", "kab")], "team.tsv: no answer for 'kab-1' and 46 others; add them"),
        ([("kab-0", "hi")], "team.tsv, line 1: no language 'hi'; did you mean hin?"),
        ([("kab-0", "kab"), ("nobody", "kab")], "team.tsv, line 2: no right answer has the id 'nobody'"),
        ([("kab-0", "kab", "0.9")], "team.tsv, line 1: 3 columns; give id, language"),
        ([], "team.tsv: nothing in it; give answers"),
    ],
)
def test_a_malformed_submission_exits_with_2_and_one_line(tmp_path, gold, capsys, rows, words):
    status, _, told = scored(capsys, written(tmp_path / "team.tsv", rows), gold, "labels=sigtyp16")
    assert status == 2
    assert words in told
    assert len(told.strip().splitlines()) == 1


def test_golds_that_cannot_be_are_refused(tmp_path, gold, lists, capsys):
    answers = written(tmp_path / "team.tsv", [("a", "hin")])
    assert main(["score", "--task", "spoken_lid", "--predictions", str(answers)]) == 2
    assert "scores answers against --gold FILE" in capsys.readouterr().err
    status, _, told = scored(capsys, answers, written(tmp_path / "none.tsv", []))
    assert (status, "none.tsv: nothing in it; give right answers" in told) == (2, True)
    rows = [(f"{code}-{n}", code) for code in SIGTYP16 for n in range(3)]
    status, _, told = scored(capsys, written(tmp_path / "t.tsv", rows), gold, f"train={lists / 'train.tsv'}")
    assert (status, "it tells no speakers, so that train=FILE says nothing of them" in told) == (2, True)
