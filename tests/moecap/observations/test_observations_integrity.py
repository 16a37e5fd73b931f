"""Observations that contradict themselves or each other are refused in one line that names the file."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.observations.schema import TABLES, Phase

LAYERS, EXPERTS = 2, 4


def _record(recorder, prompts, answers):
    """A static batch on a clock that ticks once a step."""
    records = [recorder.send(f"p-{i}", n, m, 0) for i, (n, m) in enumerate(zip(prompts, answers, strict=True))]
    rows = list(zip(records, prompts, answers, strict=True))
    for step in range(max(answers)):
        active = [(r, n) for r, n, m in rows if step < m]
        new = [1 if step else n for _, n in active]
        recorder.step(
            start_ns=10 * step,
            duration_ns=10,
            seq_request=[r.request for r, _ in active],
            seq_start=[n + step - 1 if step else 0 for _, n in active],
            seq_new=new,
            phase=Phase.DECODE if step else Phase.PREFILL,
            logits_tokens=len(active),
            experts=np.zeros((sum(new), LAYERS, 1), int),
            num_experts=EXPERTS,
        )
        for r, _ in active:
            recorder.chunk(r.request, 10 * step + 10, step + 1)
            r.output_tokens = step + 1
    for r, _, m in rows:
        r.complete(range(m), 10 * m)


@pytest.fixture
def directory(tmp_path):
    """Two requests of 3 and 2 tokens in, 2 and 3 out: steps of 5, 2 and 1 tokens."""
    recorder = Recorder(stage="load", capture="test")
    _record(recorder, [3, 2], [2, 3])
    recorder.write(tmp_path)
    read_observations(tmp_path)
    return tmp_path


def _change(path, column, change):
    table = pq.read_table(path)
    index = table.schema.get_field_index(column)
    field = table.schema.field(index)
    values = table[column].to_pylist()
    pq.write_table(table.set_column(index, field, pa.array(change(values), field.type)), path)


def _first(value):
    return lambda values: [value, *values[1:]]


@pytest.mark.parametrize(
    ("name", "column", "change", "problem"),
    [
        ("steps", "seq_new", _first([3, None]), "a list of seq_new has an empty entry"),
        ("steps", "distinct_experts", _first([1, None]), "a list of distinct_experts has an empty entry"),
        ("steps", "seq_phase", _first([0, 3]), "unknown phase; known: 0 prefill, 1 decode, 2 score"),
        ("steps", "seq_phase", _first([0, -1]), "unknown phase"),
        ("steps", "logits_tokens", _first(-1), "logits_tokens is negative or larger than the tokens"),
        ("steps", "logits_tokens", _first(6), "logits_tokens is negative or larger than the tokens"),
        ("steps", "step", _first(1), "not numbered"),
        ("steps", "seq_request", _first([0, 7]), "feeds request 7, which requests.parquet does not have"),
        ("steps", "seq_request", _first([0, 1, 1]), "lists of different lengths"),
        ("steps", "seq_new", _first([3, 1]), "1 prompt tokens are fed to request 1, by requests.parquet it is 2"),
        ("steps", "seq_new", _first([4, 1]), "4 prompt tokens are fed to request 0, by requests.parquet it is 3"),
        ("steps", "seq_phase", _first([0, 1]), "0 prompt tokens are fed to request 1"),
        ("steps", "seq_request", lambda v: [*v[:2], [0]], "1 answer tokens are fed to request 1, .* it is 2"),
        ("steps", "stage", _first("warmup"), "feeds request 0 in another stage than its own"),
        ("steps", "stage", _first("elsewhere"), "unknown stage"),
        ("requests", "request", lambda _: [0, 0], "request 0 is there twice"),
        ("requests", "status", _first("fine"), "unknown status 'fine'"),
        ("requests", "stage", _first("fine"), "unknown stage 'fine'"),
        ("chunks", "request", _first(9), "a chunk of request 9, which requests.parquet does not have"),
        ("chunks", "tokens", _first(3), "the tokens so far of request 0 fall"),
        ("chunks", "tokens", _first(-1), "the tokens so far of request 0 fall"),
    ],
)
def test_what_cannot_have_been_is_refused(directory, name, column, change, problem):
    _change(directory / f"{name}.parquet", column, change)
    with pytest.raises(BadInputError, match=rf"^{name}\.parquet: .*{problem}") as caught:
        read_observations(directory)
    assert "\n" not in str(caught.value)


def test_unknown_counts_of_tokens_are_no_contradiction(directory):
    _change(directory / "chunks.parquet", "tokens", lambda values: [None, *values[1:]])
    assert read_observations(directory).chunks["tokens"].isna().sum() == 1


def test_a_step_of_no_stage_is_refused(directory):
    path = directory / "steps.parquet"
    table = pq.read_table(path)
    index = table.schema.get_field_index("stage")
    pq.write_table(table.set_column(index, pa.field("stage", pa.string()), pa.array(["load", None, "load"])), path)
    with pytest.raises(BadInputError, match=r"^steps\.parquet does not have the columns of its schema"):
        read_observations(directory)


def test_a_request_that_did_not_complete_may_have_been_fed_less_and_never_more(directory):
    path = directory / "requests.parquet"
    _change(path, "input_tokens", lambda _: [3, 4])
    _change(path, "status", lambda _: ["completed", "failed"])
    read_observations(directory)
    _change(path, "input_tokens", lambda _: [3, 1])
    with pytest.raises(BadInputError, match="2 prompt tokens are fed to request 1, "):
        read_observations(directory)


def test_tokens_that_a_prefix_cache_served_are_not_fed(directory):
    path = directory / "requests.parquet"
    _change(path, "input_tokens", lambda _: [3, 6])
    _change(path, "cached_tokens", lambda _: [None, 4])
    read_observations(directory)
    _change(path, "cached_tokens", lambda _: [None, 3])
    with pytest.raises(BadInputError, match="2 prompt tokens are fed to request 1, "):
        read_observations(directory)


def test_each_of_several_choices_is_fed_the_prompt(directory):
    path = directory / "requests.parquet"
    _change(path, "input_tokens", lambda _: [3, 1])
    _change(path, "choices", lambda _: [None, 2])
    read_observations(directory)
    _change(path, "choices", lambda _: [None, 3])
    with pytest.raises(BadInputError, match="2 prompt tokens are fed to request 1, by"):
        read_observations(directory)


def test_an_engine_without_steps_contradicts_nothing(directory):
    pq.write_table(TABLES["steps.parquet"].empty_table(), directory / "steps.parquet")
    (directory / "routing.npz").unlink()
    assert len(read_observations(directory).steps) == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda experts, step: (experts[1:], step[1:]), "does not have the tokens of each step"),
        (lambda experts, step: (experts, np.roll(step, 1)), None),
        (lambda experts, step: (experts, np.where(step == 2, 1, step)), "does not have the tokens of each step"),
        (lambda experts, step: (experts, step + 1), "names steps that steps.parquet does not have"),
        (lambda experts, step: (experts, step - 1), "names steps that steps.parquet does not have"),
        (lambda experts, step: (experts[:, 0], step), "wrong shape or type"),
        (lambda experts, step: (experts, step.astype(float)), "wrong shape or type"),
    ],
)
def test_routed_experts_are_those_of_each_token_of_each_step(directory, change, problem):
    with np.load(directory / "routing.npz") as data:
        experts, step = change(data["experts"], data["token_step"])
    np.savez(directory / "routing.npz", experts=experts, token_step=step, capture=np.array("test"))
    if problem is None:
        read_observations(directory)
        return
    with pytest.raises(BadInputError, match=rf"^routing\.npz .*{problem}"):
        read_observations(directory)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda experts, request, position: (experts, request, position), None),
        (lambda experts, request, position: (experts[:5], request[:5], position[:5]), None),
        (lambda experts, request, position: (experts, request + 1, position), "request 2, which requests.parquet"),
        (lambda experts, request, position: (experts, request, position * 0), "a token of a request twice"),
        (lambda experts, request, position: (experts, request, position + 2), "position 5 of request 0, which has 5"),
        (lambda experts, request, position: (experts, request, position - 1), "position -1 of request 0, which has 5"),
        (
            lambda experts, request, position: (experts, request, np.full(8, 2**63, np.uint64)),
            "position 9223372036854775808 of request 0, which has 5",
        ),
        (lambda experts, request, position: (experts.astype(int) - 1, request, position), "names expert -1"),
        (lambda experts, request, position: (experts[:, 0], request, position), "wrong shape or type"),
        (lambda experts, request, position: (experts, request, position.astype(float)), "wrong shape or type"),
    ],
)
def test_routed_experts_of_requests_are_those_of_their_tokens_each_once(directory, change, problem):
    """Requests of 3 + 2 and 2 + 3 tokens, of which the last one is never fed."""
    pq.write_table(TABLES["steps.parquet"].empty_table(), directory / "steps.parquet")
    experts, request = np.zeros((8, LAYERS, 1), np.uint8), np.repeat([0, 1], 4)
    arrays = dict(
        zip(
            ("experts", "token_request", "token_position"),
            change(experts, request, np.tile(np.arange(4), 2)),
            strict=True,
        )
    )
    np.savez(directory / "routing.npz", **arrays, capture=np.array("test"))
    if problem is None:
        read_observations(directory)
        return
    with pytest.raises(BadInputError, match=rf"^routing\.npz .*{problem}"):
        read_observations(directory)


def test_a_table_of_an_older_version_lacks_what_that_did_not_observe(directory):
    path = directory / "requests.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["answer_sha256", "first_token_ns"]), path)
    requests = read_observations(directory).requests
    assert list(requests.columns) == TABLES["requests.parquet"].names
    assert requests[["answer_sha256", "first_token_ns"]].isna().all(axis=None)
    assert requests["output_tokens"].tolist() == [2, 3]


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["status"]),
        lambda table: table.append_column("mood", pa.array(["good", "bad"])),
    ],
)
def test_a_table_that_lacks_what_is_needed_or_has_more_than_is_known_is_refused(directory, change):
    path = directory / "requests.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(BadInputError, match=r"^requests\.parquet does not have the columns of its schema"):
        read_observations(directory)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=4), st.data())
@settings(max_examples=40, deadline=None)
def test_no_fed_token_can_be_moved_or_added_in_prefill(tmp_path_factory, lengths, data):
    folder = tmp_path_factory.mktemp("batch")
    recorder = Recorder(stage="load", capture="test")
    _record(recorder, *map(list, zip(*lengths, strict=True)))
    recorder.write(folder)
    steps = read_observations(folder).steps
    assert steps.tokens().sum() == sum(n + m - 1 for n, m in lengths)
    which, change = data.draw(st.integers(0, len(lengths) - 1)), data.draw(st.sampled_from([-1, 1, 5]))
    (folder / "routing.npz").unlink()
    _change(
        folder / "steps.parquet",
        "seq_new",
        lambda rows: [[n + change * (i == which) for i, n in enumerate(rows[0])], *rows[1:]],
    )
    with pytest.raises(BadInputError, match=r"^steps\.parquet: "):
        read_observations(folder)
