"""Files that swell, nest, never end or are no files: refused in a line, within 512 MB beside what is loaded."""

import gzip
import io
import json
import os
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import all_parsers
from hostile.measured import Measured

MOST = 512_000_000

JSON = """model-config tokenizer-config adapter points result imported-result samples searched-json searched-lines
import-vllm import-sglang import-aiperf-records data-prompts data-sharegpt data-lines predictions golds data-longbench
data-imagecode judge leaderboard stream-openai stream-llamacpp stream-sglang weights-index""".split()
YAML = ["hardware-profile", "layout", "run-configuration", "sweep", "data-imagecode-tags"]
FILES = ["model-config", "tokenizer-config", "chat-template", "adapter", *YAML, "points", "result", "imported-result"]
FILES += ["samples", "routing", "task-table", "table-steps", "table-chunks", "import-vllm", "import-sglang"]
FILES += ["import-aiperf-records", "data-prompts", "data-trace", "data-parquet", "predictions", "golds"]
FILES += ["weights", "weights-index", "gguf", "data-conllu", "data-longbench"]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def parsers(projected_run):
    return {parser.name: parser for parser in all_parsers(projected_run)}


@pytest.fixture(scope="module")
def measured(projected_run, parsers):
    process = Measured(projected_run)
    yield process
    process.close()


@pytest.fixture
def outcome(parsers, measured, tmp_path):
    """A function that reads a content and returns the line that refuses it, or an empty one."""

    def read(name, content=None, place=None):
        path = parsers[name].place(Path(tempfile.mkdtemp(dir=tmp_path)), content or b"")
        if place is not None:
            path.unlink()
            place(path)
        came, text, taken = measured.read(name, path)
        assert came in ("read", "refused"), (name, came, text)
        assert taken < MOST, (name, taken, text)
        assert text.isprintable()
        return text

    return read


DEEP = {
    "lists": b"[" * 10_000 + b"]" * 10_000,
    "objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "open": b"[" * 1_000_000,
    "long key": b'{"' + b"k" * 1_000_000 + b'": 1}',
    "long number": b'{"a": ' + b"9" * 100_000 + b"}",
    "twice": b'{"kind": 1, "kind": 2}',
    "nan": b'{"a": NaN, "b": -Infinity}',
    "half a character": b'{"a": "\\ud800", "\\udfff": 1}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "mark": b"\xef\xbb\xbf{}",
    "latin": b'{"a": "\xe9"}',
    "nothing": b"",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("kind", DEEP)
def test_json_of_any_form(kind, outcome):
    for name in JSON:
        outcome(name, DEEP[kind])


@pytest.mark.parametrize("name", JSON)
def test_json_whose_values_take_far_more_than_its_text(name, outcome):
    outcome(name, b'{"a": [' + b"{}," * 5_000_000 + b"{}]}")


def test_large_imports_say_the_limit(outcome):
    def sparse(path):
        with path.open("wb") as file:
            file.truncate(300_000_000)

    assert "larger than 256 MB" in outcome("import-vllm", place=sparse)
    numbers = b'{"a": [' + b"0.123456789," * 12_000_000 + b"0]}"
    assert "the limit is 200 MB" in outcome("import-vllm", numbers)
    assert "the limit is 400 MB" in outcome("points", b"[" + b"0," * 6_000_000 + b"[]," * 3_000_000 + b"0]")


def _laughs(alias, levels=12):
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} {alias.format(', '.join([f'*a{level - 1}'] * 9))}")
    return "\n".join(lines).encode()


@pytest.mark.parametrize("name", YAML)
def test_yaml_that_laughs_merges_nests_or_runs_code(name, outcome):
    merges = ["a0: &a0 {k0: 1}"]
    merges += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}], k{n}: 1}}" for n in range(1, 24)]
    for content in (
        _laughs("[{}]"),
        "\n".join(merges).encode(),
        b"a: " + b"[" * 20_000,
        b"a: " + b"{a: " * 5_000,
        b"a: !!python/object/apply:os.system ['false']",
        b"&a [*a]",
        b"model: " + b"x" * 900_000,
        b"- " * 400_000,
        b"a: " + b"9" * 60_000,
        b"\xff\xfe\x00",
    ):
        outcome(name, content)


def _table(**columns):
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target, compression="zstd")
    return target.getvalue()


def _same_text(times, length):
    dictionary = pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), ["x" * length])
    return _table(stage=dictionary.cast(pa.string()) if times * length < 100_000_000 else dictionary)


TABLES = ["table-steps", "table-requests", "task-table", "data-parquet", "searched-table"]


@pytest.fixture(scope="module")
def swelling():
    many = pa.array(np.zeros(20_000_000, np.int64))
    lists = pa.ListArray.from_arrays(np.array([0, 20_000_000], np.int32), many)
    nothing = pa.nulls(50_000_000, pa.int64())
    return {
        "one number again and again": _table(step=many),
        "one list": _table(seq_new=lists),
        "nulls": _table(step=nothing),
        "one text again and again": _same_text(200_000, 100_000),
        "a text of compressed zeros": _table(stage=["\0" * 400_000_000]),
    }


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_swell(name, outcome, swelling):
    for kind, content in swelling.items():
        assert len(content) < 2_000_000, kind
        assert "MB is the limit for its size" in outcome(name, content) or name == "searched-table", kind


