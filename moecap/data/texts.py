"""Data sets for the load: real texts, conversations and traces, each told by its content."""

from __future__ import annotations

import csv
import mmap
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec

from moecap.data.conversations import read_prompts, read_sessions, read_sharegpt
from moecap.data.recording import RecordedSession, RecordedTurn, Recording
from moecap.data.traces import MOONCAKE_BLOCK, csv_rows, read_azure, read_burstgpt, read_mooncake
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.files import file_sha256

__all__ = ["TEXT_SETS", "read_recording"]

TEXT_SETS = ("arc_easy",)
"""Data sets whose questions serve as prompts."""

ENDINGS = (".jsonl", ".json", ".csv")
KNOWN = (
    "prompts (prompt), ShareGPT (conversations), sessions (session, turns), Mooncake (timestamp, input_length, "
    "output_length), Azure (TIMESTAMP, ContextTokens, GeneratedTokens), BurstGPT (Timestamp, Request tokens, "
    "Response tokens)"
)
"""Formats and the fields by which each is told."""

Parts = tuple[str, Iterator[RecordedSession], int]


def read_recording(dataset: str, data: Path | None, seed: int, most: int) -> Recording:
    """A data set as a load: prompts and conversations in an order drawn at random, traces in their own.

    Args:
        dataset: A name of ``TEXT_SETS``, or a file in one of the known formats.
        data: Folder or file with the data that the user gives, or ``None``; a text set that is not in it is taken from
            the cache, since what is given may be a task's alone.
        seed: Seed of the order.
        most: Requests that are needed; of a trace no more are read.

    Raises:
        UsageError: If the data set is unknown, not here or malformed.
    """
    path = Path(dataset)
    if dataset in TEXT_SETS:
        texts = _questions(data)
        random.Random(seed).shuffle(texts)
        sessions = [RecordedSession(f"question {i}", (RecordedTurn(text=text),)) for i, text in enumerate(texts, 1)]
        return Recording("texts", tuple(sessions))
    if path.suffix not in ENDINGS and not path.exists():
        raise UnknownNameError(
            "data set of prompts", dataset, TEXT_SETS, "or give a JSONL file with a prompt field, or a trace"
        )
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path}: no plain file; give another with --dataset")
    try:
        kind, found, block = _parts(path, most)
        sessions = list(found)
        digest = file_sha256(path)
    except (OSError, UnicodeDecodeError, RecursionError, csv.Error) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); mend it") from None
    if not sessions:
        raise BadInputError(f"{path}: no request is in it; give another with --dataset")
    if kind in ("prompts", "sharegpt"):
        random.Random(seed).shuffle(sessions)
    elif all(session.at is not None for session in sessions):
        sessions.sort(key=lambda session: session.at or 0.0)
    return Recording(kind, tuple(sessions), block, digest)


def _questions(data: Path | None) -> list[str]:
    from moecap.data.arc import load_arc

    try:
        questions = load_arc("easy", split="test", data=data)
    except NotAvailableError:
        if data is None:
            raise
        questions = load_arc("easy", split="test")
    return [question.question + "\n" + "\n".join(question.choices) for question in questions]


def _parts(path: Path, most: int) -> Parts:
    """The format of a file, what is in it, and the tokens of a block."""
    with path.open(encoding="utf-8-sig") as file:
        first = next((line for line in file if line.strip()), "")
    if first.lstrip().startswith("["):
        return "sharegpt", read_sharegpt(str(path), _array(path)), 0
    if not first.lstrip().startswith("{"):
        return _table(path, first, most)
    fields = _fields(path, first)
    lines = _lines(path)
    if "conversations" in fields:
        entries = ((f"line {n}", line.encode()) for n, line in lines)
        return "sharegpt", read_sharegpt(str(path), entries), 0
    if {"session", "turns"} <= fields:
        return "sessions", read_sessions(str(path), lines), 0
    if {"timestamp", "input_length", "output_length"} <= fields:
        return "mooncake", read_mooncake(str(path), lines, most), MOONCAKE_BLOCK
    if "prompt" in fields:
        return "prompts", read_prompts(str(path), lines), 0
    raise _unknown(path, fields)


def _table(path: Path, header: str, most: int) -> Parts:
    columns = {name.strip().strip('"') for name in header.split(",")}
    if {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= columns:
        return "azure", read_azure(str(path), csv_rows(_texts(path)), most), 0
    if {"Timestamp", "Request tokens", "Response tokens"} <= columns:
        return "burstgpt", read_burstgpt(str(path), csv_rows(_texts(path)), most), 0
    if path.suffix == ".csv" and len(columns) > 1:
        raise _unknown(path, columns)
    raise BadInputError(f"{path} line 1: not JSON, and no header of a trace; known formats: {KNOWN}")


def _fields(path: Path, line: str) -> set[str]:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        raise BadInputError(f"{path} line 1: not JSON") from None
    return set(found)


def _unknown(path: Path, fields: set[str]) -> BadInputError:
    names = ", ".join(sorted(fields)[:8]) or "none"
    return BadInputError(f"{path} line 1: fields {names} are of no format that is known; known are {KNOWN}")


def _array(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # which the system can drop again, unlike a copy
    try:
        entries = msgspec.json.decode(content, type=list[msgspec.Raw])
    except msgspec.DecodeError as error:
        raise BadInputError(f"{path}: not a JSON array of conversations ({error})") from None
    return ((f"entry {number}", bytes(entry)) for number, entry in enumerate(entries, 1))


def _texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from file


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers."""
    return ((number, line) for number, line in enumerate(_texts(path), 1) if line.strip())
