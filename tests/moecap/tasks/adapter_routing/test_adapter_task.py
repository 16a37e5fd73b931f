"""The method through the harness: real runs of a tiny model with digits and with a file of tasks."""

import json
import shutil

import pytest

from moecap.errors import BadInputError, NotAvailableError
from moecap.observations.reader import read_observations
from moecap.report.page import write_report
from moecap.result import read_result
from moecap.runner.plan import make_plan
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.adapter_routing.experiment import Experiment
from moecap.tasks.adapter_routing.settings import read_settings
from moecap.tasks.adapter_routing.task import AdapterRouting
from moecap.tasks.base import refuse_mismatch
from moecap.tasks.method import method_tables
from moecap.verification.recomputation import verify_run
from moecap.verification.task_data import asked_options
from moecap_backends.openai import OpenaiBackend

DIGITS = ("size=ci", "steps=10", "shot_steps=4", "mean_steps=2", "seeds=2")
WORDS = ("steps=3", "batch=4", "shot_steps=2", "mean_steps=1", "heads=4", "seeds=1", "variants=private,mhr")


@pytest.fixture(scope="module")
def ran(tiny_model, tmp_path_factory):
    """A function that runs the task with some arguments and gives the run directory."""

    def made(*arguments):
        options = {
            "model": str(tiny_model("mixtral")),
            "backend": "transformers",
            "precision": "fp32",
            "num_requests": 4,
            "concurrency": 2,
            "input_len": 8,
            "output_len": 4,
            "limit": 5,
            "task": ("adapter_routing",),
            "task_arg": arguments,
            "output": str(tmp_path_factory.mktemp("adapters") / "run"),
        }
        outcome = run(with_settings(options, ()), Reporter(quiet=True))
        assert outcome.error is None, outcome.problem
        return outcome.directory

    return made


@pytest.fixture(scope="module")
def digits_run(ran):
    return ran(*DIGITS)


