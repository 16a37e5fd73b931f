"""The method's numbers by hand from small tables, and tables that no run leaves."""

import math

import pandas as pd
import pytest

from moecap.errors import BadInputError
from moecap.tasks.adapter_routing.figures import adapter_metrics
from moecap.tasks.adapter_routing.section import adapter_section
from moecap.tasks.adapter_routing.tables import TABLES
from moecap.tasks.method import method_metrics
from moecap.tasks.table_rows import TableRows


def _facts():
    """Two layers of one router each, Poly with three tasks and two skills, two seeds."""
    facts = TableRows(TABLES)
    facts.add("layers", name="0", d_in=8, d_out=4, router=0)
    facts.add("layers", name="2", d_in=4, d_out=4, router=1)
    facts.add("variants", variant="poly", routing="learned", tasks=3, heads=1, skills=2, rank=2)
    for seed, right in enumerate((6, 9)):
        facts.add("scores", stage="multitask", variant="poly", adaptation="none", seed=seed, task="t", right=5, n=10)
        for task, more in (("u", 0), ("v", 1)):
            facts.add(
                "scores",
                stage="few_shot",
                variant="poly",
                adaptation="z",
                seed=seed,
                task=task,
                right=right + more,
                n=10,
            )
        facts.add("scores", stage="zero_shot", variant="poly", adaptation="zero", seed=seed, task="u", right=4, n=10)
        for router in range(2):
            for task, first in enumerate((0.0, math.log(3), math.log(3))):
                for skill, logit in enumerate((first, 0.0)):
                    facts.add(
                        "routing", variant="poly", seed=seed, router=router, task=task, head=0, skill=skill, logit=logit
                    )
        facts.add("gradients", variant="poly", seed=seed, step=5, first=0, second=1, cosine=0.5)
        facts.add("gradients", variant="poly", seed=seed, step=9, first=0, second=1, cosine=-0.1)
        facts.add(
            "training", stage="multitask", variant="poly", adaptation="none", seed=seed, steps=9, loss=1.0, seconds=2.0
        )
    for repeat, seconds in enumerate((0.2, 0.1, 0.3)):
        facts.add("forward", variant="none", repeat=repeat, examples=4, seconds=seconds)
        facts.add("forward", variant="poly", repeat=repeat, examples=4, seconds=seconds + 0.05)
    return facts


def _tables(facts=None):
    columns = (facts or _facts()).columns
    return {
        name: pd.DataFrame({c: pd.Series(columns[name][c], dtype=_dtype(schema.field(c).type)) for c in schema.names})
        for name, schema in TABLES.items()
    }


def _dtype(kind):
    return "object" if str(kind) == "string" else kind.to_pandas_dtype()


def test_accuracies_are_shares_over_all_test_examples_of_a_stage_and_means_over_the_seeds():
    found = adapter_metrics(_tables())
    assert found["multitask_accuracy_poly"].value == 0.5
    few = found["few_shot_accuracy_poly_z"]
    assert few.value == pytest.approx((13 / 20 + 19 / 20) / 2)
    assert few.n == 2
    assert few.low == 0.0  # 0.8 - 12.7 · 0.15: two seeds say little
    assert few.high == 1.0
    assert found["zero_shot_accuracy_poly"].value == 0.4


def test_parameters_and_bytes_follow_from_the_sizes():
    found = {name: metric.value for name, metric in adapter_metrics(_tables()).items()}
    widths = 8 + 4 + 4 + 4
    assert found["adapter_parameters_poly"] == 2 * 2 * widths + 2 * 3 * 2
    assert found["active_adapter_parameters_poly"] == 2 * widths
    assert found["adapter_bytes_poly"] == 4 * found["adapter_parameters_poly"]
    assert found["trained_parameters_poly_z"] == 2 * 2
    assert "trained_parameters_poly_zero" not in found


def test_entropy_cosine_and_alignment_are_those_worked_out_by_hand():
    """Logits 0 and 0 weigh 1/2 each; ln 3 and 0 give sigmoids 3/4 and 1/2, so 3/5 and 2/5."""
    found = adapter_metrics(_tables())
    entropy = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)) / math.log(2)
    assert found["routing_entropy_poly"].value == pytest.approx((1 + 2 * entropy) / 3, abs=1e-6)
    unlike = (0.5 * 0.6 + 0.5 * 0.4) / math.sqrt(0.5 * (0.36 + 0.16))
    assert found["task_cosine_poly"].value == pytest.approx((2 * unlike + 1) / 3, abs=1e-6)
    assert found["gradient_alignment_poly"].value == pytest.approx(0.2)
    assert found["gradient_alignment_poly"].n == 2


def test_the_overhead_is_the_difference_of_the_median_passes():
    found = adapter_metrics(_tables())
    assert found["forward_seconds_none"].value == pytest.approx(0.2)
    assert found["forward_overhead_poly"].value == pytest.approx(0.05)
    assert found["training_seconds_multitask_poly"].value == 2.0


def _broken(table, change):
    tables = _tables()
    tables[table] = change(tables[table].copy())
    return tables


def _set(column, value):
    def change(frame):
        frame.loc[0, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("scores", _set("right", 11), "scores.parquet: column right: it is not between 0 and n"),
        ("scores", _set("n", 0), "column right"),
        ("scores", _set("stage", "other"), "'other' is none of multitask"),
        ("scores", _set("variant", "mhr"), "'mhr' is not among the variants"),
        ("scores", _set("adaptation", "magic"), "'magic' is no way in which poly is adapted in stage multitask"),
        ("scores", lambda frame: pd.concat([frame, frame[:1]]), "comes twice"),
        ("variants", _set("heads", 4), "poly is not made as its name says"),
        ("variants", _set("routing", "mean"), "poly is not made as its name says"),
        ("variants", _set("rank", 0), "each is 1 to"),
        ("variants", _set("variant", "best"), "'best' is no variant"),
        ("layers", _set("d_in", 0), "sizes are 1 and more"),
        ("layers", _set("router", 7), "routers are numbered from 0 on"),
        ("routing", lambda frame: frame[1:], "poly lacks a logit"),
        ("routing", _set("skill", 5), "poly lacks a logit"),
        ("gradients", _set("cosine", 1.5), "column cosine: it is not between -1 and 1"),
        ("forward", _set("seconds", 0.0), "a time is not above 0"),
    ],
)
def test_tables_that_no_run_leaves_are_bad_input_with_file_and_column(table, change, said):
    with pytest.raises(BadInputError, match=said):
        adapter_metrics(_broken(table, change))


def test_a_run_that_ended_early_has_the_numbers_of_what_it_reached():
    tables = _tables(TableRows(TABLES))
    assert adapter_metrics(tables) == {}
    assert adapter_section(tables, {}) is None


def test_the_figure_shows_every_setting_with_the_span_of_its_seeds():
    tables = _tables()
    section = adapter_section(tables, adapter_metrics(tables))
    (chart,) = section.charts
    (trace,) = chart.data
    assert trace["x"] == [4.0]
    assert trace["y"] == [0.8]
    assert trace["error_y"]["array"] == trace["error_y"]["arrayminus"] == [pytest.approx(0.15)]
    assert "Poly, z with 0.800 over 2 seeds (0.650 to 0.950)" in section.body


def test_the_harness_finds_the_method_by_its_tables():
    found = method_metrics({"adapter_routing": _tables()}, None)
    assert found["task.adapter_routing_multitask_accuracy_poly"].value == 0.5
    with pytest.raises(BadInputError, match="leaves no such table"):
        method_metrics({"adapter_routing": {"other": _tables()["scores"]}}, None)
