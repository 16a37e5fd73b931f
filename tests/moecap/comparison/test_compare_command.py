"""``moecap compare`` on the demonstration's runs: what it refuses, finds and fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from moecap.cli import main
from moecap.comparison.limits import checked, read_limits
from moecap.comparison.lines import compared, line_of
from moecap.comparison.side import Side, read_side
from moecap.errors import BadInputError
from moecap.metrics.difference import Spread
from moecap.metrics.value import Metric, absent
from moecap.result import read_result, write_result

RUNS = Path(__file__).parents[3] / "leaderboard_app" / "moecap_leaderboard" / "demo_data" / "runs"
VLLM, TRANSFORMERS = RUNS / "vllm-bf16", RUNS / "transformers-bf16"


def side(metrics, **changes):
    fields = {
        "name": "x", "title": "x", "kind": "measured", "status": "complete", "id": "", "flags": (), "about": {},
        "load": {}, "model": "m", "vocabulary": {},
    }  # fmt: skip
    return Side(**fields | {"metrics": metrics} | changes)


def seconds(value, repeats=None):
    return Metric(value=value, unit="s", n=20, repeats=repeats)


def test_two_engines_are_told_apart_within_their_runs(capsys):
    assert main(["compare", str(VLLM), str(TRANSFORMERS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tpot = found["comparisons"][0]["metrics"]["tpot.p50"]
    a, b = (read_result(run).metrics["tpot.p50"].value for run in (VLLM, TRANSFORMERS))
    assert tpot["ratio"]["value"] == pytest.approx(b / a)
    assert tpot["difference"]["value"] == pytest.approx(b - a)
    assert tpot["ratio"]["low"] < b / a < tpot["ratio"]["high"]
    assert (tpot["verdict"], tpot["interval_from"], tpot["effect"]["name"]) == ("worse", "within run", "Cliff's delta")
    assert tpot["effect"]["value"] == 1.0  # every request of B was slower


def test_a_run_with_itself_differs_in_nothing(capsys):
    assert main(["compare", str(VLLM), str(VLLM), "--fail-on", "tpot:0%", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["comparisons"][0]
    assert {m["verdict"] for m in found["metrics"].values()} == {None, "no difference shown"}
    assert found["remarks"] == ["A and B are the same result"]


@pytest.mark.parametrize(("limit", "status", "said"), [("tpot:5%", 1, "FAILED"), ("tpot:90%", 0, "ok")])
def test_limits_fail_what_is_worse_by_more(capsys, limit, status, said):
    assert main(["compare", str(VLLM), str(TRANSFORMERS), "--fail-on", limit]) == status
    assert f"{said}  tpot.p50: 56.7 % worse" in capsys.readouterr().out


def test_another_load_is_refused_unless_forced(tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(VLLM, other)
    result = read_result(other)
    changed = result.model_copy(update={"workload": result.workload.model_copy(update={"output_len": 64})})
    write_result(other, changed.identified())
    assert main(["compare", str(VLLM), str(other)]) == 2
    line = capsys.readouterr().err.strip()
    assert "output_len 32 in A and 64 in B" in line
    assert "\n" not in line
    assert main(["compare", str(VLLM), str(other), "--force"]) == 0
    assert "not comparable: the loads are not the same" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "projected"}, "A is measured and B is projected"),
        ({"status": "failed: the engine died"}, "B is failed"),
        ({"model": "n", "vocabulary": {"vocab_size": "9"}}, "tokenizers are not the same"),
        ({"model": "n", "vocabulary": None}, "not known whether both have the same tokenizer"),
    ],
)
def test_what_is_not_comparable(changes, said):
    from moecap.comparison.comparable import obstacles

    a = side({}, vocabulary={"vocab_size": "8"})
    (found,) = obstacles(a, side({}, **({"vocabulary": {"vocab_size": "8"}} | changes)))
    assert said in found


def test_repeats_are_compared_by_welch():
    from scipy import stats

    a, b = (1.0, 1.1, 1.2), (1.5, 1.6, 1.4, 1.5)
    line = line_of(side({"tpot.p50": seconds(1.1, a)}), side({"tpot.p50": seconds(1.5, b)}), "tpot.p50")
    theirs = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    assert (line.difference.low, line.difference.high) == pytest.approx((theirs.low, theirs.high))
    assert (line.method, line.verdict, line.effect.name) == ("repeats", "worse", "Hedges' g")
    pooled = ((0.01 * 2 + (0.02 / 3) * 3) / 5) ** 0.5
    assert line.effect.value == pytest.approx(0.4 / pooled * (1 - 3 / 19))


def test_the_same_questions_are_compared_one_by_one():
    items = {f"q{n}": {"accuracy": 1.0} for n in range(20)}
    fewer = items | {f"q{n}": {"accuracy": 0.0} for n in range(8)}
    a = side({"accuracy.t": Metric(value=1.0, unit="1", n=20)}, scores={"accuracy.t": items})
    b = side({"accuracy.t": Metric(value=0.6, unit="1", n=20)}, scores={"accuracy.t": fewer})
    line = line_of(a, b, "accuracy.t")
    assert (line.method, line.verdict, line.p) == ("same items", "worse", pytest.approx(2 / 256))
    few = items | {"q0": {"accuracy": 0.0}}
    c = side({"accuracy.t": Metric(value=0.95, unit="1", n=20)}, scores={"accuracy.t": few})
    assert line_of(a, c, "accuracy.t").verdict == "no difference shown"


def lines(a, b, **spreads):
    one = side(a, spreads={name: Spread(a[name].value, s, 10) for name, s in spreads.items()})
    other = side(b, spreads={name: Spread(b[name].value, s, 10) for name, s in spreads.items()})
    return {line.name: line for line in compared(one, other)}


def test_no_difference_shown_does_not_fail_and_says_how_much_there_could_be():
    found = lines({"e2e.p50": seconds(1.0)}, {"e2e.p50": seconds(1.1)}, **{"e2e.p50": 0.1})
    (check,) = checked(read_limits(["e2e:5%"]), found)
    assert not check.failed
    assert "no difference shown, it could be" in check.text
    assert check.most > check.worse > 0.05


def test_without_an_interval_the_values_decide():
    (check,) = checked(read_limits(["e2e:5%"]), lines({"e2e.p50": seconds(1.0)}, {"e2e.p50": seconds(1.1)}))
    assert check.failed
    assert "by the values alone" in check.text


def test_a_metric_that_vanished_fails():
    (check,) = checked(read_limits(["e2e:5%"]), lines({"e2e.p50": seconds(1.0)}, {"e2e.p50": absent("s", "it died")}))
    assert check.failed
    assert check.text == "e2e.p50: B has no value (it died)"


@pytest.mark.parametrize("text", ["tpot", "tpot:5", "tpot:-5%", "tpot:five%", ":5%"])
def test_a_limit_has_a_form(text):
    with pytest.raises(BadInputError, match=r"not METRIC:PERCENT%"):
        read_limits([text])


def test_a_limit_names_a_metric_with_a_direction():
    known = lines({"busy_fraction": Metric(value=0.5, unit="1")}, {"busy_fraction": Metric(value=0.6, unit="1")})
    with pytest.raises(BadInputError, match="neither direction"):
        checked(read_limits(["busy_fraction:5%"]), known)
    with pytest.raises(BadInputError, match="no metric with a value named 'tpots'"):
        checked(read_limits(["tpots:5%"]), known)


def test_the_page_holds_the_ratios_and_loads_nothing(tmp_path, capsys):
    page = tmp_path / "compare.html"
    assert main(["compare", str(VLLM), str(TRANSFORMERS), "--output", str(page)]) == 0
    text = page.read_text()
    assert "default-src" in text
    assert "error_x" in text
    assert "Effect size" in text
    assert str(page) in capsys.readouterr().out


def test_requests_that_were_observed_give_spreads_and_a_projection_none():
    found = read_side(VLLM)
    assert isinstance(found.spreads["tpot.p50"], Spread)
    assert found.spreads["tpot.p50"].value == found.metrics["tpot.p50"].value
    cost, rate = found.spreads["cost_per_million_output_tokens"], found.spreads["output_tokens_per_second"]
    assert cost.error / cost.value == pytest.approx(rate.error / rate.value)