@pytest.fixture(scope="module")
def words_run(ran, tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    with (folder / "mine.jsonl").open("w") as file:
        for number in range(12):
            for task in ("one", "two", "three"):
                row = {"task": task, "prompt": f"{task} {number}", "target": ("a", "bc")[number % 2]}
                file.write(json.dumps(row) + "\n")
    return ran(*WORDS, f"tasks={folder / 'mine.jsonl'}", f"export={folder / 'adapters'}"), folder


def _result(directory):
    return json.loads((directory / "result.json").read_text())


@pytest.mark.engine
def test_digits_leave_tables_samples_metrics_and_a_figure_beside_the_measured_load(digits_run):
    result = _result(digits_run)
    assert result["metrics"]["output_tokens_per_second"]["value"] > 0
    assert result["metrics"]["accuracy.adapter_routing"]["n"] == 8 * 5
    for name in ("few_shot_accuracy_mhr_full", "few_shot_accuracy_poly_z", "multitask_accuracy_lora"):
        assert result["metrics"][f"task.adapter_routing_{name}"]["n"] == 2
    assert result["metrics"]["task.adapter_routing_trained_parameters_mhr_z"]["value"] == 2 * 8 * 8
    assert {f"adapter_routing.{name}.parquet" for name in AdapterRouting.tables} <= set(result["observations"])
    page = write_report(digits_run).read_text()
    assert "adapter-routing-chart" in page
    assert "MHR (Poly-S)" in page


@pytest.mark.engine
def test_the_numbers_of_a_run_are_recomputed_and_its_images_looked_up_again(digits_run):
    found = verify_run(digits_run)
    assert found.ok, (found.differences, found.corrupt)


@pytest.mark.engine
def test_answers_that_the_tables_do_not_count_are_noticed(digits_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    observations = read_observations(folder)
    tables, samples = observations.tables["adapter_routing"], list(observations.samples)
    assert AdapterRouting.contradiction(tables, samples) == ""
    first = samples[0] | {"chosen": [1 - answer for answer in samples[0]["chosen"]]}
    assert "a score that is not of the answers" in AdapterRouting.contradiction(tables, [first, *samples[1:]])
    right = sum(answer == first["gold"] for answer in first["chosen"]) / 2
    first["scores"] = {"accuracy": right}
    assert "counts of no setting" in AdapterRouting.contradiction(tables, [first, *samples[1:]])


@pytest.mark.engine
def test_a_file_of_tasks_trains_adapters_in_the_model_and_exports_them(words_run):
    directory, folder = words_run
    result = _result(directory)
    assert result["metrics"]["accuracy.adapter_routing"]["n"] == 4
    layers = read_observations(directory).tables["adapter_routing"]["layers"]
    assert [name.rsplit(".", 1)[1] for name in layers["name"]] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    widths = int((layers["d_in"] + layers["d_out"]).sum())
    assert result["metrics"]["task.adapter_routing_active_adapter_parameters_mhr"]["value"] == widths
    assert str(folder) not in (directory / "result.json").read_text()
    assert result["tasks"][0]["source"] == "the user's file mine.jsonl"
    names = {path.name for path in (folder / "adapters").iterdir()}
    assert {"mhr-mean", "mhr-one", "mhr-full-three", "mhr-z-three", "mhr-zero", "private-two"} <= names
    config = json.loads((folder / "adapters" / "mhr-mean" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (1, 1)


def test_the_same_seed_gives_the_same_tables_whatever_else_is_trained():
    from moecap.tasks.adapter_routing.digit_network import DigitNetwork
    from moecap.tasks.adapter_routing.digit_pairs import digit_pairs

    few = {"steps": "5", "shot_steps": "3", "mean_steps": "2", "weights": "relaxed"}
    tasks, tables = digit_pairs(5, trained=3, held_out=2), []
    for variants in ("poly,mhr", "mhr"):
        experiment = Experiment(read_settings({**few, "variants": variants}), tasks)
        experiment.run(1, DigitNetwork(1))
        tables.append({name: _of_mhr(columns) for name, columns in experiment.facts.columns.items()})
    for name in ("scores", "routing", "gradients"):
        assert tables[0][name] == tables[1][name]
        assert tables[0][name]


def _of_mhr(columns):
    rows = zip(*columns.values(), strict=True)
    return [row for row in rows if "mhr" in row]


def test_digits_ask_nothing_of_the_engine_and_words_its_gradients():
    refuse_mismatch(AdapterRouting(), OpenaiBackend, {})
    with pytest.raises(NotAvailableError, match=r"needs gradients, hidden_states.* would do: transformers"):
        refuse_mismatch(AdapterRouting(), OpenaiBackend, {"data": "glue"})
    with pytest.raises(BadInputError, match="data=other"):
        refuse_mismatch(AdapterRouting(), OpenaiBackend, {"data": "other"})


def test_published_figures_are_those_that_were_read():
    assert [(figure.value, figure.mark) for figure in AdapterRouting.published()] == [(5.3, "paper"), (3, "paper")]


@pytest.mark.engine
def test_a_training_that_no_memory_holds_is_refused_before_anything_starts(tiny_model, words_run, tmp_path):
    _, folder = words_run
    options = {
        "model": str(tiny_model("mixtral")),
        "backend": "transformers",
        "task": ("adapter_routing",),
        "task_arg": (f"tasks={folder / 'mine.jsonl'}", "heads=4", "batch=1000000000"),
        "output": str(tmp_path / "run"),
    }
    with pytest.raises(NotAvailableError, match=r"task 'adapter_routing' needs \d+\.\d GB to train in .*are free"):
        make_plan(with_settings(options, ()), lambda _line: None)


@pytest.mark.engine
def test_no_variant_adaptation_stage_or_seed_can_be_left_out(digits_run, unseen):
    result = read_result(digits_run)
    asked = asked_options(result, result.tasks[0], None)
    ((method, tables),) = method_tables(read_observations(digits_run).tables)
    assert unseen(method(), asked, tables, "stage", "variant", "adaptation", "seed") == []
    scores = tables["scores"]
    once = {**tables, "scores": scores[(scores["seed"] != 1) | (scores["task"] != scores["task"].iloc[-1])]}
    assert any("which the result's settings ask for" in part.problem(once) for part in method().parts(asked, once))
