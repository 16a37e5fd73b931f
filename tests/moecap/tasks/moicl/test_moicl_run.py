"""Whole runs of the method: the tables that it leaves, what is computed from them, and what a stranger may change."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import log_softmax

from moecap.files import file_sha256
from moecap.observations.reader import read_observations
from moecap.publishing.withholding import verify_without
from moecap.report.page import run_page
from moecap.report.reported_run import read_run
from moecap.result import read_result, write_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.method import method_tables
from moecap.verification.recomputation import verify_run
from moecap.verification.task_data import asked_options

pytestmark = pytest.mark.engine

SHORT = ("size=ci", "longest=30", "train=3", "test=4")
ARGUMENTS = (*SHORT, "demos=4", "experts=2,4", "search=2", "concat_train=true", "seeds=2", "latency=2")


def measured(tmp_path_factory, model, *arguments, **options):
    options = {
        "model": str(model),
        "backend": "transformers",
        "precision": "fp32",
        "num_requests": 2,
        "input_len": 8,
        "output_len": 4,
        "concurrency": 1,
        "task": ("moicl",),
        "task_arg": arguments,
        "output": str(tmp_path_factory.mktemp("moicl") / "run"),
        **options,
    }
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.error is None, outcome.problem
    return outcome.directory


@pytest.fixture(scope="module")
def honest(tmp_path_factory, tiny_model):
    return measured(tmp_path_factory, tiny_model("mixtral"), *ARGUMENTS, "perturb=noise:0.5")


@pytest.fixture
def folder(honest, tmp_path):
    return shutil.copytree(honest, tmp_path / "run")


def tables(folder):
    return read_observations(folder).tables["moicl"]


def values(folder):
    found = {name.removeprefix("task.moicl_"): m.value for name, m in read_result(folder).metrics.items()}
    return found | {"accuracy": read_result(folder).metrics["accuracy.moicl"].value}


def changed(folder, table, change):
    """Write a table anew and put its digest into the result, as a forger would who keeps the samples at home."""
    (folder / "samples.jsonl").unlink()
    path = folder / f"moicl.{table}.parquet"
    schema, frame = pq.read_schema(path), pq.read_table(path).to_pandas()
    frame = change(frame)
    pq.write_table(type(pq.read_table(path)).from_pandas(frame, schema, preserve_index=False), path)
    result = read_result(folder)
    named = result.observations | {path.name: file_sha256(path)}
    write_result(folder, result.model_copy(update={"observations": named}).identified())
    return verify_run(folder)


def test_every_number_follows_from_the_tables_and_the_report_shows_it(honest):
    assert verify_run(honest).ok
    page = run_page(read_run(honest))
    assert "Mixtures of in-context learners" in page and "chart-moicl" in page
    assert "No figure" not in page


def test_accuracies_and_losses_are_those_of_a_plain_loop_over_the_tables(honest):
    found, numbers = tables(honest), values(honest)
    scores, weights, gold = found["scores"], found["weights"], found["items"]
    for method, layout in (("uniform", "k4"), ("scalar", "k4"), ("hyper", "k2"), ("concat", "k1"), ("lens", "lens")):
        right, losses = [], []
        for seed in (0, 1):
            own = weights[(weights.seed == seed) & (weights.arrangement == layout) & (weights.method == method)]
            power = dict(zip(own.expert, own.weight, strict=True))
            for item in range(4):  # noqa: B007  the query uses it
                of_item = scores.query("seed == @seed and arrangement == @layout and split == 'test' and item == @item")
                sums = [
                    sum(power[r.expert] * r.log_probability for r in of_item[of_item.edge == e].itertuples())
                    for e in (0, 1)
                ]
                (label,) = gold.query("seed == @seed and split == 'test' and item == @item").gold
                right.append(int(np.argmax(sums)) == label)
                losses.append(-log_softmax(sums)[label])
        label = f"{method}_{layout}" if method in ("uniform", "scalar", "hyper") else method
        assert numbers[f"accuracy_{label}"] == pytest.approx(np.mean(right))
        assert numbers[f"nll_{label}"] == pytest.approx(np.mean(losses))


def test_learned_mixtures_fit_the_training_items_no_worse_than_the_uniform_one(honest):
    numbers = values(honest)
    for layout in ("k2", "k4"):
        for method in ("scalar", "nonnegative", "hyper"):
            assert numbers[f"train_nll_{method}_{layout}"] <= numbers[f"train_nll_uniform_{layout}"] + 1e-9


def test_half_of_the_demonstrations_show_a_wrong_label(honest):
    experts = tables(honest)["experts"]
    assert (experts[experts.arrangement == "k1"].changed == 2).all()
    assert experts[experts.arrangement == "k4"].changed.sum() == 4
    assert 0 <= values(honest)["auc_disturbed_k4"] <= 1


def test_the_tokens_of_a_query_are_those_that_the_engine_was_fed(honest):
    numbers, seen = values(honest), read_observations(honest)
    latency = seen.tables["moicl"]["latency"]
    fed = seen.steps.tokens()
    for layout in ("k1", "k4"):
        asked = seen.tables["moicl"]["sequences"].query("arrangement == @layout and split == 'test' and item < 2")
        by_steps = [
            fed[row.first_step : row.end_step].sum() for row in latency[latency.arrangement == layout].itertuples()
        ]
        assert sum(by_steps) == asked.tokens.sum()
    assert numbers["prompt_tokens_per_query_k4"] > numbers["prompt_tokens_per_query_k1"]
    assert numbers["new_tokens_per_query_k4"] == pytest.approx(4 * numbers["new_tokens_per_query_k1"])


def test_time_and_activated_experts_of_a_query_are_those_of_its_steps(honest):
    numbers, seen = values(honest), read_observations(honest)
    latency = seen.tables["moicl"]["latency"].query("arrangement == 'k4'")
    times, distinct = [], []
    for row in latency.itertuples():
        times.append(seen.steps.duration_ns[row.first_step : row.end_step].sum() * 1e-9)
        chosen = seen.routing.experts[np.isin(seen.routing.token_step, range(row.first_step, row.end_step))]
        distinct += [len(set(chosen[:, layer].ravel().tolist())) for layer in range(chosen.shape[1])]
    assert numbers["latency_k4"] == pytest.approx(np.mean(times))
    assert numbers["experts_activated_k4"] == pytest.approx(np.mean(distinct))
    assert numbers["experts_activated_by_queries_k4"] <= numbers["experts_activated_k4"] + 1


def test_the_headline_is_the_free_mixture_of_the_most_experts_in_the_first_draw(honest):
    numbers, found = values(honest), tables(honest)
    samples = read_observations(honest).samples
    weights = found["weights"].query("seed == 0 and arrangement == 'k4' and method == 'scalar'").weight.to_numpy()
    grid = found["scores"].query("seed == 0 and arrangement == 'k4' and split == 'test'")
    grid = grid.sort_values(["item", "expert", "edge"]).log_probability.to_numpy().reshape(4, 4, 2)
    assert np.allclose(log_softmax(np.einsum("ike,k->ie", grid, weights), -1), [s["log_likelihoods"] for s in samples])
    assert numbers["accuracy"] == pytest.approx(np.mean([s["scores"]["accuracy"] for s in samples]))


def test_a_second_run_gives_the_same_tables_but_for_times(honest, tmp_path_factory, tiny_model):
    again = tables(measured(tmp_path_factory, tiny_model("mixtral"), *ARGUMENTS, "perturb=noise:0.5"))
    of_time = ["wall_ns", "first_step", "end_step"]  # how many steps the warm-up takes is a question of time
    for name, frame in tables(honest).items():
        assert frame.drop(columns=of_time, errors="ignore").equals(again[name].drop(columns=of_time, errors="ignore"))


def test_without_the_samples_the_methods_numbers_are_still_computed_again(folder):
    (folder / "samples.jsonl").unlink()
    result = read_result(folder)
    partial = verify_without(verify_run(folder), {"samples.jsonl"}, result.metrics)
    assert partial.verification.ok
    assert {name for name in partial.not_recomputed if "moicl" in name} == {"accuracy.moicl", "accuracy.moicl_stderr"}
    better = result.metrics | {
        "task.moicl_accuracy_lens": result.metrics["accuracy.moicl"].model_copy(update={"value": 1})
    }
    write_result(folder, result.model_copy(update={"metrics": better}).identified())
    partial = verify_without(verify_run(folder), {"samples.jsonl"}, better)
    assert [d.metric for d in partial.verification.differences] == ["task.moicl_accuracy_lens"]


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("weights", lambda f: f.assign(weight=f.weight + 0.1), "another weight than 1|not those that its training"),
        ("weights", lambda f: f.drop(index=f.index[f.arrangement == "k4"][0]), "not one for each expert"),
        (
            "weights",
            lambda f: f.assign(weight=f.weight.where(f.method != "scalar", -f.weight)),
            "not those that its tr",
        ),
        ("scores", lambda f: f.iloc[1:], "one score for each item"),
        ("scores", lambda f: f.assign(log_probability=0.5), "no logarithm"),
        ("scores", lambda f: f.assign(item=0), "comes twice"),
        ("items", lambda f: f.assign(gold=7), "gold is no label"),
        ("labels", lambda f: f.assign(edge=f.edge + 2_000_000_000), "more edges"),
        ("experts", lambda f: f.iloc[:0], "experts of .* are not those"),
        ("latency", lambda f: f.assign(end_step=10**9), "steps that there are not"),
        ("latency", lambda f: f.assign(first_step=f.end_step + 1), "steps that there are not"),
        ("learning", lambda f: f.iloc[:0], "not one row"),
        ("scores", lambda f: f.assign(log_probability=f.log_probability * 0.5), ""),
    ],
)
def test_a_table_that_was_changed_is_found_out(folder, table, change, said):
    import re

    found = changed(folder, table, change)
    assert not found.ok
    assert re.search(said, found.problem), found.problem


def test_samples_that_the_tables_do_not_give_are_found_out(folder):
    import json

    path = folder / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for change in (
        {"log_likelihoods": [-0.1, -2.0]},
        {"scores": {"accuracy": 1 - rows[0]["scores"]["accuracy"]}},
        {"item": 3},
    ):
        path.write_text("".join(json.dumps(row) + "\n" for row in [rows[0] | change, *rows[1:]]))
        assert "moicl" in verify_run(folder).problem


def test_labels_of_several_tokens_and_the_whole_vocabulary_are_learned_in_process(tmp_path_factory, tiny_model):
    arguments = (*SHORT, "labels=so|sad", "normalisation=vocabulary", "latency=0")
    folder = measured(tmp_path_factory, tiny_model("mixtral"), *arguments)
    assert verify_run(folder).ok
    numbers, found = values(folder), tables(folder)
    assert len(found["labels"]) == 2  # a space and s come first in both, and d is no choice
    assert found["learning"].vocabulary.all()
    assert numbers["latency_k3"] is None and 0 <= numbers["accuracy_scalar_k3"] <= 1


def test_no_draw_layout_or_weighting_can_be_left_out(honest, unseen):
    result = read_result(honest)
    ((method, found),) = method_tables(read_observations(honest).tables)
    assert unseen(method(), asked_options(result, result.tasks[0], None), found, "seed", "arrangement", "method") == []


@pytest.mark.parametrize("table", ["weights", "latency"])
def test_a_draw_that_is_gone_from_a_table_is_named_by_verify(folder, table):
    found = changed(folder, table, lambda frame: frame[frame["seed"] != 1])
    assert not found.ok
    assert found.problem.startswith(f"moicl.{table}.parquet: no row of seed 1, arrangement k1")


def test_fewer_samples_than_items_are_named_by_verify(folder):
    path = folder / "samples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert "items" in verify_run(folder).problem
