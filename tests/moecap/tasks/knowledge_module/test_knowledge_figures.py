"""The method's numbers from tables written by hand, and tables that no run leaves."""

import numpy as np
import pandas as pd
import pytest

from moecap.errors import BadInputError
from moecap.metrics.accuracy import wilson
from moecap.observations.reader import Ragged, Routing, Steps
from moecap.tasks.knowledge_module.figures import break_even, choices
from moecap.tasks.knowledge_module.tables import TABLES
from moecap.tasks.knowledge_module.task import KnowledgeModule
from moecap.tasks.method import Passes

MODULE = {
    "document": "d",
    "role": "asked",
    "document_tokens": 900,
    "taught_tokens": 900,
    "lessons": 8,
    "lesson_tokens": 400,
    "fed_tokens": 5000,
    "adapter_parameters": 1000,
    "adapter_bytes": 2000,
    "expert_adapter_parameters": 64_000,
    "expert_adapter_active": 16_000,
    "kv_bytes": 90_000,
    "teacher_bytes": 10**6,
    "teacher_passes": 8,
    "best_step": 4,
    "writing_ns": 20 * 10**9,
    "training_ns": 40 * 10**9,
    "indexing_ns": 10**9,
}
# two questions; a is right with the module, b is not, since each option counts a token
ANSWERS = [
    ("a", "icl", [(1, -1.0), (2, -1.5)]),
    ("b", "icl", [(1, -3.0), (3, -3.0)]),
    ("a", "rag", [(1, -1.0), (2, -4.0)]),
    ("b", "rag", [(1, -3.0), (3, -6.0)]),
    ("a", "km", [(1, -1.0), (2, -1.0)]),
    ("b", "km", [(1, -3.0), (3, -3.0)]),
]
SECONDS = [3, 3, 2, 2, 1, 1]


@pytest.fixture
def tables():
    columns = {name: list(schema.names) for name, schema in TABLES.items()}
    answers = [
        (question, setting, number, *option)
        for question, setting, options in ANSWERS
        for number, option in enumerate(options)
    ]
    tokens = {"icl": 900, "rag": 300, "km": 40}
    queries = [(q, s, tokens[s], i, i + 1, 0) for i, (q, s, _) in enumerate(ANSWERS)]
    losses = [(0, "train", "kl", 2.0), (4, "train", "kl", 0.5), (0, "held_out", "kl", 3.0), (4, "held_out", "kl", 2.5)]
    rows = {
        "modules": [tuple(MODULE.values())],
        "training": [("d", *row) for row in losses],
        "extractor": [],
        "questions": [("a", "d", 1), ("b", "d", 0)],
        "answers": answers,
        "queries": queries,
    }
    return {
        name: TABLES[name].empty_table().to_pandas()
        if not rows[name]
        else pd.DataFrame(rows[name], columns=columns[name])
        for name in TABLES
    }


@pytest.fixture
def passes():
    n = len(SECONDS)
    flat = Ragged(np.ones(n, np.int64), np.arange(n + 1))
    duration = np.array(SECONDS, np.int64) * 10**9
    start, stage = np.arange(n) * 10**10, np.array(["score"] * n)
    steps = Steps(stage, start, duration, flat, flat, flat, flat, np.ones(n, np.int64), flat)
    # two tokens a step, one MoE layer, top-2: both tokens of the last two steps choose alike
    experts = np.array([[[0, 1]], [[2, 3]]] * 4 + [[[0, 1]], [[0, 1]]] * 2, np.uint8)
    return Passes(steps, Routing(experts, np.repeat(np.arange(n, dtype=np.int32), 2), "test"), 4)


def test_numbers_by_hand(tables, passes):
    found = KnowledgeModule.metrics(tables, passes)
    value = {name: metric.value for name, metric in found.items()}
    assert [value[f"accuracy_{name}"] for name in ("icl", "rag", "km")] == [0.5, 0.0, 0.5]
    assert (found["accuracy_km"].low, found["accuracy_km"].high) == wilson(1, 2)
    assert value["gold_nats_km"] == pytest.approx((-0.5 - 3.0) / 2)
    assert [value[f"prompt_tokens_{name}"] for name in ("icl", "rag", "km")] == [900, 300, 40]
    assert [value[f"query_seconds_{name}"] for name in ("icl", "rag", "km")] == [3, 2, 1]
    assert [value[f"query_experts_{name}"] for name in ("icl", "rag", "km")] == [4, 4, 2]
    assert value["break_even_queries_rag"] == (20 + 40 - 1) / (2 - 1)
    assert value["break_even_queries_icl"] == (20 + 40) / (3 - 1)
    assert (value["kl_train_before"], value["kl_train_after"]) == (2.0, 0.5)
    assert (value["kl_held_out_before"], value["kl_held_out_after"]) == (3.0, 2.5)
    assert (value["adapter_bytes"], value["expert_adapter_parameters"], value["kv_bytes"]) == (2000, 64_000, 90_000)


