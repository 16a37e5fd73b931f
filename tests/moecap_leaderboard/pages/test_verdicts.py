"""Prices, measures and verdicts that pages derive of rows, against reckoning by hand."""

from __future__ import annotations

import pytest
from made_rows import metric, row, speed

from moecap_leaderboard.pages.measures import interval_kind, measure, stated, throughput
from moecap_leaderboard.pages.naming import placed_hardware
from moecap_leaderboard.pages.pricing import cost_per_million, known_rent, row_rent
from moecap_leaderboard.pages.question import Question, choices, in_scope, read_question
from moecap_leaderboard.pages.verdict import judged


class TestPrices:
    def test_eight_devices_at_three_dollars_by_hand(self):
        """8 x $3 an hour are $24; 1,000 tokens/s are 3.6 million an hour: $6.67 a million."""
        assert cost_per_million(3.0, 8, 1000.0) == pytest.approx(24 / 3.6)

    def test_a_given_price_goes_before_the_known_one(self):
        item = row(metrics=speed(1000))
        assert row_rent(item, {"h100-sxm": 2.5}).usd_per_hour == 2.5
        assert row_rent(item, {}).usd_per_hour == known_rent("h100-sxm", 1).usd_per_hour
        cost = measure(item, "cost", {"h100-sxm": 3.6})
        assert cost.value == pytest.approx(1.0)
        assert "3.6 USD per device-hour (the price that you set)" in cost.how

    def test_a_probed_host_is_priced_as_its_run_states(self):
        """$0.50 a million at 100 tokens/s are 0.36 million tokens, $0.18, an hour."""
        stated_cost = {"cost_per_million_output_tokens": metric(0.5, "USD/1e6 tokens")}
        item = row(hardware={"id": "host-x", "name": "a host", "count": 1}, metrics=speed(100) | stated_cost)
        assert row_rent(item, {}).usd_per_hour == pytest.approx(0.18)
        assert measure(item, "cost", {}).value == pytest.approx(0.5)

    def test_a_price_of_the_submitters_own_prices_no_comparison(self):
        """A probed host whose owner says a millionth of a dollar an hour would be the cheapest of all."""
        stated_cost = {"cost_per_million_output_tokens": metric(1e-6, "USD/1e6 tokens")}
        host = {"id": "host-x", "name": "a host", "count": 1}
        own = {"flags": [{"name": "own_price", "level": "info", "text": ""}], "metrics": speed(100) | stated_cost}
        found = measure(row(hardware=host, **own), "cost", {})
        assert found.value is None
        assert found.metric.reason == "no price of a host is known; the row's own is not compared"
        assert measure(row(**own), "cost", {"h100-sxm": 3.6}).value == pytest.approx(10.0)

    def test_a_device_with_a_host_that_works_has_no_price_of_the_device_alone(self):
        hardware = {"id": "rtx-4090", "name": "RTX-4090-24GB + 2x Xeon Gold 6454S", "count": 1}
        item = row(hardware=hardware, metrics=speed(13.5))
        found = measure(item, "cost", {})
        assert found.metric.reason == "no price of RTX-4090-24GB + 2x Xeon Gold 6454S is known as a whole"
        assert placed_hardware(item).endswith("RTX-4090-24GB + 2x Xeon Gold 6454S")
        assert measure(row(hardware=hardware | {"name": "RTX-4090"}, metrics=speed(13.5)), "cost", {}).value > 0

    def test_what_an_operator_pays_is_no_rent(self):
        assert not known_rent("gb200", 1).rented
        assert known_rent("h100-sxm", 8).rented

    def test_hardware_without_a_price_gives_the_reason(self):
        item = row(hardware={"id": "unknown", "name": "Unknown 9000", "count": 1}, metrics=speed(100))
        assert measure(item, "cost", {}).metric.reason == "no price of Unknown 9000 is known"

    def test_a_faster_end_of_the_interval_is_the_cheaper_end_of_the_cost(self):
        item = row(metrics=speed(1000, low=800, high=1250), kind="measured")
        cost = measure(item, "cost", {"h100-sxm": 3.6})
        assert (cost.metric.low, cost.metric.high) == pytest.approx((0.8, 1.25))
        assert cost.ends == "confidence"

    def test_an_interval_of_a_speed_that_holds_zero_gives_a_cost_without_one(self):
        """Dollars over a speed that may be 0 have no upper end."""
        for low in (0.0, -5.0):
            item = row(metrics=speed(1000, low=low, high=2000, n=2), kind="measured")
            for key in ("cost", "speed"):
                found = measure(item, key, {"h100-sxm": 3.6})
                assert (found.metric.low, found.metric.high, found.ends) == (None, None, None)


