"""The axes of the CAP radar and the label, against bounds and logarithms that are written out here."""

import math
from xml.etree import ElementTree

import pytest

from moecap.metrics.value import absent, measured
from moecap.report.cap import Place, axis_metric, cap_label, cap_rule, place, places
from moecap.report.radar import CENTRE, RADIUS, point, radar

AXES = {axis.key: axis for axis in cap_rule().axes}


def _value(value):
    return measured(value, "1", 1)


def test_the_data_file_declares_the_bounds_that_the_documents_print():
    bounds = {key: (axis.start, axis.end, axis.scale) for key, axis in AXES.items()}
    assert bounds == {
        "cost": (1000, 0.01, "log"),
        "accuracy": (0, 1, "linear"),
        "performance": (0.1, 100_000, "log"),
        "ttft": (100, 0.01, "log"),
        "s_mbu": (0, 1, "linear"),
        "s_mfu": (0, 1, "linear"),
        "energy": (1000, 0.001, "log"),
    }
    assert all(len(axis.reason) > 40 for axis in AXES.values())


@pytest.mark.parametrize(
    ("axis", "value", "share"),
    [
        ("cost", 1000, 0.0),
        ("cost", 0.01, 1.0),
        ("cost", 1.0, 3 / 5),  # three of the five decades down from $1000
        ("performance", 0.1, 0.0),
        ("performance", 100, 3 / 6),
        ("ttft", 1.0, 2 / 4),
        ("energy", 1.0, 3 / 6),
        ("accuracy", 0.46, 0.46),
        ("s_mbu", 0.25, 0.25),
    ],
)
def test_a_value_lies_in_proportion_between_the_bounds(axis, value, share):
    found = place(AXES[axis], _value(value))
    assert found.share == pytest.approx(share)
    assert not found.beyond


@pytest.mark.parametrize(
    ("axis", "value", "share"),
    [("cost", 5000, 0.0), ("cost", 0.0, 1.0), ("performance", 0.0, 0.0), ("s_mfu", 1.2, 1.0), ("ttft", 1e-9, 1.0)],
)
def test_a_value_outside_the_bounds_is_drawn_at_the_nearest_and_marked(axis, value, share):
    found = place(AXES[axis], _value(value))
    assert (found.share, found.beyond) == (share, True)


def test_outer_is_better_on_every_axis():
    better = {"cost": (2, 1), "ttft": (2, 1), "energy": (2, 1)}
    for key, axis in AXES.items():
        worse, good = better.get(key, (0.2, 0.4))
        assert place(axis, _value(good)).share > place(axis, _value(worse)).share


def test_an_axis_without_a_value_is_not_zero():
    found = place(AXES["energy"], absent("J/token", "no counter"))
    assert found.share is None
    assert found.metric.reason == "no counter"


def test_accuracy_is_the_mean_of_the_tasks_that_were_asked_for():
    metrics = {"accuracy.a": measured(0.4, "1", 50), "accuracy.b": measured(0.6, "1", 10)}
    axis = AXES["accuracy"]
    assert axis_metric(axis, metrics, ("a",)) == metrics["accuracy.a"]
    both = axis_metric(axis, metrics, ("a", "b"))
    assert (both.value, both.n) == (pytest.approx(0.5), 60)
    assert axis_metric(axis, metrics, ()).reason == "no accuracy task was run"
    assert axis_metric(axis, metrics, ("a", "c")).reason == "an accuracy task did not finish"


def _three(performance, accuracy, cost):
    shares = {"performance": performance, "accuracy": accuracy, "cost": cost}
    return tuple(
        Place(AXES[key], absent("1", "none") if share is None else _value(0.5), share, False)
        for key, share in shares.items()
    )


@pytest.mark.parametrize(
    ("performance", "accuracy", "cost", "label", "reason"),
    [
        (0.8, 0.7, 0.3, "PA", "cost stands nearest"),
        (0.8, 0.3, 0.7, "PC", "accuracy stands nearest"),
        (0.3, 0.7, 0.8, "CA", "performance stands nearest"),
        (0.8, 0.8, 0.3, "PA", "cost stands nearest"),  # a tie at the top does not matter
        (0.9, 0.40, 0.44, None, "(accuracy 0.40, cost 0.44) are within 0.05"),
        (0.9, 0.40, 0.46, "PC", "accuracy stands nearest"),
        (0.5, 0.5, 0.5, None, "within 0.05"),
        (0.8, None, 0.3, None, "no value for accuracy"),
        (None, 0.5, None, None, "no value for performance and cost"),
    ],
)
def test_the_label_takes_away_the_lowest_of_the_three(performance, accuracy, cost, label, reason):
    found = cap_label(_three(performance, accuracy, cost))
    assert found.text == label
    assert reason in found.reason


def test_points_of_the_radar_lie_on_regular_spokes_with_accuracy_on_top():
    x, y = point(1, 7, 1.0)
    assert (x, y) == pytest.approx((CENTRE[0], CENTRE[1] - RADIUS))
    x, y = point(2, 7, 0.5)
    angle = 2 * math.pi / 7
    assert x == pytest.approx(CENTRE[0] + RADIUS / 2 * math.sin(angle))
    assert y == pytest.approx(CENTRE[1] - RADIUS / 2 * math.cos(angle))


def test_the_figure_prints_every_normalisation_and_leaves_a_gap_for_what_is_missing():
    metrics = {
        "cost_per_million_output_tokens": measured(1.0, "USD/1e6 tokens", 1),
        "accuracy.quiz": measured(0.5, "1", 1),
        "output_tokens_per_second_per_device": measured(100, "tokens/s", 1),
        "ttft.p50": absent("s", "no request"),
        "decode.s_mbu": measured(0.25, "1", 1),
        "all.s_mfu": measured(0.1, "1", 1),
        "energy_per_output_token": absent("J/token", "no counter"),
    }
    drawn = ElementTree.fromstring(radar([("A", "measured", places(metrics, ("quiz",)))]))
    text = " ".join(drawn.itertext())
    for axis in AXES.values():
        assert f"{axis.from_text} → {axis.to_text}" in text
    assert text.count("no value") >= 2
    marks = {c.attrib["data-axis"]: c for c in drawn.iter("circle")}
    assert set(marks) == {"cost", "accuracy", "performance", "s_mbu", "s_mfu"}
    # cost is axis 0 of 7, three fifths of the way out
    x, y = point(0, 7, 0.6)
    assert (float(marks["cost"].attrib["cx"]), float(marks["cost"].attrib["cy"])) == pytest.approx((x, y), abs=0.01)
    # sides join neighbours only: cost-accuracy, accuracy-performance, S-MBU-S-MFU
    assert sum(1 for line in drawn.iter("line") if line.attrib["class"] == "edge") == 3
    assert sum(1 for line in drawn.iter("line") if line.attrib["class"] == "spoke absent") == 2
