"""Which loads of a search are in its curve, and what is said of those with nearly the most output."""

import pytest

from moecap.metrics.value import measured
from moecap.result import Flag, Result
from moecap.search.asked import make_search
from moecap.search.attainment import Attainment
from moecap.search.levels import Level
from moecap.search.local import Found
from moecap.search.points import Point, frontier
from moecap.search.record import verdict


def _point(load, output, tpot=0.01, *, holds=True, status="complete", saturated=False, invalid=False):
    metrics = {"output_tokens_per_second": output, "output_tokens_per_second_per_device": output, "tpot.p50": tpot}
    flags = (Flag(name="client_limit", level="invalid", text="the client was late"),) if invalid else ()
    result = Result.model_construct(
        kind="measured", metrics={name: measured(value, "1", 9) for name, value in metrics.items()}, flags=flags
    )
    kept = (Attainment(Level("ttft", 99.0, 1.0), 9, 9, 1.0, 1.0),)
    return Point(load, f"run-{load}", status, holds, "", kept, saturated, result)


def test_a_load_that_is_invalid_or_did_not_end_is_in_no_curve_however_fast_it_looks():
    sound = [_point(1, 100, 0.01), _point(2, 150, 0.02, holds=False)]
    unsound = [
        _point(4, 900, 0.001, holds=False, invalid=True),
        _point(8, 900, 0.001, holds=False, status="interrupted"),
        _point(16, 900, 0.001, holds=False, saturated=True),
    ]
    assert [point.load for point in frontier(sound + unsound)] == [2, 1]


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ([_point(15.6, 156), _point(16, 160)], False),  # as much more output as load: nothing waits
        ([_point(8, 157), _point(16, 160)], True),
        ([_point(8, 157), _point(16, 160), _point(32, 320, holds=False, invalid=True)], True),
    ],
)
def test_more_load_only_waits_where_it_adds_less_output_than_load(points, told):
    measures = {"start": None, "most": None, "resolution": 0.05, "per_slot": 10, "seconds": 30.0, "margin": False}
    search = make_search("ttft=1s", "rate", {"model": "mixtral", "output": "s"}, (), **measures)
    lines = list(verdict(Found(search, tuple(points))))
    assert any("on more load adds less than 5% of output" in line for line in lines) == told