class TestMeasures:
    def test_littles_law_by_hand(self):
        """8 in flight with 101 tokens: 1 s and 100 steps of 10 ms are 2 s, so 808 tokens come in 2 s."""
        item = row(metrics={"ttft": metric(1.0), "tpot": metric(0.01)})
        found = throughput(item)
        assert found.value == pytest.approx(404)
        assert "Little's law" in found.how
        assert measure(item, "cost", {}).estimated
        assert measure(item, "speed", {}).estimated
        assert not throughput(row(metrics=speed(500))).estimated

    def test_a_throughput_of_nothing_is_no_throughput_by_littles_law(self):
        item = row(metrics=speed(0.0) | {"ttft": metric(1.0), "tpot": metric(0.01)})
        assert throughput(item).value == 0
        assert measure(item, "cost", {}).metric.reason == "no output token came"

    def test_nothing_follows_where_the_load_is_not_stated(self):
        item = row(metrics={"ttft": metric(1.0), "tpot": metric(0.01)}, workload={"concurrency": None})
        assert throughput(item).value is None

    def test_a_gap_between_tokens_is_no_time_per_token_of_a_request(self):
        """ITL pools gaps; a throughput must not be made of it."""
        item = row(metrics={"ttft": metric(1.0), "itl.p50": metric(0.01)})
        assert throughput(item).value is None
        assert measure(item, "latency", {}).name == "ITL, median"

    def test_speed_is_of_one_device(self):
        item = row(hardware={"id": "h100-sxm", "name": "H100", "count": 4}, metrics=speed(1000, low=800, high=1200))
        found = measure(item, "speed", {}).metric
        assert (found.value, found.low, found.high) == (250, 200, 300)

    def test_what_two_ends_are_follows_from_the_evidence(self):
        ends = speed(100, low=90, high=110)
        name = "output_tokens_per_second"
        kinds = {kind: row(kind=kind, metrics=ends) for kind in ("measured", "imported", "projected")}
        found = {kind: interval_kind(item, name, stated(item, name)) for kind, item in kinds.items()}
        assert found == {"measured": "confidence", "imported": "stated", "projected": "prediction"}
        share = {"decode.s_mbu": metric(0.5, "1", low=0.4, high=0.6)}
        guessed = row(kind="measured", metrics=share, flags=[{"name": "routing_estimated", "level": "warning"}])
        assert interval_kind(guessed, "decode.s_mbu", stated(guessed, "decode.s_mbu")) == "bounds"


class TestQuestion:
    def test_what_an_address_cannot_mean_is_as_if_it_were_not_there(self):
        given = {"model": "mix", "shape": "round", "at": "-3", "gpus": "many", "care": "love", "tpot": "7", "by": "x"}
        assert read_question(given, ["A", "Mixtral"]) == Question(model="Mixtral")
        assert read_question({}, []) == Question()

    def test_scope_keeps_load_hardware_and_devices(self):
        items = [
            row("a", workload={"input_len": 8192}),
            row("b", hardware={"id": "h100-sxm", "name": "H100", "count": 4}),
            row("c", workload={"concurrency": 32}),
        ]

        def scope(**question):
            return [item["id"] for item in in_scope(items, Question(**question))]

        assert scope(shape="long-short") == ["a"]
        assert scope(gpus="2") == ["a", "c"]
        assert scope(at="32") == ["c"]
        assert scope(hw="b200-sxm") == []
        assert scope(by="measured") == []

    def test_choices_are_what_the_rows_hold_with_their_numbers(self):
        items = [row("a"), row("b", workload={"concurrency": 32}), row("c", hardware={"count": 2})]
        found = choices(items, Question(), {"b200-sxm": "b200"})
        assert [c.value for c in found["at"]] == ["any", "8", "32"]
        assert [c.label for c in found["at"]][1:] == ["8 (2)", "32 (1)"]
        assert [(c.value, c.group) for c in found["hw"]][1:] == [
            ("h100-sxm", ""),
            ("b200-sxm", "no result of this model"),
        ]
        assert [c.value for c in found["gpus"]] == ["any", "1", "2"]


