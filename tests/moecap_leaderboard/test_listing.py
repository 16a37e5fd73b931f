"""Lists: filters, sorts, and cursors that lose no row and give none twice, on both databases."""

from __future__ import annotations

import secrets

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moecap.metrics.constants import constants_in_force
from moecap.metrics.value import Metric
from moecap.result import HardwareRecord, Result, write_result
from moecap_leaderboard.figures import FigureModel, FiguresRecord, FigureWorkload
from moecap_leaderboard.figures_store import add_figures
from moecap_leaderboard.listing import Filters, page
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.rederivation import rederived

ALL = Filters(kind="all", versions="all")


def _record(number, *, model="a/model", hardware="h100-sxm", tpot=None, kind="imported", concurrency=4):
    metrics = {} if tpot is None else {"tpot": Metric(value=tpot, unit="s")}
    return FiguresRecord(
        kind=kind,
        model=FigureModel(id=model, name=model.rpartition("/")[2]),
        hardware=hardware,
        hardware_name=hardware.upper(),
        devices=1 + number % 8,
        engine="vllm",
        engine_version="vllm 0.18.0",
        precision="fp8",
        workload=FigureWorkload(load="closed", concurrency=concurrency, input_len=1024, output_len=number),
        metrics=metrics,
        source=f"page {number}",
    )


def _walk(database, filters, sort, limit, between=lambda: None):
    items, cursor = [], None
    while True:
        with database.reading() as session:
            found = page(session, filters, sort, limit, cursor)
        assert len(found.items) <= limit
        items += found.items
        cursor = found.next
        if cursor is None:
            return items
        between()


def test_what_stays_json_reads_as_what_is_taken_apart(board, make_run):
    board.submit(make_run("vllm-bf16"))
    add_figures(board.service.database, [_record(n, tpot=0.1 * n) for n in range(5)], "ada")
    with board.service.database.reading() as session:
        apart, handed_on = (page(session, ALL, "-tpot", 50, None, as_json=how) for how in (False, True))
    assert len(apart.items) == 6
    assert all(isinstance(item["metrics"], msgspec.Raw) for item in handed_on.items)
    assert msgspec.json.decode(msgspec.json.encode(handed_on.items)) == apart.items


# the same numbers often, so that ties are drawn, and numbers with many digits
VALUES = st.one_of(st.none(), st.sampled_from([0.01, 0.02]), st.floats(1e-9, 1e9))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, max_size=23), limit=st.integers(1, 7), descending=st.booleans(), data=st.data())
def test_pages_are_the_whole_list_in_its_order_whatever_comes_in_between(board, values, limit, descending, data):
    database, model = board.service.database, f"model-{secrets.token_hex(8)}"
    add_figures(database, [_record(n, model=model, tpot=value) for n, value in enumerate(values)], "ada")
    added = iter(range(10_000, 20_000))

    def insert():
        if data.draw(st.booleans()):
            number = next(added)
            add_figures(database, [_record(number, model=model, tpot=data.draw(VALUES))], "ada")

    filters = Filters(kind="all", versions="all", model=(model,))
    seen = _walk(database, filters, "-tpot" if descending else "tpot", limit, insert)
    ids = [item["id"] for item in seen]
    assert len(set(ids)) == len(ids)
    first = [item for item in seen if int(item["source"].split()[1]) < 10_000]
    assert sorted(int(item["source"].split()[1]) for item in first) == list(range(len(values)))
    tpots = [item["metrics"]["tpot"]["value"] if item["metrics"] else None for item in seen]
    present = [value for value in tpots if value is not None]
    assert present == sorted(present, reverse=descending)
    assert all(value is None for value in tpots[len(present) :])


def test_rows_come_the_newest_first_or_the_oldest(board):
    database = board.service.database
    for number in range(5):
        add_figures(database, [_record(number)], "ada")
    assert [item["source"] for item in _walk(database, ALL, "-published", 2)] == [f"page {n}" for n in (4, 3, 2, 1, 0)]
    assert [item["source"] for item in _walk(database, ALL, "published", 2)] == [f"page {n}" for n in range(5)]


