"""Questions about crops, the released files, vectors in files, and predictions that were made elsewhere."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from moecap.cli import main
from moecap.data.imagecode import descriptions, image_files, is_static, set_source, split_file, tags_of
from moecap.data.photographs import PICTURES, load_photographs
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.tasks.base import load_task
from moecap.tasks.imagecode.asked import (
    crop_questions,
    crops_asked,
    crops_to_learn_from,
    held_out_photographs,
    released_questions,
)
from moecap.tasks.imagecode.crops import ATTRIBUTES, EDGE, STRIDE, attribute_values, cells_of, shown

VIDEO, STATIC = "MSR-VTT-videoTestVideo_video1-shot1_0", "open-images-7_ab12"


@pytest.fixture(scope="module")
def sets():
    return crops_asked(40)


def test_there_are_eighteen_photographs_and_five_are_asked_about_that_nobody_learns_from():
    assert len(load_photographs()) == len(PICTURES) + 2 == 18
    asked, learnt = ({photograph.name for photograph in part} for part in held_out_photographs())
    assert (len(asked), len(learnt), asked & learnt) == (5, 13, set())
    assert {one.photograph.name for one in crops_asked(20)} == asked
    train, held_out = crops_to_learn_from(26, 26)
    assert {one.photograph.name for one in (*train, *held_out)} == learnt


def test_cells_are_means_and_spreads_by_hand():
    pixels = np.zeros((EDGE, EDGE, 3), np.uint8)
    pixels[:12, :12, 0] = 255
    pixels[:6, 12:24] = 255
    cells = cells_of(pixels)
    assert cells[0, 0] == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert cells[0, 1] == pytest.approx([0.5, 0.5, 0.5, 0.5])  # half black, half white
    assert not cells[1:].any()


def test_attributes_are_of_what_they_name():
    left = np.zeros((EDGE, EDGE, 3), np.uint8)
    left[:, : EDGE // 2] = 200
    top, red = left.transpose(1, 0, 2), np.zeros_like(left)
    red[..., 0] = 90
    noise = np.random.default_rng(0).integers(0, 2, left.shape[:2]).repeat(3).reshape(left.shape).astype(np.uint8) * 60
    crops = {"left": left, "top": top, "right": left[:, ::-1], "bottom": top[::-1], "red": red, "busy": noise}
    cells = np.stack([cells_of(crop) for crop in crops.values()])
    for place, name in enumerate(crops):
        assert attribute_values(name, cells).argmax() == place, name
    assert attribute_values("smooth", cells)[5] == attribute_values("smooth", cells).min()


def test_the_image_that_is_meant_has_the_most_of_what_is_asked_for_in_its_pixels(sets):
    for one in sets:
        pictures = [np.asarray(Image.open(io.BytesIO(image.content))) for image in shown(one)]
        values = attribute_values(one.attribute, np.stack([cells_of(picture) for picture in pictures]))
        assert values.argmax() == one.gold
        assert (values == values.max()).sum() == 1


def test_videos_slide_by_a_few_pixels_and_no_crop_leaves_its_photograph(sets):
    for one in sets:
        steps = np.abs(np.diff(one.corners, axis=0))
        height, width = one.photograph.pixels.shape[:2]
        assert (one.corners >= 0).all()
        assert (one.corners + EDGE <= (height, width)).all()
        if one.kind == "video":
            assert steps.max() <= STRIDE
            assert steps.any(-1).all()
    assert max(np.abs(np.diff(one.corners, axis=0)).max() for one in sets if one.kind == "static") > 5 * STRIDE


def test_every_place_is_meant_equally_often_in_both_kinds_and_fewer_questions_are_the_first_of_more(sets):
    for kind in ("video", "static"):
        assert sorted(one.gold for one in sets if one.kind == kind) == sorted([*range(10)] * 2)
    fewer = crop_questions(600, 7)
    assert [q.id for q in fewer.asked] == [f"{one.name}/{one.attribute}" for one in sets[:7]]
    assert fewer.limited
    assert {q.text for q in fewer.asked} <= {text for text, _ in ATTRIBUTES.values()}


def test_the_released_files_are_read_in_their_order(released):
    found = descriptions(split_file(released, "valid"))
    assert [(one.set, one.key, one.gold) for one in found[:3]] == [(VIDEO, "5", 5), (VIDEO, "0", 0), (STATIC, "9", 9)]
    assert [is_static(one.set) for one in found] == [False, False, True, False]
    assert [set_source(one.set) for one in found[1:]] == ["MSR-VTT", "open-images", "YouCook"]
    unlabelled = descriptions(split_file(released, "test"))
    assert [(one.set, one.key, one.gold) for one in unlabelled[:2]] == [(VIDEO, "0", None), (VIDEO, "1", None)]
    with pytest.raises(UnknownNameError):
        split_file(released, "dev")


def test_image_ten_comes_after_image_nine(released):
    assert [path.name for path in image_files(released, VIDEO)] == [f"img{n}0.jpg" for n in range(1, 11)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "line 1: no object of sets"),
        ('{\n "a": 3}', "line 2: 'a' holds neither"),
        ('{\n "a": {"12": "text"}}', "line 2: '12' is no place from 0 to 9"),
        ('{\n "a": {"1": ""}}', "line 2: description '1' of 'a' is no text"),
        ('{"a": {"1": "x"},\n "a": {"2": "y"}}', "line 2: 'a' comes twice"),
        ('{"a": {"1": "x",\n "1": "y"}}', "line 2: '1' comes twice"),
        ("{}", "no description"),
    ],
)
def test_a_file_of_descriptions_that_is_none_is_named_with_its_line(tmp_path, content, problem):
    path = tmp_path / "valid_data.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match=problem) as caught:
        descriptions(path)
    assert str(path) in str(caught.value)


def test_sets_of_images_that_are_none_are_named(released):
    folder = released / "image-sets" / VIDEO
    with pytest.raises(BadInputError, match="no set nothing"):
        image_files(released, "nothing")
    (folder / "img100.jpg").rename(folder / "last.jpg")
    with pytest.raises(BadInputError, match=r"last.jpg: not imgN.jpg with a number"):
        image_files(released, VIDEO)
    (folder / "last.jpg").rename(folder / "img010.jpg")
    with pytest.raises(BadInputError, match="have the same number"):
        image_files(released, VIDEO)
    (folder / "img010.jpg").unlink()
    with pytest.raises(BadInputError, match=r"has 9 images imgN\.jpg, not 10"):
        image_files(released, VIDEO)


def test_an_image_that_nobody_could_see_is_refused_before_anything_starts(released, options):
    path = released / "image-sets" / STATIC / "img50.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadInputError, match=r"img50.jpg cannot be read as a picture"):
        load_task("imagecode").items(options(data=released, retriever="chat"))


def test_annotations_are_read_in_their_released_form(tmp_path):
    path = tmp_path / "manual_annotation_valid.yaml"
    path.write_text(
        '"set":\n  "5":\n    "description": "a b"\n    "annotation": "col,q, n"\n    "visualization_id": "0"\n'
    )
    assert tags_of(path) == {("set", "5"): ("col", "q", "n")}
    path.write_text('"set":\n  "5": [')
    with pytest.raises(BadInputError, match="line 3: not YAML"):
        tags_of(path)
    path.write_text("set: 3")
    with pytest.raises(BadInputError, match="annotations"):
        tags_of(path)
    path.write_text('"other": {"1": {"annotation": "q"}}\n"set":\n  "5":\n    "annotation": "q, no tag"\n')
    with pytest.raises(BadInputError, match="line 2: tag 'no tag' of 5 in 'set' is not of small letters"):
        tags_of(path)
    with pytest.raises(NotAvailableError):
        tags_of(tmp_path / "none.yaml")


def vectors(path, rows=4, width=16, **changes):
    draw = np.random.default_rng(0)
    arrays = {"v": draw.normal(size=(rows, 10, width)), "t": draw.normal(size=(rows, width))}
    np.savez(path, **(arrays | changes))
    return path


def test_vectors_give_every_variant_of_the_paper_on_the_released_data(released, options, tmp_path):
    from moecap.observations.recorder import Recorder

    own = vectors(tmp_path / "v.npz", ids=np.array([f"{VIDEO}/5", f"{VIDEO}/0", f"{STATIC}/9", "x"]))
    content = dict(np.load(own))
    with pytest.raises(BadInputError, match="row 3 is not of 'YouCook"):
        load_task("imagecode").items(options(data=released, embeddings=own))
    content.pop("ids")
    np.savez(own, **content)
    task, recorder = load_task("imagecode"), Recorder()
    arguments = {"embeddings": own, "train_embeddings": own, "epochs": 1, "inner": 16}
    asked = task.items(options(data=released, **arguments))
    samples = list(task.run(asked, None, None, recorder, lambda _n: None))
    assert [sample["gold"] for sample in samples] == [5, 0, 9, 2]
    scores = recorder._task_tables["imagecode.scores.parquet"].to_pandas()
    cosines = content["v"] / np.linalg.norm(content["v"], axis=-1, keepdims=True)
    cosines = np.einsum("nid,nd->ni", cosines, content["t"] / np.linalg.norm(content["t"], axis=-1, keepdims=True))
    zero_shot = scores[scores["variant"] == "zero_shot"]["score"].to_numpy().reshape(4, 10)
    assert zero_shot == pytest.approx(cosines / 0.07, abs=1e-4)
    assert set(scores["variant"]) == {
        *("zero_shot", "random_negatives", "context_batch", "context_module", "temporal_embeddings")
    }


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"rows": 3}, "3 rows, and the split has 4 descriptions"),
        ({"t": np.zeros((4, 8))}, "v is .4, 10, 16. and t .4, 8."),
        ({"v": np.full((4, 10, 16), np.nan)}, "row 0 of v has no finite numbers"),
        ({"v": np.zeros((4, 9, 16))}, "v is .4, 9, 16."),
    ],
)
def test_vectors_that_are_not_of_the_split_are_refused(released, options, tmp_path, arrays, problem):
    path = vectors(tmp_path / "v.npz", **arrays)
    with pytest.raises(BadInputError, match=problem):
        load_task("imagecode").items(options(data=released, embeddings=path))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"retriever": "eye"}, "retriever=eye"),
        ({"variants": "zero_shot"}, "knows nothing before it is trained"),
        ({"variants": "first"}, "no variant of imagecode named 'first'"),
        ({"width": "12"}, "a multiple of 8"),
        ({"rate": "fast"}, "rate=fast: a learning rate"),
        ({"train_embeddings": "x.npz"}, "give the vectors of the questions"),
        ({"embeddings": "x.npz"}, "of ImageCoDe's own data"),
        ({"export": "x.json"}, "of ImageCoDe's own data"),
        ({"retriever": "chat", "pairs": "true", "order_seed": "1"}, "leave one of them out"),
        ({"settings": "large"}, "no settings of imagecode named 'large'"),
        ({"crops": "1"}, "no argument of task imagecode named 'crops'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, arguments, problem):
    with pytest.raises((BadInputError, UnknownNameError), match=problem):
        load_task("imagecode").items(options(**arguments))


def test_released_images_need_vectors_or_a_model_that_sees(released, options):
    with pytest.raises(BadInputError, match=r"embeddings=FILE\.npz, or ask a model with --task-arg retriever=chat"):
        load_task("imagecode").items(options(data=released))


def predicted(tmp_path, *rows):
    path = tmp_path / "pred.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def line(name, key, pred, **more):
    return {"set": name, "gold_key": key, "pred": pred, **more}


GOOD = (line(VIDEO, "5", 5), line(VIDEO, "0", 3), line(STATIC, "9", 9))


def test_predictions_are_scored_by_kind_and_phenomenon_and_a_missing_one_is_wrong(released, tmp_path, capsys):
    tags = tmp_path / "tags.yaml"
    tags.write_text(f'"{VIDEO}":\n  "5": {{annotation: "neg,q"}}\n  "0": {{annotation: q}}\n')
    command = ["score", "--task", "imagecode", "--gold", str(released / "valid_data.json"), "--json"]
    command += ["--predictions", str(predicted(tmp_path, *GOOD)), "--task-arg", f"phenomena={tags}"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    values = {name: (metric["value"], metric["n"]) for name, metric in found["metrics"].items()}
    assert (found["n"], found["missing"]) == (4, 1)
    assert values["accuracy.imagecode"] == values["task.imagecode_given_accuracy"] == (0.5, 4)
    assert values["task.imagecode_given_accuracy_video"] == (pytest.approx(1 / 3), 3)
    assert values["task.imagecode_given_accuracy_static"] == (1, 1)
    assert values["task.imagecode_given_accuracy_tag_q"] == (0.5, 2)
    assert values["task.imagecode_given_accuracy_tag_neg"] == (1, 1)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([line(VIDEO, "5", 10)], "line 1: pred is 10; give a whole number from 0 to 9"),
        ([line(VIDEO, "5", -1)], "pred is -1"),
        ([line(VIDEO, "5", True)], "pred is True"),
        ([line(VIDEO, "5", 3.0)], "pred is 3.0"),
        ([line(VIDEO, "5", "3")], "pred is 3"),
        ([line(VIDEO, "7", 3)], "line 1: no description '7' of the set"),
        ([line(VIDEO, "5", 3), line(VIDEO, "5", 3)], "line 2: a second prediction .* after line 1"),
        ([line(VIDEO, "5", 3, scores=[0.0] * 9)], "line 1: scores is .*give 10 finite numbers"),
        ([line(VIDEO, "5", 3, scores=[float("nan")] * 10)], "give 10 finite numbers"),
        ([line(VIDEO, "5", 3, scores=[1, *[0] * 9])], "line 1: pred is 3, which has not the largest"),
        ([{"set": VIDEO, "pred": 3}], "line 1: no set or no gold_key"),
        ([{"set": VIDEO, "gold_key": "5"}], "line 1: no pred"),
    ],
)
def test_a_prediction_that_is_none_is_named_with_its_line(released, tmp_path, capsys, rows, problem):
    command = ["score", "--task", "imagecode", "--gold", str(released / "valid_data.json")]
    assert main([*command, "--predictions", str(predicted(tmp_path, *rows))]) == 2
    told = capsys.readouterr().err
    assert "pred.jsonl" in told
    assert re.search(problem, " ".join(told.split()))


def test_ranks_come_from_scores(released, tmp_path, capsys):
    scores = [[0, 0, 0, 0, 0, 9, 0, 0, 0, 0], [5, 0, 0, 7, 0, 6, 0, 0, 0, 0]]
    rows = [line(VIDEO, "5", 5, scores=scores[0]), line(VIDEO, "0", 3, scores=scores[1])]
    command = ["score", "--task", "imagecode", "--gold", str(released / "valid_data.json"), "--json", "--limit", "2"]
    assert main([*command, "--predictions", str(predicted(tmp_path, *rows))]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["task.imagecode_given_mrr"]["value"] == pytest.approx((1 + 1 / 3) / 2)


def test_a_submission_has_the_places_in_the_order_of_the_descriptions(released, tmp_path, capsys):
    export = tmp_path / "submission.json"
    rows = [
        line(STATIC, "0", 9),
        line(VIDEO, "1", 4),
        line(VIDEO, "0", 7),
        line("YouCook2-video9-shot3_1", "0", 0),
    ]
    command = ["score", "--task", "imagecode", "--gold", str(released / "test_data_unlabeled.json")]
    command += ["--task-arg", f"export={export}"]
    assert main([*command, "--predictions", str(predicted(tmp_path, *rows))]) == 0
    assert json.loads(export.read_text()) == {VIDEO: [7, 4], STATIC: [9], "YouCook2-video9-shot3_1": [0]}
    assert main([*command, "--predictions", str(predicted(tmp_path, *rows[1:]))]) == 2
    assert "no place for" in capsys.readouterr().err
    assert main([*command, "--limit", "2", "--predictions", str(predicted(tmp_path, *rows))]) == 2
    assert "--limit 0" in capsys.readouterr().err


@pytest.mark.parametrize("said", [{STATIC: {"9": "the lightest"}}, {STATIC: ["the lightest"], VIDEO: ["the first"]}])
def test_one_set_or_none_with_its_image_gives_nothing_to_learn(released, options, tmp_path, said):
    (released / "train_data.json").write_text(json.dumps(said))
    own = vectors(tmp_path / "v.npz")
    learnt = vectors(tmp_path / "t.npz", rows=sum(map(len, said.values())))
    with pytest.raises(BadInputError, match=r"train_data\.json: to learn takes two sets or more"):
        load_task("imagecode").items(options(data=released, embeddings=own, train_embeddings=learnt))


def test_questions_of_a_set_or_photograph_are_one_group(released):
    assert {question.group for question in crop_questions(20, None).asked} == {
        photograph.name for photograph in held_out_photographs()[0]
    }
    questions = released_questions(released, "valid", None, None).asked
    assert [question.group for question in questions[:3]] == [VIDEO, VIDEO, STATIC]
