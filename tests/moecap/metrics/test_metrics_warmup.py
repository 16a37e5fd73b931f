"""A warm-up is steady when the median decode steps of its last two batches agree, by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from moecap.metrics.warmup import ended_steady, is_steady
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.observations.schema import Phase


@pytest.mark.parametrize(
    ("batches", "steady"),
    [
        ([[900, 100, 100, 100]], False),  # one batch agrees with nothing
        ([[900, 100, 100, 100], [500, 104, 104, 104]], True),  # 4 % more; prefills of 900 and 500 do not count
        ([[900, 100, 100, 100], [900, 106, 106, 106]], False),
        ([[900, 100, 104, 999], [900, 104, 104, 104]], True),  # the median of 100, 104, 999 is 104
        ([[10, 50], [10, 100], [10, 100]], True),
        ([[10, 100], [10, 100], [10, 50]], False),  # only the last two count
        ([[100], [103]], True),  # one-token answers: prefill is all there is
        ([[900, 100], []], False),
        ([[], [900, 100]], False),
        ([], False),
    ],
)
def test_the_last_two_medians_agree_within_the_tolerance(batches, steady):
    assert is_steady(batches, 0.05) is steady


def _run(tmp_path, batches, load=True):
    """A stored run whose warm-up batches are of two requests and have these step durations."""
    recorder = Recorder()
    for durations in batches:
        sent = [recorder.send("p", 4, len(durations), 0) for _ in range(2)]
        for i, duration in enumerate(durations):
            recorder.step(
                start_ns=0,
                duration_ns=duration,
                seq_request=[r.request for r in sent],
                seq_start=[4 + i - 1 if i else 0] * 2,
                seq_new=[1 if i else 4] * 2,
                phase=Phase.DECODE if i else Phase.PREFILL,
                logits_tokens=2,
                experts=None,
                num_experts=0,
            )
        for record in sent:
            record.complete(range(len(durations)), 1)
    recorder.stage = "load"
    if load:
        recorder.send("p", 4, 3, 0)
    recorder.write(tmp_path)
    return read_observations(tmp_path)


@pytest.mark.parametrize(
    ("last", "steady"),
    [([900, 104, 104], True), ([900, 110, 110], False)],
)
def test_a_stored_warm_up_is_judged_batch_by_batch(tmp_path, last, steady):
    observations = _run(tmp_path, [[900, 300, 300], [900, 100, 100], last])
    assert ended_steady(observations, 2, 0.05) is steady


def test_a_warm_up_after_which_nothing_was_sent_did_not_end(tmp_path):
    assert ended_steady(_run(tmp_path, [[900, 100], [900, 100]], load=False), 2, 0.05) is None


def test_a_warm_up_without_steps_is_not_steady():
    requests = pd.DataFrame({"request": [0, 1, 2], "stage": ["warmup", "warmup", "load"]})
    none = np.empty(0, np.int64)
    column = SimpleNamespace(values=none, offsets=np.zeros(1, np.int64))
    steps = SimpleNamespace(stage=np.empty(0, "U6"), duration_ns=none, seq_request=column)
    chunks = pd.DataFrame({"request": [], "time_ns": []}, dtype=np.int64)
    assert ended_steady(SimpleNamespace(requests=requests, steps=steps, chunks=chunks), 1, 0.05) is False


@pytest.mark.parametrize(("last", "steady"), [(104, True), (120, False)])
def test_a_warm_up_without_steps_is_judged_by_the_gaps_between_chunks(last, steady):
    requests = pd.DataFrame({"request": [0, 1, 2, 3, 4], "stage": ["warmup"] * 4 + ["load"]})
    none = np.empty(0, np.int64)
    column = SimpleNamespace(values=none, offsets=np.zeros(1, np.int64))
    steps = SimpleNamespace(stage=np.empty(0, "U6"), duration_ns=none, seq_request=column)
    rows = [(r, 1000 * r + gap * i) for r, gap in ((0, 100), (1, 100), (2, last), (3, last)) for i in range(5)]
    chunks = pd.DataFrame(rows, columns=["request", "time_ns"]).sort_values("time_ns")
    assert ended_steady(SimpleNamespace(requests=requests, steps=steps, chunks=chunks), 2, 0.05) is steady
