"""Families, tasks, counts and best values: what the filters of the pages and of the API rest on."""

from __future__ import annotations

from collections import Counter

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from moecap.metrics.value import Metric
from moecap_leaderboard.facets import best_values, spreads
from moecap_leaderboard.families import LONGEST, family_of
from moecap_leaderboard.figures import FigureModel, FiguresRecord, FigureWorkload
from moecap_leaderboard.figures_store import add_figures
from moecap_leaderboard.listing import Filters

FAMILIES = {
    "Qwen/Qwen3-30B-A3B": "qwen",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "qwen",
    "openai/gpt-oss-120b": "gpt-oss",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": "llama",
    "Mixtral-8x22B": "mixtral",
    "deepseek-ai/DeepSeek-V3": "deepseek",
    "MiniMaxAI/MiniMax-M2.5": "minimax",
    "smollm2-moe": "smollm",
    "allenai/OLMoE-1B-7B-0924": "olmoe",
    "4bit": "4bit",
    "x" * 200: "x" * LONGEST,
}


def _record(number, model, engine, tasks, tpot):
    return FiguresRecord(
        kind="imported" if number % 3 else "projected",
        model=FigureModel(id=model, name=model),
        hardware=f"h{number % 2}00-sxm",
        hardware_name="an H",
        devices=1,
        engine=engine,
        engine_version=f"{engine} 1",
        precision="fp8",
        workload=FigureWorkload(concurrency=2 ** (number % 4), tasks=tasks, output_len=number),
        metrics={"tpot": Metric(value=tpot, unit="s"), "accuracy.gsm8k": Metric(value=0.1 * number, unit="1")},
        source=f"page {number}",
    )


ROWS = [
    _record(0, "Qwen3-30B-A3B", "vllm", ("gsm8k",), 0.05),
    _record(1, "Qwen3-30B-A3B", "sglang", ("gsm8k", "mmlu"), 0.02),
    _record(2, "Qwen3-235B-A22B", "vllm", (), 0.03),
    _record(3, "gpt-oss-20b", "vllm", ("mmlu_pro",), 0.01),
    _record(4, "gpt-oss-120b", "trtllm", ("mmlu",), 0.04),
]


@pytest.mark.parametrize(("model", "family"), FAMILIES.items())
def test_the_family_of_a_model_is_its_name_before_the_numbers(model, family):
    assert family_of(model) == family


def test_rows_are_filtered_by_family_and_by_whole_names_of_tasks(board):
    add_figures(board.service.database, ROWS, "ada")
    sources = lambda **query: {item["source"] for item in board.get("/results", kind="all", **query)["items"]}  # noqa: E731
    assert sources(family="qwen") == {"page 0", "page 1", "page 2"}
    assert sources(task="mmlu") == {"page 1", "page 4"}
    assert sources(task=["gsm8k", "mmlu_pro"]) == {"page 0", "page 1", "page 3"}
    assert sources(task="m_l%") == set()
    assert board.get("/export.json", kind="all", family="gpt-oss", task="mmlu")["items"][0]["source"] == "page 4"


def test_counts_are_those_of_the_rows_under_all_other_filters(board):
    add_figures(board.service.database, ROWS, "ada")
    filters = Filters(kind="all", engine=("vllm",))
    found = spreads(board.service.columns, filters)
    vllm = [row for row in ROWS if row.engine == "vllm"]
    assert found["kind"] == Counter(row.kind for row in vllm)
    assert found["family"] == Counter(family_of(row.model.id) for row in vllm)
    assert found["model"] == Counter(row.model.id for row in vllm)
    assert found["hardware"] == Counter(row.hardware for row in vllm)
    assert found["engine"] == Counter(row.engine for row in ROWS)
    assert found["task"] == {"gsm8k": 1, "mmlu_pro": 1}


def test_the_best_value_is_the_least_or_the_greatest_as_the_metric_says(board):
    add_figures(board.service.database, ROWS, "ada")
    names = ("tpot", "accuracy.gsm8k", "busy_fraction", "ttft")
    best = best_values(board.service.columns, Filters(kind="imported"), names)
    qwen = best_values(board.service.columns, Filters(kind="imported", family=("qwen",)), ("tpot",))
    assert best == {"tpot": 0.02, "accuracy.gsm8k": pytest.approx(0.4)}
    assert qwen == {"tpot": 0.02}


def test_a_projection_is_the_best_of_projections_alone(board):
    """Row 3, which has the least TPOT of all, is projected."""
    add_figures(board.service.database, ROWS, "ada")
    assert best_values(board.service.columns, Filters(kind="all"), ("tpot",)) == {"tpot": 0.02}
    assert best_values(board.service.columns, Filters(kind="projected"), ("tpot",)) == {"tpot": 0.01}


def test_a_row_outside_of_the_main_ranking_is_never_the_best(board, make_run):
    board.submit(make_run("transformers-bf16"))  # its task was cut short
    assert len(board.get("/results")["items"]) == 1
    assert best_values(board.service.columns, Filters(), ("tpot.p50",)) == {}
    assert best_values(board.service.columns, Filters(ranked="false"), ("tpot.p50",)) == {}
    board.submit(make_run("vllm-bf16"))
    (item,) = board.get("/results", engine="vllm")["items"]
    best = best_values(board.service.columns, Filters(), ("tpot.p50",))
    assert best == {"tpot.p50": item["metrics"]["tpot.p50"]["value"]}


def test_rows_of_a_store_from_before_get_their_family_and_tasks(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'old.sqlite'}")
    config = Config()
    config.set_main_option("script_location", "moecap_leaderboard:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        names = (
            "id, content_sha256, result, state, kind, owner, created_us, model, hardware, devices, engine, precision,"
            " configuration, names, signed, recomputed, reproduces_within, reproduced_by, ranked, newest, summary"
        )
        summary = '{"workload": {"tasks": ["gsm8k", "mmlu"]}}'
        values = "'published', 'measured', 'ada', 1, 'Qwen/Qwen3-30B-A3B', 'h', 1, 'e', 'p', 'c', 'n', 0, 1, 0, 0, 1, 1"
        inserted = f"INSERT INTO submissions ({names}) VALUES ('a', 'b', 'c', {values}, '{summary}')"
        connection.exec_driver_sql(inserted)
        command.upgrade(config, "head")
        assert connection.execute(text("SELECT family, tasks FROM submissions")).one() == ("qwen", " gsm8k mmlu ")
    engine.dispose()
