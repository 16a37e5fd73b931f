"""A memory bandwidth that moved since the probe is said with both figures and the way in which S-MBU errs."""

import pytest

from moecap.hardware.registry import load_profile
from moecap.metrics.value import absent, measured
from moecap.runner.flags import _peak_flags

PROFILE = load_profile("h100")


def _metrics(before, after, probed=40e9):
    metrics = {}
    for moment, rate in (("before", before), ("after", after)):
        known = rate is not None
        metrics[f"peak_bandwidth_{moment}"] = measured(rate, "B/s", 1) if known else absent("B/s", "none")
        metrics[f"peak_change_{moment}"] = measured(rate / probed - 1, "1", 1) if known else absent("1", "none")
    return metrics


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (30e9, 38e9, ["30.0 GB/s before the load (-25%)", "38.0 GB/s after it (-5%)", "understated"]),
        (38e9, 48e9, ["48.0 GB/s after it (+20%)", "overstated"]),
        (30e9, 50e9, ["(-25%)", "(+25%)", "either way"]),
        (30e9, None, ["30.0 GB/s before the load (-25%).", "understated"]),
    ],
)
def test_a_change_of_more_than_15_percent_is_flagged(before, after, words):
    (flag,) = _peak_flags(PROFILE, _metrics(before, after))
    assert (flag.name, flag.level) == ("peak_moved", "warning")
    for word in [*words, f"{PROFILE.peak_bandwidth.value / 1e9:.1f} GB/s"]:
        assert word in flag.text


@pytest.mark.parametrize(("before", "after"), [(35e9, 45e9), (None, None), (40e9, None)])
def test_a_bandwidth_that_stayed_or_was_not_checked_is_not(before, after):
    assert list(_peak_flags(PROFILE, _metrics(before, after))) == []
