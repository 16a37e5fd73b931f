"""Traces of serving systems in their published formats: times and numbers of tokens, without words.

- Mooncake (Qin et al., FAST 2025; github.com/kvcache-ai/Mooncake, FAST25-release/traces): JSONL with ``timestamp`` in
  milliseconds, ``input_length``, ``output_length`` and ``hash_ids``, one id for each 512 tokens of the prompt.
- Azure LLM inference (Patel et al., ISCA 2024, and Stojkovic et al., HPCA 2025; github.com/Azure/AzurePublicDataset):
  CSV with ``TIMESTAMP`` (a date and time), ``ContextTokens`` and ``GeneratedTokens``.
- BurstGPT (Wang et al., arXiv 2401.17644; github.com/HPMLL/BurstGPT): CSV with ``Timestamp`` in seconds,
  ``Request tokens`` and ``Response tokens`` among its columns. A response of 0 tokens is a request that failed there;
  it is left out, and so is a request of 0 tokens.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

import msgspec

from moecap.data.recording import RecordedSession, RecordedTurn
from moecap.errors import BadInputError

__all__ = ["MOONCAKE_BLOCK", "read_azure", "read_burstgpt", "read_mooncake"]

MOONCAKE_BLOCK = 512
"""Tokens of a block of Mooncake's traces."""

Row = Mapping[str, str]
Lines = Iterable[tuple[int, str]]


class _MooncakeRow(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


_MOONCAKE = msgspec.json.Decoder(_MooncakeRow)


def read_mooncake(name: str, lines: Lines, most: int) -> Iterator[RecordedSession]:
    """The first requests of a Mooncake trace.

    Args:
        name: The file, for messages.
        lines: Its lines with their numbers.
        most: How many requests are needed.

    Raises:
        BadInputError: If a line does not fit, with its number.
    """
    for number, line in islice(lines, most):
        where = f"line {number}"
        try:
            row = _MOONCAKE.decode(line)
        except msgspec.DecodeError as error:
            raise BadInputError(f"{name} {where}: not a request of a Mooncake trace ({error}); mend it") from None
        _check(name, where, row.timestamp, row.input_length, row.output_length)
        blocks = -(-row.input_length // MOONCAKE_BLOCK)
        if row.hash_ids and len(row.hash_ids) != blocks:
            raise BadInputError(
                f"{name} {where}: {len(row.hash_ids)} hash_ids for {row.input_length} tokens, which are {blocks} "
                f"blocks of {MOONCAKE_BLOCK}; mend it"
            )
        turn = RecordedTurn(row.input_length, row.output_length, blocks=tuple(row.hash_ids))
        yield RecordedSession(where, (turn,), row.timestamp / 1000)


def read_azure(name: str, rows: Iterable[tuple[int, Row]], most: int) -> Iterator[RecordedSession]:
    """The first requests of an Azure LLM inference trace; arguments and errors are those of ``read_mooncake``."""
    return islice(_requests(name, rows, ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _instant), most)


def read_burstgpt(name: str, rows: Iterable[tuple[int, Row]], most: int) -> Iterator[RecordedSession]:
    """The first requests of a BurstGPT trace that were answered; arguments and errors as in ``read_mooncake``."""
    counts = ("Request tokens", "Response tokens")
    answered = ((n, row) for n, row in rows if not {row.get(name) for name in counts} & {"0", "0.0"})
    return islice(_requests(name, answered, ("Timestamp", "Request tokens", "Response tokens"), float), most)


def csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    """Rows of a CSV file by its header, with their line numbers."""
    reader = csv.DictReader(lines)
    for row in reader:
        yield reader.line_num, row


def _requests(
    name: str, rows: Iterable[tuple[int, Row]], columns: tuple[str, str, str], seconds: Callable[[str], float]
) -> Iterator[RecordedSession]:
    for number, row in rows:
        where = f"line {number}"
        try:
            at, asked, answered = seconds(row[columns[0]]), _count(row[columns[1]]), _count(row[columns[2]])
        except (KeyError, ValueError, TypeError, OverflowError):
            raise BadInputError(
                f"{name} {where}: {', '.join(columns)} are not a time and two numbers; mend it"
            ) from None
        _check(name, where, at, asked, answered)
        yield RecordedSession(where, (RecordedTurn(asked, answered),), at)


def _count(text: str) -> int:
    number = float(text)
    if number != int(number):
        raise ValueError
    return int(number)


def _instant(text: str) -> float:
    """Seconds of a date and time; one without a zone is taken as UTC, since only differences count."""
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _check(name: str, where: str, at: float, asked: int, answered: int) -> None:
    if not math.isfinite(at):
        raise BadInputError(f"{name} {where}: the timestamp is no number; mend it")
    if asked < 1 or answered < 1:
        raise BadInputError(
            f"{name} {where}: {asked} tokens in and {answered} out; each request has at least 1 of both"
        )
