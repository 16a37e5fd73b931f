"""The built-in tasks show a model what lm-eval shows it: prompts and answers, item by item."""

import pytest

from moecap.tasks.base import TaskOptions, load_task
from moecap.tasks.multiple_choice import MultipleChoiceTask

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of libraries that lm-eval brings
SHOWN = 60


def _options(limit=SHOWN, **arguments):
    return TaskOptions(limit, None, arguments, lambda _line: None)


def _ours(name, **arguments):
    task = load_task(name)
    assert isinstance(task, MultipleChoiceTask)
    asked = []
    for question in task.items(_options(**arguments)):
        contexts = question.contexts or (question.prompt,) * len(question.answers)
        asked.append(list(zip(contexts, question.answers, strict=True)))
    return asked


def _theirs(name, **arguments):
    items = load_task(f"lm_eval:{name}").items(_options(**arguments))
    return [[tuple(request.args) for request in item.requests] for item in items]


@pytest.mark.parametrize("name", ["sst2", "boolq", "piqa", "hellaswag", "winogrande"])
def test_prompts_and_answers_are_those_of_lm_eval(name):
    ours, theirs = _ours(name), _theirs(name)
    assert len(ours) == SHOWN
    assert ours == theirs


@pytest.mark.parametrize("subject", ["anatomy", "high_school_us_history"])
def test_mmlu_with_five_examples_is_that_of_lm_eval(subject):
    assert _ours("mmlu", subject=subject) == _theirs(f"mmlu_{subject}", num_fewshot="5")


def test_the_right_answers_are_those_of_lm_eval():
    for name in ("sst2", "boolq", "piqa", "hellaswag"):
        items = load_task(f"lm_eval:{name}").items(_options())
        golds = [int(item.task.doc_to_target(item.doc)) for item in items]
        assert [question.gold for question in load_task(name).items(_options())] == golds
    items = load_task("lm_eval:winogrande").items(_options())
    golds = [item.task.doc_to_text(item.doc) for item in items]
    assert [question.gold for question in load_task("winogrande").items(_options())] == golds
