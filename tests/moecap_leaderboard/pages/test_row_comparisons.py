"""Rows beside each other: engines at one load, frontiers, differences and the radar, against reckoning by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_rows import metric, row, speed

from moecap_leaderboard.pages.contest import contests, told
from moecap_leaderboard.pages.differences import lines, summary
from moecap_leaderboard.pages.measures import axis_measure
from moecap_leaderboard.pages.pareto import scatter
from moecap_leaderboard.pages.radar_rows import radar_block, row_label, row_places, telling_axes
from moecap_leaderboard.pages.sentences import pareto_sentence, radar_sentence


class TestContest:
    def test_engines_meet_at_the_same_load_alone(self):
        def of(engine, flight, rate, identifier):
            return row(
                identifier,
                engine={"name": engine, "version": "1"},
                workload={"concurrency": flight},
                metrics=speed(rate),
            )

        items = [
            of("vllm", 1, 100, "a"),
            of("sglang", 1, 150, "b"),
            of("vllm", 8, 400, "c"),
            of("sglang", 8, 480, "d"),
            of("vllm", 64, 900, "e"),
        ]
        (found,) = contests(items)
        assert found.engines == ("sglang", "vllm")
        assert found.pairs == (("b", "a"), ("d", "c"))
        text = told(found)
        assert "SGLang gives 1.34 times the throughput of vLLM by published figures" in text  # sqrt(1.2 x 1.5)
        assert "n = 2 loads (from 1.20 to 1.50)" in text

    def test_two_measured_rows_with_intervals_are_told_with_theirs(self):
        items = [
            row(
                engine,
                kind="measured",
                engine={"name": engine, "version": "1"},
                metrics=speed(rate, low=low, high=high),
            )
            for engine, rate, low, high in (("vllm", 100, 90, 111.1), ("sglang", 200, 180, 222.2))
        ]
        text = told(contests(items)[0])
        assert "SGLang gives 2.00 times" in text
        assert "95 % interval 1.72 to 2.32" in text  # ln 2 -+ sqrt(2) ln(1/0.9)

    def test_repeated_runs_are_told_by_welch_as_moecap_compare_does(self):
        from moecap.metrics.difference import spread_of, welch_ratio

        repeats = {"vllm": (99.0, 100.0, 101.0), "sglang": (196.0, 200.0, 204.0)}
        items = [
            row(
                engine,
                kind="measured",
                engine={"name": engine, "version": "1"},
                metrics=speed(values[1], low=values[0], high=values[2], repeats=values),
            )
            for engine, values in repeats.items()
        ]
        expected = welch_ratio(spread_of(repeats["vllm"]), spread_of(repeats["sglang"]))
        assert f"95 % interval {expected.low:.2f} to {expected.high:.2f}" in told(contests(items)[0])

    def of(self, engine, flight, rate, **changes):
        return row(
            f"{engine}{flight}",
            engine={"name": engine, "version": "1"},
            workload={"concurrency": flight},
            metrics=speed(rate),
            **changes,
        )

    def test_twice_as_fast_at_one_load_and_half_as_fast_at_another_is_even(self):
        items = [self.of("vllm", 1, 100), self.of("sglang", 1, 200), self.of("vllm", 8, 200), self.of("sglang", 8, 100)]
        text = told(contests(items)[0])
        assert "1.00 times" in text
        assert "is the faster in 1." in text

    def test_rows_that_do_not_state_their_load_do_not_meet(self):
        assert contests([self.of("vllm", None, 100), self.of("sglang", None, 200)]) == []


class TestPareto:
    @given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=25))
    def test_the_frontier_is_what_no_other_row_beats(self, pairs):
        items = [
            row(str(n), metrics=speed(100.0 * fast) | {"tpot": metric(0.001 * slow)})
            for n, (fast, slow) in enumerate(pairs)
        ]
        found = scatter(items, "speed", "latency", {})

        def beaten(a):
            return any(b[0] >= a[0] and b[1] <= a[1] and b != a for b in pairs)

        assert [p.on_front for p in found.points] == [not beaten(pair) for pair in pairs]

    def test_a_projection_beats_no_measurement(self):
        items = [
            row("real", metrics=speed(100)),
            row("dream", kind="projected", metrics=speed(900, low=800, high=1000)),
        ]
        assert all(p.on_front for p in scatter(items, "speed", "cost", {}).points)

    def test_a_price_moves_the_frontier(self):
        both = [
            row("a", metrics=speed(1000) | {"tpot": metric(0.02)}),
            row("b", hardware={"id": "h200-sxm"}, metrics=speed(1500) | {"tpot": metric(0.01)}),
        ]
        cheap = scatter(both, "latency", "cost", {"h100-sxm": 1.0, "h200-sxm": 3.0})
        assert [p.on_front for p in cheap.points] == [True, True]
        equal = scatter(both, "latency", "cost", {"h100-sxm": 3.0, "h200-sxm": 3.0})
        assert [p.on_front for p in equal.points] == [False, True]

    def test_what_an_operator_pays_beats_no_rent(self):
        def at(identifier, hardware, rate):
            item = row(identifier, hardware={"id": hardware, "name": hardware, "count": 1}, metrics=speed(rate))
            item["metrics"]["tpot"] = metric(0.01)
            return item

        found = scatter([at("own", "gb200", 1e6), at("rent", "h100-sxm", 10)], "latency", "cost", {})
        assert ([p.on_front for p in found.points], found.unrented) == ([False, True], 1)
        alone = scatter([at("own", "gb200", 1e6)], "latency", "cost", {})
        assert [p.on_front for p in alone.points] == [True]
        priced = scatter([at("own", "gb200", 1e6), at("rent", "h100-sxm", 10)], "latency", "cost", {"gb200": 1.0})
        assert ([p.on_front for p in priced.points], priced.unrented) == ([True, False], 0)

    def test_scores_of_different_tasks_share_no_frontier(self):
        def scored(identifier, task, value, **more):
            metrics = speed(100) | {f"accuracy.{task}": metric(value, "1")}
            return row(identifier, kind="measured", metrics=metrics, **more)

        items = [scored("a", "arc", 0.5), scored("b", "arc", 0.6), scored("c", "gsm8k", 0.9)]
        items.append(scored("d", "arc", 0.99, not_recomputed=["accuracy.arc"]))
        found = scatter(items, "accuracy", "cost", {})
        assert [p.item["id"] for p in found.points] == ["a", "b"]
        assert (found.tasks, found.other_tasks, found.missing) == ("arc", 1, 1)

    def test_too_little_data_is_said(self):
        assert pareto_sentence("cost", "energy", 1, ["A"], 4).startswith("Too little data: 1 row has both")


class TestDifferences:
    def of(self, value, low=None, high=None, **changes):
        score = {"accuracy.arc_easy": metric(value, "1", low=low, high=high, n=100)}
        return row(kind="measured", metrics=score, **changes)

    def line(self, a, b, name="accuracy"):
        return next(line for line in lines(a, b, {}) if line.name == name)

    def test_scores_with_intervals_are_subtracted(self):
        """0.6 (0.5 to 0.7) and 0.9 (0.86 to 0.93): 0.3, down by sqrt(0.04^2 + 0.1^2)."""
        found = self.line(self.of(0.6, 0.5, 0.7), self.of(0.9, 0.86, 0.93))
        assert found.apart == pytest.approx(0.3)
        assert found.interval.low == pytest.approx(0.3 - (0.04**2 + 0.1**2) ** 0.5)
        assert found.clear is True

    def test_without_an_interval_nothing_is_claimed(self):
        found = self.line(self.of(0.6), self.of(0.9, 0.86, 0.93))
        assert (found.clear, found.interval) == (None, None)
        assert found.why == "A has no interval"
        assert "none with an interval on both" in summary([found])

    def test_scores_of_different_tasks_are_not_subtracted(self):
        a, b = self.of(0.6, 0.5, 0.7), self.of(0.9, 0.86, 0.93)
        b["metrics"] = {"accuracy.gsm8k": b["metrics"]["accuracy.arc_easy"]}
        assert self.line(a, b).apart is None

    def test_two_projections_are_not_independent(self):
        a, b = (row(kind="projected", metrics=speed(rate, low=0.8 * rate, high=1.2 * rate)) for rate in (100, 500))
        found = self.line(a, b, "throughput")
        assert (found.apart, found.clear) == (5.0, None)
        assert found.why == "the 80 % prediction intervals do not meet"

    def test_a_score_that_was_not_recomputed_is_told_apart_from_none(self):
        said = self.of(0.99, 0.98, 1.0, not_recomputed=["accuracy.arc_easy"])
        found = self.line(self.of(0.6, 0.5, 0.7), said)
        assert (found.clear, found.why) == (None, "B was not recomputed")

    def test_a_gain_below_zero_is_no_multiple_of_another(self):
        a, b = (row(kind="measured", metrics={"task.moicl_gain": metric(value, "1")}) for value in (-0.02, 0.01))
        assert [line.apart for line in lines(a, b, {})] == [None]

    def test_a_quantity_is_not_told_twice(self):
        a, b = (row(kind="measured", metrics={"tpot.p50": metric(value)}) for value in (0.01, 0.02))
        assert [line.name for line in lines(a, b, {})] == ["time per token"]

    def test_no_metric_in_common_is_too_little(self):
        assert summary(lines(row(metrics=speed(5)), row(), {})).startswith("Too little data")


class TestRadar:
    def test_a_row_without_costs_is_placed_by_its_throughput(self):
        """$3.60 an hour and 1,000 tokens/s are $1 a million: log(1/1000)/log(0.01/1000) = 0.6 of the way."""
        item = row(metrics=speed(1000))
        places = {place.axis.key: place for place in row_places(item, {"h100-sxm": 3.6})}
        assert places["cost"].share == pytest.approx(0.6)
        assert places["performance"].share == pytest.approx(4 / 6)
        assert places["accuracy"].share is None

    def test_axes_without_any_value_are_left_out_but_for_cost_accuracy_and_performance(self):
        assert [axis.key for axis in telling_axes([row(metrics=speed(1))])] == ["cost", "accuracy", "performance"]

    def test_every_axis_of_the_rule_can_be_measured(self):
        item = row(metrics={"decode.s_mbu": metric(0.5, "1")})
        for axis in (place.axis for place in row_places(item, {})):
            found = axis_measure(item, axis, {})
            assert (found.value is None) == (axis.key != "s_mbu")

    def test_the_sentence_names_who_leads(self):
        items = [row("a", metrics=speed(100)), row("b", metrics=speed(900), engine={"name": "sglang", "version": "1"})]
        places = [row_places(item, {}) for item in items]
        text = radar_sentence(["A", "B"], places)
        assert text.startswith("n = 2 rows; B stands outermost on Cost and Performance, 2 of the 2 axes")
        assert "Too little data" in radar_sentence(["A", "B"], [row_places(row(), {})] * 2)

    def test_none_leads_where_tasks_differ_or_a_score_was_not_recomputed(self):
        def scored(task, value, **more):
            return row(kind="measured", metrics={f"accuracy.{task}": metric(value, "1")}, **more)

        assert "stands outermost on Accuracy" in radar_block([scored("arc", 0.5), scored("arc", 0.9)], {})
        for other in (scored("gsm8k", 0.9), scored("arc", 0.9, not_recomputed=["accuracy.arc"])):
            assert "Too little data" in radar_block([scored("arc", 0.5), other], {})

    def test_the_label_is_at_the_price_at_which_rows_are_compared(self):
        """A stated cost of a millionth of a dollar puts cost at the rim; at a rent of $2.5 or so it lies near 0.45."""
        metrics = speed(100) | {
            "output_tokens_per_second_per_device": metric(100, "tokens/s"),
            "cost_per_million_output_tokens": metric(1e-6, "USD/1e6 tokens"),
            "accuracy.arc": metric(0.9, "1"),
        }
        assert row_label(row(kind="measured", metrics=metrics)).text == "PA"

    def test_names_of_strangers_are_text(self):
        item = row(metrics=speed(1), precision="<script>", hardware={"id": "x", "name": "<b>x</b>", "count": 1})
        block = str(radar_block([item], {}))
        assert "<script>" not in block
        assert "<b>x" not in block
