"""Parquet files of honest runs are read however well they pack; footers that no writer makes are refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moecap.observations.schema import STEPS
from moecap.packed_files import read_arrays, read_table
from moecap.parquet_footer import column_parts


def _decoding_in_step(batch, steps):
    """Steps of a batch whose sequences are all at the same place of their answers of 1024 tokens."""
    step = np.arange(steps, dtype=np.int32)

    def lists(values):
        return pa.ListArray.from_arrays(np.arange(steps + 1, dtype=np.int32) * batch, values)

    request = (step[:, None] // 1024 * batch + np.arange(batch, dtype=np.int32)).ravel()
    columns = {
        "step": step,
        "stage": pa.array(["load"]).take(pa.array(np.zeros(steps, np.int8))),
        "start_ns": step.astype(np.int64) * 20_000_000,
        "duration_ns": np.random.default_rng(0).integers(19_000_000, 20_000_000, steps),
        "seq_request": lists(request),
        "seq_start": lists(np.repeat(128 + step % 1024, batch)),
        "seq_new": lists(np.ones(steps * batch, np.int32)),
        "seq_phase": lists(np.ones(steps * batch, np.int8)),
        "logits_tokens": np.full(steps, batch, np.int32),
        "distinct_experts": pa.ListArray.from_arrays([*step.tolist(), steps], np.full(steps, 8, np.int32)),
    }
    return pa.table(columns).cast(STEPS)


def test_steps_of_sequences_that_decode_together_are_read(tmp_path):
    path = tmp_path / "steps.parquet"
    steps = 20 * 1024
    pq.write_table(_decoding_in_step(512, steps), path, compression="zstd")
    unpacked = 4 * 512 * steps * 4
    assert unpacked > 150_000_000
    assert unpacked > 100 * path.stat().st_size
    assert read_table(path)["seq_start"].chunk(0).flatten()[-1].as_py() == 128 + 1023


def test_routes_of_one_answer_many_times_are_read(tmp_path):
    path = tmp_path / "routing.npz"
    tokens, times = 1200, 256
    one = np.random.default_rng(0).integers(0, 256, (tokens, 1, 58, 8), np.uint8)
    np.savez_compressed(path, experts=np.broadcast_to(one, (tokens, times, 58, 8)).reshape(-1, 58, 8))
    assert tokens * times * 58 * 8 > 140_000_000
    assert tokens * times * 58 * 8 > 60 * path.stat().st_size
    assert (read_arrays(path)["experts"][::times] == one[:, 0]).all()


def test_texts_at_any_depth_are_read_as_they_were_written(tmp_path):
    texts = ["a", "é", "", None, "a"]
    table = pa.table(
        {
            "a.b": texts,
            "large": pa.array(texts, pa.large_string()),
            "list": [[text] for text in texts[:4]] + [None],
            "large list": pa.array([[text] for text in texts], pa.large_list(pa.string())),
            "struct": [{"x": text, "y": [{"z": text}]} for text in texts],
            "map": pa.array([[("k", text)] for text in texts], pa.map_(pa.string(), pa.string())),
            "dictionary": pa.array(texts).dictionary_encode(),
            "binary": [b"\xff", b"", None, b"a", b"a"],
        }
    )
    path = tmp_path / "table.parquet"
    for rows in (2, 5):
        pq.write_table(table, path, row_group_size=rows)
        assert read_table(path).to_pylist() == table.to_pylist()


def test_long_texts_in_lists_are_read_though_their_writer_gave_up_its_dictionary(tmp_path):
    draw = np.random.default_rng(0)
    table = pa.table({"choices": [[draw.bytes(300).hex() for _ in range(4)] for _ in range(3000)]})
    path = tmp_path / "table.parquet"
    pq.write_table(table, path, row_group_size=1000, dictionary_pagesize_limit=100_000)
    assert read_table(path).equals(table)


def test_a_number_of_a_footer_that_does_not_end_is_refused(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3]}), path)
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    data, footer = content[: -8 - length], content[-8 - length : -8]
    assert [(part.path, part.values) for part in column_parts(path)] == [(("a",), 3)]
    assert footer[0] == 0x15  # the file's version, which comes first
    assert footer[1] < 128
    footer = footer[:1] + bytes([footer[1] | 128]) + b"\x80" * 20 + b"\x00" + footer[2:]
    path.write_bytes(data + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(ValueError, match="its footer is damaged"):
        column_parts(path)
