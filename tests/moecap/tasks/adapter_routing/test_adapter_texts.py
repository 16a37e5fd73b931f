"""Tasks in words: the packaged sets, and files of a user's with what is wrong in them."""

import json

import pytest

from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.adapter_routing.settings import SIZES, read_settings
from moecap.tasks.adapter_routing.texts import HELD_OUT, TRAINED, text_tasks


def _lines(tasks=("colours", "sizes", "shapes"), n=9):
    return [
        {"task": task, "prompt": f"{task} number {i}?", "target": ("left", "right")[i % 2]}
        for i in range(n)
        for task in tasks
    ]


def _file(tmp_path, lines):
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join((json.dumps(line) if isinstance(line, dict) else line) + "\n" for line in lines))
    return path


def _tasks(path, options, **arguments):
    settings = read_settings({"tasks": str(path), **arguments})
    return text_tasks(settings, options(**arguments))


def test_the_packaged_sets_train_and_hold_out_what_t0_holds_out_each_with_its_right_answers(options):
    found = text_tasks(read_settings({"data": "glue", "pool": "100000", "longest": "100000"}), options(None))
    assert tuple(task.name for task in found.training) == TRAINED
    assert tuple(task.name for task in found.held_out) == HELD_OUT
    assert {task.name: len(task.pool) + len(task.test) for task in (*found.training, *found.held_out)} == {
        "sst2": 872,
        "mrpc": 408,
        "boolq": 3270,
        "commonsense_qa": 1221,
        "social_i_qa": 1954,
        "rte": 277,
        "cb": 56,
        "copa": 100,
    }
    assert not found.limited
    rte, cb, copa = (task.test[0] for task in found.held_out)
    assert rte.answers[rte.gold] == " no"  # label 1 of RTE is "not entailment"
    assert cb.answers[cb.gold] == " no"  # label 1 of CB is "contradiction"
    assert copa.prompt + copa.answers[copa.gold] == "The man turned on the faucet so water flowed from the spout"


def test_limits_bound_the_test_examples_of_each_task_and_are_told(options):
    found = text_tasks(read_settings({"data": "glue", "pool": "5"}), options(4))
    assert found.limited
    assert all((len(task.pool), len(task.test)) == (5, 4) for task in found.training)


def test_a_file_of_tasks_chooses_among_the_targets_of_each(tmp_path, options):
    found = _tasks(_file(tmp_path, _lines()), options)
    assert [task.name for task in found.training] == ["colours", "sizes"]
    assert [task.name for task in found.held_out] == ["shapes"]
    first = found.held_out[0].test[0]
    assert (first.id, first.prompt, first.answers, first.gold) == (
        "shapes-3",
        "shapes number 0?",
        (" left", " right"),
        0,
    )
    assert len(found.held_out[0].test) == 3
    assert len(found.held_out[0].pool) == 6


def test_the_user_names_what_is_held_out(tmp_path, options):
    found = _tasks(_file(tmp_path, _lines()), options, held_out="colours,sizes")
    assert [task.name for task in found.training] == ["shapes"]
    with pytest.raises(UnknownNameError, match=r"no task in the file named .colors.*did you mean"):
        _tasks(_file(tmp_path, _lines()), options, held_out="colors")
    with pytest.raises(BadInputError, match="'sizes' is trained on, too"):
        _tasks(_file(tmp_path, _lines()), options, held_out="sizes", train="sizes,colours")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"tasks.jsonl, line 28: no JSON"),
        ("[]", r"tasks.jsonl, line 28: a JSON object is needed"),
        ({"prompt": "p", "target": "t"}, r"tasks.jsonl, line 28: no task"),
        ({"task": "t", "target": "t"}, r"tasks.jsonl, line 28: no prompt"),
        ({"task": "t", "prompt": "p", "target": 3}, r"tasks.jsonl, line 28: no target"),
        ({"task": "t", "prompt": "p", "target": " "}, r"tasks.jsonl, line 28: no target"),
        ({"task": "t", "prompt": "p", "target": "x"}, r"tasks.jsonl, line 28: task 't' has 1 different targets"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path, options, line, said):
    with pytest.raises(BadInputError, match=said):
        _tasks(_file(tmp_path, [*_lines(), line]), options)


def test_files_without_use_are_refused(tmp_path, options):
    with pytest.raises(BadInputError, match="no such file; give JSON lines with task, prompt and target"):
        _tasks(tmp_path / "absent.jsonl", options)
    with pytest.raises(BadInputError, match="1 tasks; at least one to train on and one to hold out"):
        _tasks(_file(tmp_path, _lines(("one",))), options)
    with pytest.raises(BadInputError, match="task 'colours' has too few examples"):
        _tasks(_file(tmp_path, _lines()), options, longest="8")


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_read(size):
    assert read_settings(SIZES[size]).headline == ("mhr", "full")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"data": "mnist"}, "data=mnist: not digits or glue"),
        ({"data": "glue", "tasks": "f"}, "tasks=FILE has tasks of its own"),
        ({"pool": "9"}, "pool: the digits have none"),
        ({"variants": "lora,best"}, "'best' is none; known: lora, private, mu, poly, mhr"),
        ({"adapt": "z", "variants": "lora,private"}, "none of the variants lora, private learns so from shots"),
        ({"heads": "0"}, "heads=0: not a whole number from 1"),
        ({"rate": "fast"}, "a learning rate is a number above 0"),
        ({"rate": "nan"}, "a learning rate is a number above 0"),
        ({"seeds": "0"}, "seeds=0: not a whole number from 1"),
        ({"routers": "token"}, "routers=token: not one of layer, block, global"),
        ({"weights": "softmax"}, "weights=softmax: not one of sigmoid, relaxed"),
    ],
)
def test_arguments_that_are_none_are_refused(arguments, said):
    with pytest.raises(BadInputError, match=said):
        read_settings(arguments)