class TestVerdict:
    def ask(self, items, **question):
        return judged(items, Question(model="org/Model", **question), {"h100-sxm": 3.6, "h200-sxm": 7.2})

    def h200(self, identifier, **changes):
        return row(identifier, hardware={"id": "h200-sxm", "name": "H200", "count": 1}, **changes)

    def test_the_cheapest_by_hand(self):
        """1,000 tokens/s at $3.60 are $1.00; 4,000 at $7.20 are $0.50."""
        found = self.ask([row("a", metrics=speed(1000)), self.h200("b", metrics=speed(4000))], then="")
        assert [c.item["id"] for c in found.best] == ["b", "a"]
        assert "is the cheapest of 2 configurations: $0.5 per million output tokens" in found.sentence
        assert "follows with $1.00, 100% more, at the same load" in found.sentence
        assert "nothing says how much of that is noise" in found.sentence
        assert found.enough

    def test_only_the_best_row_of_a_configuration_stands_for_it(self):
        items = [row("a", metrics=speed(1000)), row("b", metrics=speed(2000)), self.h200("c", metrics=speed(2000))]
        found = self.ask(items, then="")
        assert [(c.item["id"], c.rows) for c in found.best] == [("b", 2), ("c", 1)]

    def test_figures_within_five_per_cent_are_ordered_by_what_matters_next(self):
        slow = speed(1000) | {"tpot": metric(0.05)}
        quick = speed(970) | {"tpot": metric(0.02)}
        items = [row("slow", metrics=slow), row("quick", metrics=quick, engine={"name": "sglang", "version": "1"})]
        assert self.ask(items, then="").best[0].item["id"] == "slow"
        found = self.ask(items, then="latency")
        assert found.best[0].item["id"] == "quick"
        assert "which cannot be told from it, so time per token decides" in found.sentence

    def test_intervals_that_do_not_meet_are_told_apart(self):
        a = row("a", kind="measured", metrics=speed(1000, low=990, high=1010, n=100))
        b = self.h200("b", kind="measured", metrics=speed(1000, low=990, high=1010, n=100))
        assert "they differ (ratio 2" in self.ask([a, b], then="").sentence

    def test_a_bound_that_no_row_speaks_of_is_named_and_left_aside(self):
        found = self.ask([row("a", metrics=speed(1000))], tpot="50")
        assert found.sentence.startswith("Too little data: none of the 1 row in question states a time per token")
        assert "Leaving that bound aside" in found.sentence
        assert not found.enough

    def test_rows_above_the_bound_are_left_out(self):
        items = [
            row("a", metrics=speed(1000) | {"tpot": metric(0.06)}),
            self.h200("b", metrics=speed(100) | {"tpot": metric(0.02)}),
        ]
        found = self.ask(items, tpot="50")
        assert [c.item["id"] for c in found.best] == ["b"]
        assert "Left out: 1 row above 50 ms a token." in found.basis

    def test_projections_answer_only_where_they_are_asked(self):
        items = [
            row("a", metrics=speed(1000)),
            self.h200("b", kind="projected", metrics=speed(9000, low=8000, high=9900)),
        ]
        assert [c.item["id"] for c in self.ask(items).best] == ["a"]
        found = self.ask(items, by="projected")
        assert [c.item["id"] for c in found.best] == ["b"]
        assert "projected and not measured" in found.sentence

    def test_what_an_operator_pays_comes_after_every_rent(self):
        gb200 = row("cheap", hardware={"id": "gb200", "name": "GB200", "count": 1}, metrics=speed(1e6))
        found = judged([gb200, row("rent", metrics=speed(10))], Question(model="org/Model"), {})
        assert [c.item["id"] for c in found.best] == ["rent", "cheap"]

    def test_no_row_one_row_and_a_row_outside_the_ranking(self):
        assert self.ask([]).sentence == "The board has no result of org/Model yet."
        assert self.ask([row(metrics=speed(1000))]).sentence.startswith("Too little data to compare: ")
        barred = self.ask([row(metrics=speed(1000), ranked=False)])
        assert barred.best == ()
        assert "Left out: 1 row outside the main ranking." in barred.basis

    def test_hardware_of_which_there_is_no_row_is_said_with_what_there_is(self):
        found = self.ask([row(metrics=speed(1000))], hw="b200-sxm")
        assert "None of the 1 row of this model is of B200" in found.sentence
        assert "There are rows of H100 SXM5 80GB (1)" in found.sentence

    def engine(self, identifier, name, **changes):
        return row(identifier, engine={"name": name, "version": "1"}, **changes)

    def test_intervals_that_meet_can_still_be_told_apart(self):
        """ln(1000/920) = 0.083, and arms of 0.05 and 0.05 make 0.07: the ratio leaves out 1 though the two meet."""
        a = row("a", kind="measured", metrics=speed(1000, low=951.2, high=1051.3, n=9))
        b = self.engine("b", "sglang", kind="measured", metrics=speed(920, low=875.1, high=967.2, n=9))
        b["metrics"]["tpot.p50"] = metric(0.01)
        found = self.ask([a, b], care="speed", then="latency")
        assert found.best[0].item["id"] == "a"
        assert "they differ (ratio 0.92, 95 % interval 0.857 to 0.987)" in found.sentence

    def test_scores_are_subtracted_and_of_the_same_tasks_alone(self):
        def scored(identifier, engine, task, value, low, high):
            score = {f"accuracy.{task}": metric(value, "1", low=low, high=high, n=100)}
            return self.engine(identifier, engine, kind="measured", metrics=score)

        items = [
            scored("a", "vllm", "arc_easy", 0.6, 0.5, 0.7),
            scored("b", "sglang", "arc_easy", 0.3, 0.2, 0.4),
            scored("other", "llamacpp", "gsm8k", 0.99, 0.98, 1.0),
        ]
        found = self.ask(items, care="accuracy", then="")
        assert [c.item["id"] for c in found.best] == ["a", "b"]
        assert "they differ (difference -0.300, 95 % interval -0.441 to -0.159)" in found.sentence  # sqrt(0.02)
        assert "Left out: 1 row of other tasks than arc_easy, whose scores do not compare." in found.basis

    def test_no_row_is_ranked_by_a_score_that_was_not_recomputed(self):
        score = {"accuracy.arc_easy": metric(0.99, "1", low=0.98, high=1.0, n=100)}
        said = row("said", kind="measured", metrics=score, not_recomputed=["accuracy.arc_easy"])
        found = self.ask([said], care="accuracy")
        assert found.best == ()
        assert "Left out: 1 row whose accuracy was not recomputed." in found.basis

    def test_loads_that_are_not_stated_are_not_the_same(self):
        full = {"concurrency": None}
        items = [row("a", metrics=speed(1000), workload=full), self.h200("b", metrics=speed(1000), workload=full)]
        assert "at a load that not both state in full" in self.ask(items, then="").sentence

    def test_a_published_runner_up_of_a_measured_row_is_named_as_such(self):
        items = [row("a", kind="measured", metrics=speed(4000)), self.h200("b", metrics=speed(4000))]
        assert "follows with $0.5, as published, 100% more" in self.ask(items, then="").sentence

    def test_what_an_operator_pays_is_never_the_one_that_decides(self):
        """$3.60 a million at a rent, and within 5 % of that at what an operator pays."""
        rent = known_rent("gb200", 1).usd_per_hour
        gb200 = row("cheap", hardware={"id": "gb200", "name": "GB200", "count": 1}, metrics=speed(rent / 3.5 / 3.6e-3))
        found = judged([gb200, row("rent", metrics=speed(1000 / 3.6))], Question(then=""), {"h100-sxm": 3.6})
        assert [c.item["id"] for c in found.best] == ["rent", "cheap"]
        assert "decides" not in found.sentence

    def test_what_matters_next_decides_only_where_the_best_states_it(self):
        """The second in the list is the cheapest by 3 %, and neither states a time per token; nor does it alone."""
        near = self.engine("near", "sglang", metrics=speed(970))
        assert self.ask([near, row("best", metrics=speed(1000))]).best[0].item["id"] == "best"
        near["metrics"]["tpot"] = metric(0.02)
        found = self.ask([near, row("best", metrics=speed(1000))])
        assert found.best[0].item["id"] == "best"
        assert "decides" not in found.sentence

    def test_a_throughput_is_said_to_be_of_one_device(self):
        item = row(metrics=speed(4000), hardware={"id": "h100-sxm", "name": "H100", "count": 4})
        assert "1,000 tokens/s per device" in self.ask([item], care="speed").sentence
