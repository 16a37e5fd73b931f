"""What the recorder writes is what the reader gives back, and what does not fit is refused in one line."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder, distinct_experts
from moecap.observations.schema import OPTIONAL_TABLES, PEAKS, TABLES, Phase

EXPERTS = np.array([[[0, 1], [2, 3]], [[0, 2], [2, 3]]])


@pytest.fixture
def recorder():
    recorder = Recorder(stage="load", capture="test")
    record = recorder.send("p-0", 2, 3, 100)
    recorder.step(
        start_ns=110,
        duration_ns=50,
        seq_request=[0],
        seq_start=[0],
        seq_new=[2],
        phase=Phase.PREFILL,
        logits_tokens=1,
        experts=EXPERTS,
        num_experts=4,
    )
    recorder.chunk(0, 170, 1)
    record.first_token_ns = record.last_token_ns = record.ended_ns = 170
    record.output_tokens, record.status = 1, "completed"
    recorder.telemetry((100, 5, 0.1, 0.2, 0.2, 0.3, 2, 1.5, 0.2, 0.3, None, None))
    recorder.peak(90, "before", "numpy.max", 3e10)
    recorder.samples.append({"task": "t", "scores": {"accuracy": 1}})
    return recorder


def test_what_was_recorded_is_read_back(recorder, tmp_path):
    written = recorder.write(tmp_path)
    assert sorted(written) == sorted(p.name for p in tmp_path.iterdir())
    back = read_observations(tmp_path)
    assert back.requests.loc[0, ["sent_ns", "first_token_ns", "output_tokens", "status"]].tolist() == [
        100,
        170,
        1,
        "completed",
    ]
    assert back.chunks.iloc[0, :4].tolist() == [0, 170, 1, "content"]
    assert back.chunks["choice"].isna().all()
    assert back.requests[["session", "turn", "wait_ns"]].isna().all(axis=None)
    assert back.steps.distinct_experts.values.tolist() == [3, 2]
    assert back.steps.seq_new.values.tolist() == [2]
    assert (back.routing.experts == EXPERTS).all()
    assert back.routing.token_step.tolist() == [0, 0]
    assert back.routing.capture == "test"
    assert back.samples == ({"task": "t", "scores": {"accuracy": 1}},)
    assert back.telemetry.loc[0, "rss_bytes"] == 5
    assert back.peaks.iloc[0].tolist() == [90, "before", "numpy.max", 3e10]


def test_a_run_that_observed_nothing_still_leaves_readable_files(tmp_path):
    Recorder().write(tmp_path)
    back = read_observations(tmp_path)
    assert len(back.steps) == len(back.requests) == 0
    assert back.routing is None
    assert len(back.peaks) == 0
    assert not (tmp_path / "peaks.parquet").exists()


@given(st.integers(1, 6), st.integers(1, 4), st.integers(2, 9), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_distinct_experts_are_those_of_a_plain_set(tokens, layers, experts, random):
    chosen = np.array([[random.sample(range(experts), 2) for _ in range(layers)] for _ in range(tokens)])
    expected = [len({int(e) for e in chosen[:, layer].ravel()}) for layer in range(layers)]
    assert distinct_experts(chosen, experts).tolist() == expected
    # ids beyond the experts with weights are of those that compute nothing
    kept = [len({int(e) for e in chosen[:, layer].ravel()} - {experts - 1}) for layer in range(layers)]
    assert distinct_experts(chosen, experts - 1).tolist() == kept


@pytest.mark.parametrize("name", list(TABLES))
def test_a_missing_or_broken_table_is_named(recorder, tmp_path, name):
    recorder.write(tmp_path)
    (tmp_path / name).write_bytes(b"PAR1 this is not Parquet PAR1")
    with pytest.raises(BadInputError, match=f"^{name} cannot be read as Parquet"):
        read_observations(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BadInputError, match=f"^{name} is missing"):
        read_observations(tmp_path)


def test_a_table_with_other_columns_is_refused(recorder, tmp_path):
    recorder.write(tmp_path)
    pq.write_table(pa.table({"step": [1]}), tmp_path / "steps.parquet")
    with pytest.raises(BadInputError, match=r"steps\.parquet does not have the columns"):
        read_observations(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("duration_ns", 0, "zero or negative time"),
        ("duration_ns", -5, "zero or negative time"),
        ("seq_new", [0], "no new token"),
        ("seq_new", [1, 1], "lists of different lengths"),
        ("seq_start", [-1], "negative start"),
        ("stage", "elsewhere", "unknown stage"),
    ],
)
def test_impossible_steps_are_refused(recorder, tmp_path, column, value, problem):
    recorder.write(tmp_path)
    path = tmp_path / "steps.parquet"
    table = pq.read_table(path)
    index = table.schema.get_field_index(column)
    field = table.schema.field(index)
    pq.write_table(table.set_column(index, field, pa.array([value], field.type)), path)
    with pytest.raises(BadInputError, match=problem):
        read_observations(tmp_path)


def test_a_step_without_a_sequence_is_refused(recorder, tmp_path):
    recorder.write(tmp_path)
    path = tmp_path / "steps.parquet"
    table = pq.read_table(path)
    for column in ("seq_request", "seq_start", "seq_new", "seq_phase"):
        index = table.schema.get_field_index(column)
        field = table.schema.field(index)
        table = table.set_column(index, field, pa.array([[]], field.type))
    pq.write_table(table, path)
    with pytest.raises(BadInputError, match="a step has no sequence"):
        read_observations(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x93NUMPY"])
def test_a_broken_routing_file_is_refused(recorder, tmp_path, content):
    recorder.write(tmp_path)
    (tmp_path / "routing.npz").write_bytes(content)
    with pytest.raises(BadInputError, match=r"^routing\.npz cannot be read"):
        read_observations(tmp_path)


def test_a_pickled_array_is_never_loaded(recorder, tmp_path):
    recorder.write(tmp_path)
    with (tmp_path / "routing.npz").open("wb") as file:
        np.savez(file, experts=np.array([{}], object), token_step=np.zeros(1, np.int32), capture=np.array("x"))
    with pytest.raises(BadInputError, match=r"^routing\.npz cannot be read"):
        read_observations(tmp_path)


def test_a_broken_sample_is_named_by_its_line(recorder, tmp_path):
    recorder.write(tmp_path)
    with (tmp_path / "samples.jsonl").open("a") as file:
        file.write("{\n")
    with pytest.raises(BadInputError, match=r"samples\.jsonl line 2 is not JSON"):
        read_observations(tmp_path)


def test_samples_hold_no_nan(recorder, tmp_path):
    recorder.samples.append({"task": "t", "value": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        recorder.write(tmp_path)
    assert not (tmp_path / "samples.jsonl").exists()
    assert not list(tmp_path.glob(".samples*"))


def test_telemetry_of_a_version_that_did_not_know_the_processors_is_read(recorder, tmp_path):
    recorder.write(tmp_path)
    path = tmp_path / "telemetry.parquet"
    old = ["time_ns", "rss_bytes", "cpu_seconds", "machine_cpu_seconds", "load_average", "steal_seconds"]
    pq.write_table(pq.read_table(path, columns=[*old, "power_watts", "energy_joules"]), path)
    (tmp_path / "peaks.parquet").unlink()
    back = read_observations(tmp_path)
    assert back.telemetry.loc[0, "rss_bytes"] == 5
    assert back.telemetry["processors_busy_seconds"].isna().all()
    assert back.peaks.empty


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([(1, "before", "k", 1.0), (2, "before", "k", 1.0)], "come once"),
        ([(1, "during", "k", 1.0)], "one of before, after"),
        ([(1, "after", "k", 0.0)], "not above zero"),
        ([(1, "after", "k", float("nan"))], "not above zero"),
    ],
)
def test_impossible_checks_of_the_bandwidth_are_refused(recorder, tmp_path, rows, problem):
    recorder.write(tmp_path)
    columns = [list(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(dict(zip(PEAKS.names, columns, strict=True)), schema=PEAKS), tmp_path / "peaks.parquet")
    with pytest.raises(BadInputError, match=rf"^peaks\.parquet.*{problem}"):
        read_observations(tmp_path)


def test_every_column_is_described():
    for schema in (TABLES | OPTIONAL_TABLES).values():
        assert all(field.metadata[b"description"] for field in schema)


def test_samples_are_one_json_object_a_line(recorder, tmp_path):
    recorder.write(tmp_path)
    assert [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()] == recorder.samples
