"""Reads another tool's JSON: refused in one line where it is not what it seems, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError
from moecap.strict_json import parse_json

__all__ = ["Fields", "read_json", "read_lines"]

MOST_BYTES = 256_000_000
ROOM = 200_000_000
"""Bytes of memory that one JSON text and its values may take; what is made of them takes as much again."""

LARGEST = 1e19
"""No time or rate of a benchmark is beyond this."""

MOST = 2**53 - 1
"""No count is beyond this, the largest whole number of canonical JSON (RFC 8785)."""


class Fields:
    """The fields of a JSON object, each checked when it is taken.

    Args:
        where: File, and line or place in it, for errors.
        values: The object.
    """

    def __init__(self, where: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise BadInputError(f"{where}: an object was expected, not {_shown(values)}")
        self.where = where
        self.values: Mapping[str, Any] = values

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def number(self, name: str) -> float | None:
        """A finite number that is not negative; ``None`` where it is missing or null."""
        value = self.values.get(name)
        return None if value is None else self._checked(name, value)

    def count(self, name: str) -> int | None:
        """A whole number that is not negative; ``None`` where it is missing or null."""
        value = self.number(name)
        if value is not None and (value != int(value) or value > MOST):
            raise BadInputError(f"{self.where}: {name} is {value:g}, and not a whole number of up to {MOST:g}")
        return None if value is None else int(value)

    def text(self, name: str) -> str | None:
        """A text of at most 1,000 characters; ``None`` where it is missing or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > 1000:
            raise BadInputError(f"{self.where}: {name} is not a text of up to 1,000 characters")
        return value

    def object(self, name: str) -> Fields:
        """An object; an empty one where it is missing or null."""
        value = self.values.get(name)
        return Fields(f"{self.where}: {name}", {} if value is None else value)

    def items(self, name: str) -> list[Any]:
        """A list; an empty one where it is missing or null."""
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise BadInputError(f"{self.where}: {name} is not a list")
        return value

    def numbers(self, name: str) -> list[float]:
        """A list of finite numbers that are not negative."""
        return [self._checked(f"{name}[{place}]", value) for place, value in enumerate(self.items(name))]

    def _checked(self, name: str, value: Any) -> float:
        if type(value) not in (int, float) or not 0 <= value <= LARGEST:  # neither holds for NaN
            raise BadInputError(f"{self.where}: {name} is {_shown(value)}, and not a number from 0 to {LARGEST:g}")
        return float(value)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BadInputError: With the file and the line, if it is not JSON, nests too deep, or is larger than 256 MB.
    """
    _refuse_large(path)
    return _parsed(path.name, _decoded(path.name, path.read_bytes()))


def read_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the values of a file of one JSON value a line, each with its place.

    Raises:
        BadInputError: As :func:`read_json` does.
    """
    _refuse_large(path)
    with path.open("rb") as file:  # whose lines end at a newline alone: a JSON text may hold other separators
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path.name} line {number}", _parsed(path.name, _decoded(path.name, line), number)


def _refuse_large(path: Path) -> None:
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; give the output of another tool")
    if path.stat().st_size > MOST_BYTES:
        raise BadInputError(f"{path.name}: larger than {MOST_BYTES // 1_000_000} MB; export it without per-token data")


def _decoded(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{name}: not UTF-8 text (byte {error.start}); give a JSON file") from None


def _parsed(name: str, text: str, line: int | None = None) -> Any:
    try:
        return parse_json(text, nan=True, room=ROOM)
    except json.JSONDecodeError as error:
        where = error.lineno if line is None else line
        raise BadInputError(f"{name} line {where}: not JSON ({error.msg}); give it as the tool wrote it") from None
    except ValueError as error:
        raise BadInputError(f"{name}{_at(line)}: {str(error).splitlines()[0][:200]}") from None


def _at(line: int | None) -> str:
    return "" if line is None else f" line {line}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
