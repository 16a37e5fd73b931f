"""What a fuzzer guided by coverage has found (``benchmarks/fuzz_parsers.py``): each is refused in one line."""

from __future__ import annotations

import base64
import io
import zipfile

import numpy as np
import pyarrow as pa
import pytest

from moecap.data.mnist import load_mnist
from moecap.data.published import ROWS_AT_ONCE, arrow_rows
from moecap.errors import BadInputError, RunError
from moecap.packed_files import read_array
from moecap_backends.llamacpp_passes import _passes
from moecap_leaderboard.dropped import read_dropped

UNKNOWN_TYPE = base64.b64decode(
    "/////6AAAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAIAAABAAAAABAAAANj///8AAAELEAAA"
    "ABgAAAAEAAAAAAAAAAYAAABhbnN3ZXIAAMT///8QABQACAAGAAcADAAAABAAEAAAAAAAAQUQAAAAIAAAAAQAAAAAAAAACAAAAHF1"
    "ZXN0aW9uAAAAAAQABAAEAAAA/////9gAAAAUAAAAAAAAAAwAFgAGAAUACAAMAAwAAAAAAwQAGAAAADQAAAAAAAAAAAAKABgADAAE"
    "AAgACgAAAHwAAAAQAAAAAgAAAAAAAAAAAAAABgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwAAAAAAAAAEAAAAAAAAAAIAAAA"
    "AAAAABgAAAAAAAAAAAAAAAAAAAAYAAAAAAAAAAwAAAAAAAAAKAAAAAAAAAAMAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAAAAAAAA"
    "AAIAAAAAAAAAAAAAAAAAAAAAAAAABAAAAAgAAAAAAAAAMSsxPzIrMj8AAAAABgAAAAwAAAAjIyMjIDIjIyMjIDQAAAAA/////wAA"
    "AAA="
)
"""A stream with a column of a type that PyArrow has no class for."""


def _stream(batch):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _npy(head):
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(UNKNOWN_TYPE, id="a type that is not known"),
        pytest.param(
            _stream(pa.record_batch({"caf\u00e9": [1]})).replace("\u00e9".encode(), b"\xff\xfe"), id="a name of no text"
        ),
        pytest.param(
            _stream(pa.RecordBatch.from_struct_array(pa.array([{}] * 2_100_000, pa.struct([])))),
            id="rows without columns",
        ),
    ],
)
def test_arrow_streams(content, tmp_path):
    path = tmp_path / "p.arrow"
    path.write_bytes(content)
    with pytest.raises(BadInputError) as raised:
        for _ in arrow_rows(path):
            pass
    assert "\n" not in str(raised.value)


def test_rows_of_an_arrow_stream_are_numbered_across_parts(tmp_path):
    path, count = tmp_path / "p.arrow", 2 * ROWS_AT_ONCE + 3
    path.write_bytes(_stream(pa.record_batch({"n": list(range(count))})))
    found = list(arrow_rows(path))
    assert [row["n"] for _, row in found] == list(range(count))
    assert found[-1][0] == f"{path}, row {count}"


@pytest.mark.parametrize("shape", [(4294901760, 3338665984, 2097152000), (0, 2**32 - 1, 2**32 - 1), (0, 28, 28)])
def test_sizes_of_images_whose_product_is_none(shape, tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"".join(n.to_bytes(4, "big") for n in (2051, *shape)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"".join(n.to_bytes(4, "big") for n in (2049, 0)))
    with pytest.raises(BadInputError, match="announces"):
        load_mnist(tmp_path, "test")


@pytest.mark.parametrize(
    "head",
    [
        b"(",
        b")",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }\n",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",
        b"",
    ],
)
def test_heads_of_arrays(head, tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(_npy(head))
    with pytest.raises(ValueError, match=r"\w") as raised:
        read_array(path)
    assert "\n" not in str(raised.value)


def test_an_array_that_was_saved_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert read_array(tmp_path / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_pass_of_llamacpp_with_no_row_of_fewer_than_no_experts():
    words = np.array([0, 0, 1, 0, 0, 0, -1], np.int32)  # no token, one layer: its number, rows and experts of each
    with pytest.raises(RunError, match="not whole"):
        list(_passes(np.array([5, 7], np.int64).tobytes() + words[1:].tobytes()))


def test_a_file_of_no_name_in_a_zip_is_passed_over(tmp_path):
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as made:
        made.writestr("x", b"what it was")
        made.writestr("result.json", b"{}")
        made.infolist()[0].filename = ""
    (tmp_path / "run").mkdir()
    with pytest.raises(BadInputError, match=r"result\.json: kind: Field required"):
        read_dropped([tmp_path / "sent.zip"], tmp_path / "run", with_samples=False)
