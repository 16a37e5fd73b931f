"""Samples of concepts that were drawn elsewhere, scored by the command line."""

import json

import pytest

from moecap.cli import main
from moecap.tasks.nesydm.programs import Program

PRODUCT = Program("product", lambda a, b: (a * b,), concepts=2, values=4, outputs=1, output_values=10)

GOLD = [
    {"id": "0", "concepts": [3, 1], "y": [0, 4]},
    {"id": "1", "concepts": [9, 9], "y": [1, 8], "split": "id"},
    {"id": "2", "concepts": [0, 5], "split": "ood"},
]
PREDICTIONS = [
    {"id": "0", "concept_samples": [[1, 3], [1, 3], [3, 1], [2, 2]], "y": [0, 4]},
    {"id": 1, "concept_samples": [[9, 9], [9, 8], [9, 8], [9, 9]]},
    {"id": "2", "concept_samples": [[0, 5], [0, 5], [0, 5], [0, 4]]},
]


def lines(path, rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def scored(folder, capsys, gold=GOLD, predictions=PREDICTIONS, *arguments):
    command = ["score", "--task", "nesydm", "--json"]
    command += ["--predictions", str(lines(folder / "predictions.jsonl", predictions))]
    command += ["--gold", str(lines(folder / "gold.jsonl", gold))]
    for argument in arguments or ("program=addition", "digits=1"):
        command += ["--task-arg", argument]
    code = main(command)
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else err


def values(answer):
    return {name.removeprefix("task.nesydm_predictions_given_"): m["value"] for name, m in answer["metrics"].items()}


def test_labels_concepts_and_calibration_are_scored_by_split(tmp_path, capsys):
    """By hand: labels 4 (all samples), 17 against 18 (a tie, of which 17 comes first), 5.

    Concepts of items 0 and 1 by whole vectors: (1, 3) and (9, 8), one of four right. Confidence in item 0: 1 at 1/2 and
    3 at 1/2, both wrong; in item 1: 9 at 1, right, and 8 at 1/2, wrong.
    """
    code, answer = scored(tmp_path, capsys)
    assert code == 0
    found = values(answer)
    assert found["accuracy.nesydm"] == pytest.approx(2 / 3)
    assert found["acc_y"] == pytest.approx(1 / 2)
    assert found["ood_acc_y"] == 1
    assert found["acc_c"] == pytest.approx(1 / 4)
    assert found["ece_c"] == pytest.approx(((0.5 + 0) / 2 + 0.5) / 2)
    assert found["ood_ece_c"] == pytest.approx((0 + 0.25) / 2)


def test_golds_without_concepts_have_no_scores_of_concepts(tmp_path, capsys):
    code, answer = scored(tmp_path, capsys, [{"id": "0", "y": [0, 4]}], PREDICTIONS[:1])
    assert code == 0
    found = values(answer)
    assert found["acc_y"] == 1
    assert not [name for name in found if name.endswith("_c")]


def test_a_program_of_the_users_own(tmp_path, capsys):
    gold = [{"id": "0", "concepts": [3, 2], "y": [6]}]
    predictions = [{"id": "0", "concept_samples": [[2, 3], [3, 2]]}]
    code, answer = scored(tmp_path, capsys, gold, predictions, f"program={__name__}:PRODUCT")
    assert code == 0
    assert values(answer)["acc_y"] == 1


def test_labels_that_are_trusted_stand_for_themselves(tmp_path, capsys):
    predictions = [PREDICTIONS[0] | {"y": [0, 5]}, *PREDICTIONS[1:]]
    predictions = [row | {"y": row.get("y", [0, 0])} for row in predictions]
    code, answer = scored(tmp_path, capsys, GOLD, predictions, "program=addition", "digits=1", "trust_y=true")
    assert code == 0
    assert values(answer)["accuracy.nesydm"] == 0


def test_a_missing_prediction_is_wrong_where_it_may_be_missing(tmp_path, capsys):
    arguments = ("program=addition", "digits=1", "allow_missing=true")
    code, answer = scored(tmp_path, capsys, GOLD, PREDICTIONS[1:], *arguments)
    assert code == 0
    assert answer["missing"] == 1
    assert values(answer)["accuracy.nesydm"] == pytest.approx(1 / 3)


def changed(number, **values):
    return [row | values if i == number else row for i, row in enumerate(PREDICTIONS)]


@pytest.mark.parametrize(
    ("gold", "predictions", "words"),
    [
        (GOLD, changed(1, concept_samples=[[9, 9], [9]]), "line 2: a sample is [9]; give 2 whole numbers from 0 to 9"),
        (GOLD, changed(1, concept_samples=[[9, 10]]), "line 2: a sample is [9, 10]; give 2 whole numbers"),
        (GOLD, changed(1, concept_samples=[[9, 1.5]]), "line 2: a sample is [9, 1.5]"),
        (GOLD, changed(1, concept_samples=[]), "line 2: no concept_samples"),
        (GOLD, changed(1, concept_samples=[[9, 9]]), "line 2: 1 samples, and 4 of those before it"),
        (GOLD, changed(0, y=[0, 5]), "line 1: y is [0, 5], and the most frequent label of the samples [0, 4]"),
        (GOLD, changed(0, y=[4]), "line 1: y is [4]; give 2 whole numbers from 0 to 9"),
        (GOLD, changed(2, id="9"), "line 3: no gold has the id '9'"),
        (GOLD, changed(2, id=1), "line 3: a second prediction for '1', after line 2"),
        (GOLD, changed(2, id=None), "line 3: no id"),
        (GOLD, [*PREDICTIONS[:2], "{"], "line 3: no JSON"),
        (GOLD, PREDICTIONS[:2], "no prediction for '2' and 0 others"),
        (
            [GOLD[0] | {"y": [0, 5]}, *GOLD[1:]],
            PREDICTIONS,
            "gold.jsonl, line 1: y is [0, 5], and addition makes [0, 4]",
        ),
        ([GOLD[0] | {"split": "test"}, *GOLD[1:]], PREDICTIONS, "line 1: the split 'test' is neither id nor ood"),
        ([{"id": "0"}, *GOLD[1:]], PREDICTIONS, "line 1: neither concepts nor y"),
        ([{"id": "0", "y": [0, 4]}, *GOLD[1:]], PREDICTIONS, "some lines have concepts and some have none"),
    ],
)
def test_lines_that_cannot_be_scored_are_refused_with_their_number(tmp_path, capsys, gold, predictions, words):
    code, err = scored(tmp_path, capsys, gold, predictions)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_a_program_and_golds_are_needed(tmp_path, capsys):
    path = lines(tmp_path / "predictions.jsonl", PREDICTIONS)
    assert main(["score", "--task", "nesydm", "--predictions", str(path)]) == 2
    assert "--task-arg program=NAME" in capsys.readouterr().err
