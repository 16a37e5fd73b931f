"""The method as a task: it learns from crops, leaves tables, and its numbers follow from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from moecap.errors import BadInputError, MoecapError
from moecap.metrics.accuracy import wilson
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskOptions, load_task
from moecap.tasks.imagecode.picked import picked
from moecap.tasks.imagecode.task import Imagecode
from moecap.tasks.method import method_metrics, method_tables

SMALL = {"seeds": "2", "train": "60", "held_out": "40", "tests": "40", "epochs": "2", "width": "16", "inner": "32"}
VARIANTS = ["random_negatives", "context_batch", "context_module", "temporal_embeddings"]


def ran(folder, arguments, limit=None):
    """Samples and tables of a run of the task without an engine, which it does not ask."""
    task, recorder, told = load_task("imagecode"), Recorder(), []
    items = task.items(TaskOptions(limit, None, arguments, lambda _line: None))
    samples = list(task.run(items, None, None, recorder, told.append))
    assert told == sorted(told)
    assert told[-1] == len(items)
    folder.mkdir(exist_ok=True)
    recorder.write(folder)
    return samples, read_observations(folder).tables


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("small"), SMALL)


def own(tables):
    ((_, found),) = method_tables(tables)
    return dict(found)


def forged(tables, name, change):
    return {**tables, name: change(tables[name].copy())}


@pytest.mark.slow
def test_the_sets_own_images_teach_more_than_random_ones(tmp_path):
    arguments = {"seeds": "1", "variants": "random_negatives,context_batch", "train": "800", "epochs": "6"}
    _, tables = ran(tmp_path / "run", arguments)
    metrics = method_metrics(tables, None)
    random, batch = (
        metrics[f"task.imagecode_{variant}_accuracy"].value for variant in arguments["variants"].split(",")
    )
    assert batch > random > 0.1
    assert metrics["task.imagecode_context_batch_accuracy_video"].value < batch  # near-duplicates are harder
    assert batch > 0.35


def test_two_runs_give_the_same_tables_but_for_times(tmp_path, small):
    samples, tables = ran(tmp_path / "again", SMALL)
    assert samples == small[0]
    for name, table in own(tables).items():
        times = [column for column in table if column.endswith("seconds")]
        pd.testing.assert_frame_equal(table.drop(columns=times), own(small[1])[name].drop(columns=times))


def test_a_variant_is_the_same_whichever_others_are_asked_for(tmp_path, small):
    _, tables = ran(tmp_path / "alone", {**SMALL, "seeds": "1", "variants": "context_module"})
    alone = own(tables)["scores"]["score"].to_numpy()
    scores = own(small[1])["scores"]
    assert (scores.query("variant == 'context_module' and seed == 0")["score"].to_numpy() == alone).all()


def test_shares_right_are_counted_by_kind_and_add_up(small):
    tables, metrics = own(small[1]), method_metrics(small[1], None)
    joined = tables["picks"].merge(tables["questions"], on="item")
    joined["right"] = joined["pick"] == joined["gold"]
    for variant in VARIANTS:
        rows = joined[joined["variant"] == variant]
        for kind, end in (("video", "_video"), ("static", "_static")):
            expected = rows[rows["kind"] == kind].groupby("seed")["right"].mean().mean()
            assert metrics[f"task.imagecode_{variant}_accuracy{end}"].value == pytest.approx(expected)
        whole, video, static = (
            metrics[f"task.imagecode_{variant}_accuracy{end}"].value for end in ("", "_video", "_static")
        )
        counts = tables["questions"]["kind"].value_counts()
        assert whole == pytest.approx((counts["video"] * video + counts["static"] * static) / counts.sum())
        assert metrics[f"task.imagecode_{variant}_accuracy"].n == 2
    assert metrics["task.imagecode_constant_accuracy"].value == 0.1


def test_ranks_are_as_sorting_gives_them(small):
    for one in picked(own(small[1])):
        ranks = [
            1 + list(np.argsort(-row, kind="stable")).index(gold)
            for row, gold in zip(one.scores, one.golds, strict=True)
        ]
        assert one.ranks.tolist() == ranks
        assert ((one.ranks == 1) == one.right).all()


def test_one_seed_has_an_interval_over_photographs_and_no_more_questions_than_the_limit(tmp_path):
    samples, tables = ran(tmp_path / "run", {**SMALL, "seeds": "1", "variants": "context_batch"}, limit=20)
    found = method_metrics(tables, None)["task.imagecode_context_batch_accuracy"]
    assert (len(samples), found.n) == (20, 20)
    joined = own(tables)["picks"].merge(own(tables)["questions"], on="item")
    joined["right"] = joined["pick"] == joined["gold"]
    p, of_photographs = joined["right"].mean(), joined.groupby("source")["right"]
    assert (found.value, of_photographs.ngroups) == (p, 5)
    beyond = of_photographs.sum() - of_photographs.size() * p
    n = min(20, p * (1 - p) / (5 / 4 * (beyond**2).sum() / 20**2))
    assert (found.low, found.high) == pytest.approx(wilson(n * p, n, student.ppf(0.975, 4)))


def test_samples_are_picks_of_the_last_variant_and_follow_from_the_tables(small):
    samples, tables = small[0], own(small[1])
    last = tables["picks"].query("variant == 'temporal_embeddings' and seed == 0").set_index("item")["pick"]
    assert {sample["id"]: sample["picked"] for sample in samples} == last.to_dict()
    assert Imagecode.contradiction(tables, samples) == ""
    first = samples[0]
    other = {"scores": {"accuracy": 1 - first["scores"]["accuracy"]}}
    assert first["id"] in Imagecode.contradiction(tables, [first | other, *samples[1:]])
    assert first["id"] in Imagecode.contradiction(tables, [first | {"picked": 11}, *samples[1:]])
    assert "39 samples of 40" in Imagecode.contradiction(tables, samples[1:])


def test_equal_images_are_right_by_chance():
    from moecap.tasks.imagecode.facts import Facts
    from moecap.tasks.imagecode.questions import Question

    facts = Facts()
    asked = [Question(f"set{n}", "a", "x", n % 10, "static", "s", f"set{n}") for n in range(100)]
    for question in asked:
        facts.describe(question)
    facts.ranked("zero_shot", 0, asked, np.ones((100, 10)))
    metrics = Imagecode.metrics(facts.frames(), None)
    assert metrics["zero_shot_accuracy"].value == 0.1
    assert metrics["zero_shot_mrr"].value == pytest.approx(np.mean([1 / rank for rank in range(1, 11)]))


@pytest.mark.parametrize(
    ("table", "change", "problem"),
    [
        ("picks", lambda t: t.assign(pick=10), "column pick is no place"),
        ("picks", lambda t: t.assign(pick=(t["pick"] + 1) % 10), "has not the largest score"),
        ("picks", lambda t: pd.concat([t, t.iloc[:1]]), "picks twice"),
        ("picks", lambda t: t.assign(item="other"), "picks"),
        ("picks", lambda t: t.assign(variant="mine"), "a variant that is not known"),
        ("questions", lambda t: t.assign(gold=12), "column gold is no place"),
        ("questions", lambda t: t.assign(kind="film"), "column kind"),
        ("questions", lambda t: pd.concat([t, t.iloc[:1]]), "a question comes twice"),
        ("scores", lambda t: t.iloc[1:], "has not ten scores"),
        ("scores", lambda t: pd.concat([t, t.iloc[:1]]), "two scores"),
        ("fits", lambda t: pd.concat([t, t.iloc[:1]]), "do not fit"),
        ("tags", lambda _t: pd.DataFrame({"item": ["x"], "tag": ["a b"]}), "column tag"),
    ],
)
def test_tables_that_no_run_leaves_are_refused_with_their_file(small, table, change, problem):
    with pytest.raises(BadInputError, match=problem) as caught:
        Imagecode.metrics(forged(own(small[1]), table, change), None)
    assert "imagecode." in str(caught.value)


def test_the_report_has_a_chart_with_both_kinds_and_tables(small):
    tables = own(small[1])
    metrics = {name.removeprefix("task.imagecode_"): m for name, m in method_metrics(small[1], None).items()}
    section = Imagecode.section(tables, metrics)
    (chart,) = section.charts
    assert [trace["name"] for trace in chart.data] == ["frames of a video", "static sets"]
    for trace, kind in zip(chart.data, ("video", "static"), strict=True):
        assert trace["y"] == [round(metrics[f"{variant}_accuracy_{kind}"].value, 4) for variant in VARIANTS]
    assert "Means over 2 seeds" in section.body
    assert "chance: 0.1" in section.body
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    assert Imagecode.section(empty, {}) is None


def test_the_published_figures_weigh_to_the_overall_one_by_the_splits_sizes():
    figures = {(f.metric, f.setting.split(" ")[0]): f.value for f in Imagecode.published()}
    video, static = (
        figures["images found, videos", "ContextualCLIP"],
        figures["images found, static sets", "ContextualCLIP"],
    )
    assert (1821 * video + 485 * static) / 2306 == pytest.approx(figures["images found", "ContextualCLIP"], abs=0.1)


def test_an_encoder_needs_nothing_of_a_backend_and_a_chat_images():
    task = load_task("imagecode")
    assert task.needs({}) == frozenset()
    assert task.needs({"retriever": "chat"}) == {"generate", "images"}
    with pytest.raises(MoecapError, match="retriever=eye"):
        task.needs({"retriever": "eye"})


def test_no_variant_seed_or_pick_can_be_left_out(small, unseen):
    task, tables, options = load_task("imagecode"), own(small[1]), TaskOptions(None, None, SMALL, lambda _line: None)
    assert unseen(task, options, tables, "variant", "seed") == []
    fewer = forged(tables, "picks", lambda t: t.iloc[1:])
    assert any("which the result's settings ask for" in part.problem(fewer) for part in task.parts(options, fewer))
    asked = TaskOptions(None, None, {**SMALL, "seeds": "1"}, lambda _line: None)
    more = [part.problem(tables) for part in task.parts(asked, tables)]
    assert any("seed 1, item" in problem and problem.endswith("do not ask for") for problem in more)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"retriever": "chat", "variants": "context_batch"}, "variants"), ({"order_seed": "1"}, "order_seed")],
)
def test_what_a_retriever_does_not_read_is_refused(arguments, name):
    with pytest.raises(BadInputError, match=f"--task-arg {name}: retriever=.* has no use for it"):
        load_task("imagecode").needs(arguments)