def test_many_row_groups(outcome):
    target = io.BytesIO()
    with pq.ParquetWriter(target, pa.schema({"step": pa.int32()})) as writer:
        for _ in range(3000):
            writer.write_table(pa.table({"step": pa.array([1], pa.int32())}))
    for name in TABLES:
        outcome(name, target.getvalue())


def _array(shape, kind, data=b""):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    return header.getvalue() + data


def _npz(method=zipfile.ZIP_DEFLATED, **members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members.items():
            with archive.open(f"{name}.npy", "w") as member:
                for part in content if isinstance(content, list) else [content]:
                    member.write(part)
    return target.getvalue()


@pytest.mark.parametrize("name", ["routing", "searched-arrays"])
def test_arrays_that_swell_or_lie(name, outcome):
    zeros = [_array((700, 1_000_000), "|u1"), *[bytes(10_000_000)] * 70]
    text = outcome(name, _npz(experts=zeros, capture=_array((), "<U1", bytes(4))))
    assert "MB is the limit for its size" in text or name == "searched-arrays"
    outcome(name, _npz(experts=_array((2**40,), "<i8"), capture=_array((), "<U1", bytes(4))))
    outcome(name, _npz(experts=_array((2**62, 2**62), "<i8")))
    outcome(name, _npz(zipfile.ZIP_LZMA, experts=_array((3,), "|u1", bytes(3))))
    outcome(name, _npz(experts=_array((1,), "|O", b"cos\nsystem\n(S'false'\ntR.")))


def _tar(*members, mode="w:gz"):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:
        for name, kind, size in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, size, "/etc/passwd"
            archive.addfile(member, io.BytesIO(bytes(size)))
    return target.getvalue()


def _endless(size):
    """The header of a file of so many bytes, and zeros, which compress a thousand times."""
    member = tarfile.TarInfo("requests.parquet")
    member.size = size
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(10_000_000)
    parts = [packer.compress(member.tobuf(tarfile.GNU_FORMAT)), *(packer.compress(block) for _ in range(size // 10**7))]
    return b"".join([*parts, packer.flush()])


@pytest.mark.parametrize("name", ["archive", "dropped-tar"])
def test_archives_that_leave_their_folder_or_swell(name, outcome, tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        outcome(name, _tar(("result.json", kind, 0)))
    outcome(name, _tar(("../../outside", tarfile.REGTYPE, 10), ("/outside", tarfile.REGTYPE, 10)))
    assert "more than 1000000000 bytes" in outcome(name, _endless(1_100_000_000))
    assert not [path for path in (tmp_path / "outside", tmp_path.parent / "outside") if path.exists()]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_zips_that_leave_their_folder_or_lie(outcome, tmp_path):
    link = zipfile.ZipInfo("run/result.json")
    link.external_attr = 0o120777 << 16
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("../../outside", "x")
        archive.writestr("C:\\outside", "x")
    outcome("dropped-zip", target.getvalue())
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert not [path for path in (tmp_path / "outside", tmp_path.parent / "outside") if path.exists()]


def test_compressed_zeros_in_place_of_pictures_and_lines(outcome):
    zeros = b"".join(gzip.compress(bytes(50_000_000), mtime=0) for _ in range(12))
    for name in ("data-mnist", "data-snippets-archive", "archive", "dropped-tar"):
        outcome(name, zeros)
    chunk = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    head = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    outcome("picture", head)


def test_templates_that_ask_for_the_machine(outcome):
    for text in (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__ }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 2 ** 1000000000 }}",
        "{% for i in range(100000000) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}aaaaaaaaaa{% endfor %}{% endfor %}",
        "{{ cycler.__init__.__globals__.os.system('false') }}",
        "{% include '/etc/passwd' %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    ):
        assert "chat template" in outcome("chat-template", text.encode()), text


NO_FILES = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "circle": lambda path: path.symlink_to(path),
    "nowhere": lambda path: path.symlink_to("/nowhere/at/all"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_neither_waited_for_nor_read_for_ever(kind, outcome):
    for name in FILES:
        outcome(name, place=NO_FILES[kind])


def test_a_header_that_is_longer_than_its_file(outcome):
    for length in (2**63, 2**32, 90_000_000):
        outcome("weights", length.to_bytes(8, "little") + b"{}")
    entries = json.dumps({f"t{n}": {"dtype": "F32", "shape": [], "data_offsets": [0, 0]} for n in range(200)}).encode()
    outcome("weights", len(entries).to_bytes(8, "little") + entries)
    swelling = b"[" + b"{}," * 9_000_000 + b"{}]"
    assert "header is not valid" in outcome("weights", len(swelling).to_bytes(8, "little") + swelling)
