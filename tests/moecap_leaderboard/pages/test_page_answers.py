"""What whole pages answer: on the demonstration, on a board with little or nothing, and to strangers' addresses."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pytest

from moecap.cli import main
from moecap.result import read_result
from moecap_leaderboard.drawn_charts import StoredCharts
from moecap_leaderboard.figures import FiguresRecord
from moecap_leaderboard.figures_store import add_figures
from moecap_leaderboard.pages import compare, home, radar_page, row_sets, run_charts, tradeoffs
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.measures import throughput
from moecap_leaderboard.pages.projections import packaged_name, projected
from moecap_leaderboard.pages.question import Question
from moecap_leaderboard.pages.url_state import Query
from moecap_leaderboard.rows import row_of_result
from moecap_leaderboard.service import Service
from moecap_leaderboard.settings import Settings

RUNS = Path(str(files("moecap_leaderboard") / "demo_data" / "runs"))


class TestDemonstration:
    @pytest.mark.parametrize("name", ["vllm-bf16", "transformers-bf16", "llamacpp-q8_0"])
    def test_littles_law_agrees_with_the_throughput_that_was_measured(self, name):
        """Each run states both; medians stand for means here, and 17 to 20 of 20 requests lie in the steady state."""
        summary = row_of_result(read_result(RUNS / name)).summary | {"kind": "measured"}
        measured = throughput(summary)
        assert measured.how == ""
        del summary["metrics"]["output_tokens_per_second"]
        assert throughput(summary).value == pytest.approx(measured.value, rel=0.03)

    def test_the_projection_is_that_of_the_command(self, capsys):
        found = projected(Question(model="Mixtral-8x22B", hw="h100-sxm", gpus="4", tpot="50"))
        assert main([*found.command.split()[1:], "--json"]) == 0
        offers = [o for o in json.loads(capsys.readouterr().out)["offers"] if o["devices"] <= 4]
        assert [asdict(offer) for offer in found.offers] == offers
        assert offers

    def test_a_name_finds_its_packaged_configuration_without_a_network(self):
        names = {
            "Mixtral-8x22B": "mixtral-8x22b",
            "openai/gpt-oss-120b": "gpt-oss-120b",
            "Llama-4-Maverick-17B-128E": "llama-4-maverick",
            "DeepSeek-V3": "deepseek-v3",
            "Qwen3-30B-A3B": "qwen3-30b-a3b",
            "Qwen/Qwen3-Coder-30B-A3B-Instruct": None,
            "nobody/knows": None,
        }
        assert {model: packaged_name(model) for model in names} == names
        assert "no configuration of nobody/knows" in projected(Question(model="nobody/knows")).reason


HOSTILE = dict.fromkeys(
    "model shape at hw gpus care then tpot by row add axis x y id".split(),
    ("\x00<script>alert(1)</script>", "9" * 5000),
) | {"a": ("<b>",), "b": ("../../etc",), "model_a": ("'",), "usd.h100-sxm": ("nan", "-1"), "usd.": ("1e999",)}


class TestEveryPage:
    @pytest.fixture
    def context(self, tmp_path):
        service = Service.open(Settings(database=f"sqlite:///{tmp_path / 'board.sqlite'}", data=tmp_path))
        yield PageContext(service)
        service.close()

    @pytest.fixture
    def answers(self, context):
        """What each page answers to a query, as one text."""
        charts = StoredCharts(context.service)

        def ask(given):
            query = Query(given)
            parts = {
                "home": home._answer(context, query),
                "radar": radar_page._answer(context, query),
                "tradeoffs": tradeoffs._answer(context, query),
                "compare": compare._answer(context, query),
                "roofline": run_charts._answer(context, charts, "roofline", 1, query),
                "row": [run_charts._controls(context, query)],
            }
            return {name: " ".join(map(str, answer)) for name, answer in parts.items()}

        return ask

    def figures(self, context, **changes):
        made = {
            "kind": "imported",
            "model": {"id": "org/Model", "name": "Model"},
            "hardware": "h100-sxm",
            "hardware_name": "H100",
            "devices": 1,
            "engine": "vllm",
            "engine_version": "vllm 1.0",
            "precision": "bf16",
            "workload": {"load": "closed", "concurrency": 8, "input_len": 1000, "output_len": 100},
            "metrics": {"output_tokens_per_second": {"value": 1000, "unit": "tokens/s"}},
            "source": "a paper",
        }
        add_figures(context.service.database, [FiguresRecord.model_validate(made | changes)], "ada")

    def test_an_empty_board_says_what_it_lacks(self, answers):
        found = answers({})
        assert "The board has no result of" in found["home"]
        assert "The board has no row yet." in found["radar"]
        assert "Nothing to draw" in found["tradeoffs"]
        assert "The board has no row yet." in found["compare"]
        assert "The board has no row with observations yet." in found["roofline"]

    def test_one_row_is_too_little_to_compare(self, context, answers):
        self.figures(context)
        found = answers({})
        assert "Too little data to compare" in found["home"]
        assert "n = 1 row;" in found["radar"]
        assert "Too little data: 0 rows have both" in found["tradeoffs"]
        assert "Nothing to compare" in found["compare"]

    def test_a_board_of_projections_alone_answers_with_them_only_when_asked(self, context, answers):
        low_high = {"value": 1000, "unit": "tokens/s", "low": 800, "high": 1200}
        self.figures(context, kind="projected", metrics={"output_tokens_per_second": low_high})
        assert "No such row of this model is on the board; there are 1 projection." in answers({})["home"]
        found = answers({"by": ("projected",)})
        assert "projected and not measured" in found["home"]
        assert "80 % of predictions" in found["home"]

    def test_many_projections_hide_no_observation(self, context, answers, monkeypatch):
        self.figures(context)
        self.figures(context, kind="projected")
        monkeypatch.setattr(row_sets, "MOST_ROWS", 1)
        assert "1 figure published by others" in answers({})["home"]

    def test_what_an_address_holds_is_never_markup_and_breaks_no_page(self, context, answers):
        self.figures(context)
        for text in answers(HOSTILE).values():
            assert "<script>" not in text
            assert "<b>" not in text