def test_time_of_retrieval_is_time_of_the_query(tables, passes):
    tables["queries"].loc[tables["queries"]["setting"] == "rag", "retrieving_ns"] = 5 * 10**8
    assert KnowledgeModule.metrics(tables, passes)["query_seconds_rag"].value == 2.5


def test_a_module_that_saves_no_time_never_pays_for_itself(tables, passes):
    assert break_even(60, 1.0, 1.0) is None
    swapped = tables["queries"]["setting"].replace({"km": "rag", "rag": "km"})
    tables["queries"] = tables["queries"].assign(setting=swapped)
    never = KnowledgeModule.metrics(tables, passes)["break_even_queries_rag"]
    assert never.value is None
    assert never.reason == "a query took 2 s with the module and 1 s with rag"


def test_without_steps_there_are_no_times(tables):
    found = KnowledgeModule.metrics(tables, None)
    assert "accuracy_km" in found
    assert not [name for name in found if "query" in name or "break_even" in name]


def test_a_run_that_ended_before_its_first_question_has_no_numbers(tables, passes):
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    assert KnowledgeModule.metrics(empty, passes) == {}
    assert KnowledgeModule.section(empty, {}) is None


@pytest.mark.parametrize(
    ("table", "column", "row", "value", "what"),
    [
        ("answers", "option", 0, 5, "the options of 'a' are not whole"),
        ("answers", "setting", 0, "oracle", "a setting is none"),
        ("answers", "tokens", 0, 0, "no token"),
        ("answers", "log_likelihood", 0, 0.5, "likelier than certain"),
        ("answers", "question", 0, "c", "are not whole"),
        ("questions", "gold", 0, 7, "right option of 'a' is none"),
        ("questions", "question", 0, "b", "stands there twice"),
        ("queries", "end_step", 5, 99, "not those of the engine"),
        ("queries", "end_step", 0, 0, "not those of the engine"),
        ("queries", "setting", 0, "base", "whose answers are scored"),
        ("queries", "prompt_tokens", 0, -1, "below 0"),
        ("modules", "training_ns", 0, -1, "below 0"),
        ("training", "part", 0, "best", "a part or a measure"),
    ],
)
def test_tables_that_no_run_leaves_are_refused_by_name(tables, passes, table, column, row, value, what):
    tables[table].loc[row, column] = value
    with pytest.raises(BadInputError, match=rf"knowledge_module\.{table}\.parquet: .*{what}|{what}"):
        KnowledgeModule.metrics(tables, passes)


def _samples(tables):
    scores = {q: {s: [value for _, value in o] for n, s, o in ANSWERS if n == q} for q in "ab"}
    right = choices(tables).query("setting == 'km'").set_index("question")
    return [
        {
            "id": name,
            "answers": ["x", "y"],
            "answer": ["x", "y"][right.at[name, "chosen"]],
            "log_likelihoods": scores[name],
            "scores": {"accuracy": int(right.at[name, "right"])},
        }
        for name in "ab"
    ]


def test_samples_must_say_what_the_tables_say(tables):
    samples = _samples(tables)
    assert KnowledgeModule.contradiction(tables, samples) == ""
    assert [sample["answer"] for sample in samples] == ["y", "y"]
    for key, wrong, told in [
        ("id", "z", "'z' is in no table"),
        ("answer", "x", "answer to 'a' is not the likeliest"),
        ("scores", {"accuracy": 0}, "score of 'a'"),
        ("log_likelihoods", {}, "log-likelihoods of 'a'"),
    ]:
        assert told in KnowledgeModule.contradiction(tables, [{**samples[0], key: wrong}, samples[1]])
    assert "1 samples of 2 questions" in KnowledgeModule.contradiction(tables, samples[:1])


def test_the_report_names_every_setting_and_what_a_module_costs(tables, passes):
    section = KnowledgeModule.section(tables, KnowledgeModule.metrics(tables, passes))
    for words in ("document in context", "retrieved passages", "knowledge module", "Queries after which", "n = 2"):
        assert words in section.body
    assert len(section.charts) == 2
    assert [trace["x"] for trace in section.charts[0].data] == [[900], [300], [40]]
