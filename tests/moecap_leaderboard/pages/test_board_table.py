"""What the leaderboard's table says of a row, and the addresses of its links; without a browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from moecap.report.markup import element
from moecap_leaderboard.pages.board_cells import age, metric_cell, scale_of
from moecap_leaderboard.pages.board_columns import COLUMNS, column_of_task, default_columns
from moecap_leaderboard.pages.board_controls import chips
from moecap_leaderboard.pages.board_query import BoardQuery
from moecap_leaderboard.pages.board_table import results_table
from moecap_leaderboard.pages.look import ENGINE_COLOURS
from moecap_leaderboard.pages.url_state import Query
from moecap_leaderboard.problems import ProblemError

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
BY_KEY = {column.key: column for column in COLUMNS}


def _metric(value, low=None, high=None, n=None, basis=None, reason=None):
    return {"value": value, "unit": "s", "low": low, "high": high, "n": n, "basis": basis, "reason": reason}


def _item(flags=(), unranked=(), **metrics):
    return {
        "id": "a" * 64,
        "kind": "measured",
        "tier": "recomputed",
        "signed": True,
        "reproduced_by": 0,
        "unranked_because": list(unranked),
        "model": {"id": "org/<model>", "name": "<model>"},
        "hardware": {"id": "h100-sxm", "name": "H100 SXM", "count": 8},
        "engine": {"name": "vllm", "version": "0.32.0"},
        "precision": "fp8 (gemm fp8)",
        "workload": {
            "load": "closed",
            "concurrency": 4,
            "rate": None,
            "input_len": 1024,
            "output_len": 128,
            "tasks": ["gsm8k"],
        },
        "metrics": metrics,
        "not_recomputed": [],
        "flags": [{"name": name, "level": level, "text": f"of {name}"} for name, level in flags],
        "source": None,
        "published": "2026-11-26T09:00:00Z",
    }


def _query(**parameters):
    return BoardQuery.of(Query({name: tuple(value) for name, value in parameters.items()}))


def _cell(column, item, best=None):
    metric = item["metrics"].get(column.metric)
    return metric_cell(column, metric, item, scale_of(column, [item]), best)


def test_a_number_stands_in_the_unit_of_its_head_split_at_the_point():
    assert ">36<i>.8</i>" in _cell(BY_KEY["tpot"], _item(**{"tpot.p50": _metric(0.03683)}))
    assert ">27<i>.2</i>" in _cell(BY_KEY["user"], _item(**{"tpot.p50": _metric(0.03683)}))  # 1 / 0.03683 = 27.15
    assert ">23<i>.0</i>" in _cell(BY_KEY["decode-mbu"], _item(**{"decode.s_mbu": _metric(0.23)}))
    assert ">0<i>.0204</i>" in _cell(BY_KEY["ttft"], _item(**{"ttft.p50": _metric(0.0204)}))
    assert ">16,918<i></i>" in _cell(BY_KEY["total"], _item(output_tokens_per_second=_metric(16918.03)))


def test_an_interval_is_a_bar_and_words():
    tpot = _item(**{"tpot.p50": _metric(0.02, 0.01, 0.04, n=20)})
    cell = _cell(BY_KEY["tpot"], tpot)
    assert "95 % interval 10 to 40 ms, n = 20" in cell
    assert "--a:0.0%;--w:100.0%;--v:33.3%" in cell  # 10 of 30 from the left
    assert "95 % interval 25 to 100 tok/s" in _cell(BY_KEY["user"], tpot)  # 1 / 0.04 and 1 / 0.01
    projected = _item(**{"tpot.p50": _metric(0.02, 0.01, 0.04, basis="prediction")})
    assert "80 % prediction interval 10 to 40 ms" in _cell(BY_KEY["tpot"], projected)
    figure = _item(tpot=_metric(0.02, 0.01, 0.04)) | {"kind": "projected"}  # of a store that names no basis
    assert "80 % prediction interval 10 to 40 ms" in _cell(BY_KEY["tpot-stated"], figure)
    bounds = _item([("routing_estimated", "info")], **{"decode.s_mbu": _metric(0.07, 0.04, 0.08)})
    assert "estimated, between the bounds 4 to 8 %" in _cell(BY_KEY["decode-mbu"], bounds)


def test_a_number_that_is_not_there_says_why():
    cell = _cell(BY_KEY["energy"], _item(energy_per_output_token=_metric(None, reason="no counter here")))
    assert "\N{EN DASH}" in cell and 'title="no counter here"' in cell
    assert "this result has no ttft.p50" in _cell(BY_KEY["ttft"], _item())


def test_the_best_is_marked_but_never_a_cost_at_ones_own_price():
    cost = {"cost_per_million_output_tokens": _metric(0.36)}
    assert "<strong>" in _cell(BY_KEY["cost"], _item(**cost), best=0.36)
    assert "<strong>" not in _cell(BY_KEY["cost"], _item(**cost), best=0.35)
    own = _cell(BY_KEY["cost"], _item([("own_price", "info")], **cost), best=0.36)
    assert "<strong>" not in own and "not compared" in own


def test_what_is_not_ranked_or_was_not_recomputed_is_never_the_best():
    score, column = {"accuracy.gsm8k": _metric(1.0)}, column_of_task("gsm8k")
    assert "<strong>" in _cell(column, _item(**score), best=1.0)
    assert "<strong>" not in _cell(column, _item(unranked=["limited_tasks"], **score), best=1.0)
    said = _cell(column, _item(**score) | {"not_recomputed": ["accuracy.gsm8k"]}, best=1.0)
    assert "<strong>" not in said and "as stated and not recomputed" in said


def test_a_table_escapes_names_and_says_what_keeps_a_row_out():
    item = _item([("limited_tasks", "invalid")], ["limited_tasks"], **{"tpot.p50": _metric(0.02)})
    query = _query()
    table = results_table(query, query.shown, [item], {}, element("span", "Results"), NOW)
    assert "<model>" not in table and "&lt;model&gt;" in table
    assert "not ranked: limited_tasks" in table
    assert "8\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}" in table
    assert ">3 h</time>" in table
    assert ENGINE_COLOURS["vllm"] in table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (30, "0 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (86400 * 1000, "3 y"),
        (-9, "0 min"),
    ],
)
def test_an_age_has_one_unit(seconds, text):
    assert age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


def test_links_keep_the_state_and_change_one_thing():
    query = _query(kind=["imported"], engine=["vllm", "sglang"], sort=["tpot"], column=["speed"], cursor=["c"])
    link = urlsplit(query.link({"sort": "-ttft"}))
    assert parse_qs(link.query) == {
        "kind": ["imported"], "engine": ["vllm", "sglang"], "column": ["speed"], "sort": ["-ttft"],
    }  # fmt: skip
    assert parse_qs(urlsplit(query.without("engine", ["vllm"])).query)["engine"] == ["vllm"]
    assert parse_qs(urlsplit(query.cleared()).query) == {"kind": ["imported"], "sort": ["tpot"], "column": ["speed"]}
    assert parse_qs(urlsplit(query.export("csv")).query) == {
        "kind": ["imported"], "engine": ["vllm", "sglang"], "sort": ["tpot"],
    }  # fmt: skip
    assert _query().link() == "/board"


def test_every_filter_that_is_set_can_be_taken_away():
    found = chips(_query(engine=["vllm", "sglang"], q=["x"], concurrency_max=["8"]))
    assert found is not None and found.count("Remove the filter") == 4
    assert chips(_query(sort=["tpot"], kind=["all"])) is None


@pytest.mark.parametrize("parameters", [{"nothing": ["1"]}, {"kind": ["none"]}, {"limit": ["9999"]}])
def test_an_address_that_cannot_be_is_refused(parameters):
    with pytest.raises(ProblemError, match="open the page without it"):
        _query(**parameters)


def test_the_usual_columns_are_those_that_rows_of_a_kind_fill():
    assert {"tpot", "decode-mbu", "score", "cap"} <= set(default_columns("measured"))
    assert "tpot-stated" not in default_columns("measured")
    assert {"tpot-stated", "ttft-stated", "total"} <= set(default_columns("imported"))
    assert not {"tpot", "decode-mbu"} & set(default_columns("projected"))
    assert [column.head for column in _query(task=["gsm8k"]).shown if column.group == "Accuracy"] == ["gsm8k"]
    assert column_of_task("gsm8k").metric == "accuracy.gsm8k"


def test_the_engines_colours_can_be_told_from_the_paper_and_from_each_other():
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    assert len(set(ENGINE_COLOURS.values())) == len(ENGINE_COLOURS)
    for name, colour in ENGINE_COLOURS.items():
        assert (light("#fcfcfa") + 0.05) / (light(colour) + 0.05) >= 3, name
        assert (light(colour) + 0.05) / (light("#131517") + 0.05) >= 3, name