def test_filters_choose_rows(board):
    records = [
        _record(0, model="org/alpha"),
        _record(1, model="org/beta", hardware="b200-sxm", concurrency=64),
        _record(2, model="org/beta", kind="projected"),
    ]
    add_figures(board.service.database, records, "ada")

    def found(**filters):
        return sorted(item["source"] for item in board.get("/results", **filters)["items"])

    assert found() == []
    assert found(kind="all") == ["page 0", "page 1", "page 2"]
    assert found(kind="projected") == ["page 2"]
    assert found(kind="all", model="org/beta") == ["page 1", "page 2"]
    assert found(kind="all", model=["org/alpha", "org/beta"], hardware="b200-sxm") == ["page 1"]
    assert found(kind="all", q="B200") == ["page 1"]
    assert found(kind="all", q="%") == []
    assert found(kind="all", devices=2) == ["page 1"]
    assert found(kind="all", concurrency_min=5) == ["page 1"]
    assert found(kind="all", concurrency_max=5, output_len_min=1) == ["page 2"]
    assert found(kind="all", owner="bob") == []
    assert found(kind="all", tier="recomputed") == []
    assert found(kind="all", tier="self_reported", ranked="true") == ["page 0", "page 1", "page 2"]
    assert found(kind="all", state="withdrawn") == []


def test_the_same_figures_again_are_the_same_rows_and_newer_ones_a_version(board):
    database = board.service.database
    assert add_figures(database, [_record(0, tpot=0.02), _record(0, tpot=0.02)], "ada") == 1
    assert add_figures(database, [_record(0, tpot=0.02)], "ada") == 0
    assert add_figures(database, [_record(0, tpot=0.01)], "ada") == 1
    (item,) = board.get("/results", kind="all")["items"]
    assert (item["metrics"]["tpot"]["value"], item["version"], item["versions"]) == (0.01, 2, 2)


@pytest.mark.parametrize("cursor", ["", "x", "W10", "WzEsMiwzLDRd", "bnVsbA", "eyJhIjoxfQ", "=" * 400])
def test_a_cursor_of_something_else_is_refused(board, cursor):
    with board.service.database.reading() as session, pytest.raises(ProblemError, match="the cursor"):
        page(session, ALL, "tpot", 2, cursor or "%")


def test_a_cursor_holds_for_its_own_filters_alone(board):
    add_figures(board.service.database, [_record(n) for n in range(4)], "ada")
    following = board.get("/results", kind="imported", limit=2)["next"]
    other = board.client.get("/api/v1/results", params={"kind": "all", "limit": 2, "cursor": following})
    assert other.status_code == 400


def test_a_measured_row_is_not_sorted_by_what_was_not_recomputed(board, make_run):
    board.submit(make_run("transformers-bf16"))
    (item,) = board.get("/results", sort="-accuracy.arc_easy")["items"]
    assert item["metrics"]["accuracy.arc_easy"]["value"] is not None
    assert "accuracy.arc_easy" in item["not_recomputed"]
    assert "ttft.p50" not in item["not_recomputed"]
    exported = board.get("/pareto", x="accuracy.arc_easy", y="ttft.p50", ranked="any")
    assert exported["items"] == []
    assert len(board.get("/pareto", x="tpot.p50", y="ttft.p50", ranked="any")["items"]) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_row_is_not_sorted_by_costs_at_a_price_that_its_submitter_gave(board, make_run):
    own = make_run()
    own.changed(lambda content: content["workload"].update(price=1e-6))
    stated = Result.model_validate(own.result)
    constants = constants_in_force(stated.workload.costs, 1e-6, stated.hardware.profile, 1)
    hardware = HardwareRecord.of(stated.hardware.profile, 1, "probed", constants)
    write_result(own.folder, stated.model_copy(update={"hardware": hardware, "constants": constants}).identified())
    write_result(own.folder, rederived(own.folder))
    sent = board.submit(own)
    assert sent.status_code == 201, sent.text
    board.submit(make_run().repeated(), "bob")
    items = board.get("/results", sort="cost_per_million_output_tokens")["items"]
    assert [item["owner"] for item in items] == ["bob", "ada"]
    assert items[1]["metrics"]["cost_per_million_output_tokens"]["value"] < 1e-3
    assert [flag["name"] for flag in items[1]["flags"] if flag["name"] == "own_price"] == ["own_price"]
    assert "own_price" not in {flag["name"] for flag in items[0]["flags"]}


def test_a_limited_task_is_in_no_main_ranking(board, make_run):
    board.submit(make_run("transformers-bf16"))
    board.submit(make_run("vllm-bf16"))
    rows = {item["engine"]["name"]: item for item in board.get("/results")["items"]}
    assert rows["transformers"]["unranked_because"] == ["limited_tasks"]
    assert [item["engine"]["name"] for item in board.get("/results", ranked="true")["items"]] == ["vllm"]
    assert [item["engine"]["name"] for item in board.get("/results", ranked="false")["items"]] == ["transformers"]
