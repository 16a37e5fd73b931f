"""Every row as CSV, Parquet or JSON, a part at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from moecap_leaderboard.metrics import HEADLINES

__all__ = ["MEDIA", "exported"]

MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}

_PART = 1000
_JSON_PART = 32

_TEXTS = ("id", "submission", "kind", "tier", "owner", "published", "configuration", "precision", "source")
_NUMBERS = ("reproduced_by", "version", "versions", "attempts")
_TRUTHS = ("signed", "recomputed", "ranked")
_PARTS: dict[str, pa.DataType] = {
    "model.id": pa.string(),
    "model.name": pa.string(),
    "model.revision": pa.string(),
    "model.total_params": pa.int64(),
    "model.active_params": pa.int64(),
    "hardware.id": pa.string(),
    "hardware.name": pa.string(),
    "hardware.count": pa.int64(),
    "engine.name": pa.string(),
    "engine.version": pa.string(),
    "workload.load": pa.string(),
    "workload.concurrency": pa.int64(),
    "workload.rate": pa.float64(),
    "workload.input_len": pa.int64(),
    "workload.output_len": pa.int64(),
    "workload.num_requests": pa.int64(),
    "workload.dataset": pa.string(),
    "workload.tensor_parallel": pa.int64(),
}

SCHEMA = pa.schema(
    [(name, pa.string()) for name in _TEXTS]
    + [(name, pa.int64()) for name in _NUMBERS]
    + [(name, pa.bool_()) for name in _TRUTHS]
    + list(_PARTS.items())
    + [("workload.tasks", pa.string()), ("unranked_because", pa.string()), ("flags", pa.string())]
    + [(headline.name, pa.float64()) for headline in HEADLINES]
    + [("accuracies", pa.string())]
)
"""Columns of the tables; lists are joined by blanks, and accuracies are one JSON object."""


def exported(items: Iterable[dict[str, Any]], form: str) -> Iterator[bytes]:
    """The rows in one of the forms of :data:`MEDIA`."""
    return {"csv": _csv, "json": _json, "parquet": _parquet}[form](iter(items))


def _json(items: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    yield b'{"items":['
    begin = b"\n"
    while part := list(islice(items, _JSON_PART)):
        yield begin + b",\n".join(map(msgspec.json.encode, part))
        begin = b",\n"
    yield b'\n],"next":null}\n'


def _csv(items: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(SCHEMA.names)
    for item in items:
        writer.writerow([_cell(value) for value in _flat(item).values()])
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    """A value for a spreadsheet, which would run a text that begins like a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _parquet(items: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), SCHEMA, compression="zstd") as writer:
        while part := list(islice(items, _PART)):
            writer.write_table(pa.Table.from_pylist([_flat(item) for item in part], schema=SCHEMA))
            yield sink.drained()
    yield sink.drained()


class _Sink(io.RawIOBase):
    """Takes what is written at the end of a file, for as long as nobody has taken it away."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def tell(self) -> int:
        """Bytes that were written in all."""
        return self._place

    def write(self, data: Any) -> int:
        """Take bytes."""
        self._parts.append(bytes(data))
        self._place += len(self._parts[-1])
        return len(self._parts[-1])

    def drained(self) -> bytes:
        """What was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _flat(item: dict[str, Any]) -> dict[str, Any]:
    """A row by the names of :data:`SCHEMA`."""
    row: dict[str, Any] = {name: item[name] for name in (*_TEXTS, *_NUMBERS, *_TRUTHS)}
    for name in _PARTS:
        part, _, key = name.partition(".")
        row[name] = item[part][key]
    metrics = item["metrics"]
    row["workload.tasks"] = " ".join(item["workload"]["tasks"])
    row["unranked_because"] = " ".join(item["unranked_because"])
    row["flags"] = " ".join(dict.fromkeys(flag["name"] for flag in item["flags"]))
    row |= {headline.name: (metrics.get(headline.name) or {}).get("value") for headline in HEADLINES}
    scores = {name: metric["value"] for name, metric in metrics.items() if name.startswith(("accuracy.", "task."))}
    row["accuracies"] = msgspec.json.encode(scores).decode()
    return row
