"""What came in, as files in a folder: the archive of observations and the result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, String

from moecap.errors import BadInputError
from moecap.publishing.archive import unpack
from moecap.result import RESULT_FILE, Result, read_result
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.rows import row_of_result
from moecap_leaderboard.tables import Figure, Submission

__all__ = ["parsed", "repeated", "unpacked"]


def unpacked(archive: Path, folder: Path) -> tuple[str, ...]:
    """Unpack the observation files into a folder and return their names.

    Raises:
        ProblemError: If the archive cannot be read, or holds what is no observation.
    """
    try:
        sent = unpack(archive, folder)
    except BadInputError as error:
        raise ProblemError("bad-archive", str(error)) from None
    if RESULT_FILE in sent:
        raise ProblemError("bad-archive", f"the archive holds {RESULT_FILE}, which is a part of its own; leave it out")
    return sent


def repeated(text: str | None) -> str | None:
    """The id of the result that a submission repeats; empty and ``None`` are no repetition.

    Raises:
        ProblemError: If it is no id.
    """
    if text and not re.fullmatch("[0-9a-f]{64}", text):
        raise ProblemError(
            "bad-request", "reproduces is no id of a result, which has 64 digits 0 to 9 and a to f; leave it out"
        )
    return text or None


def parsed(folder: Path, raw: bytes) -> Result:
    """Keep ``result.json`` in a folder, and read it.

    Raises:
        BadInputError: If it is no result, or holds what the columns do not.
    """
    (folder / RESULT_FILE).write_bytes(raw)
    if b"\\u0000" in raw:
        raise BadInputError("result.json holds a zero character; no name or text has one")
    if not raw:
        raise BadInputError("result.json is empty; send the one that moecap run wrote")
    try:
        result = read_result(folder)
    except BadInputError as error:
        raise BadInputError(str(error).replace(f"{folder}/", "").replace(str(folder), RESULT_FILE)) from None
    try:
        row = row_of_result(result)
    except ValueError as error:
        raise BadInputError(f"result.json holds what canonical JSON cannot ({error})") from None
    too_long = [
        name
        for name, value in row.columns.items()
        if isinstance(value, str)
        and name not in ("names", "tasks")
        and len(value) > _width(Submission.__table__.c[name])
    ]
    too_long += [name for name in row.figures if len(name) > _width(Figure.__table__.c.name)]
    if too_long:
        raise BadInputError(f"result.json: {too_long[0][:100]} is longer than the leaderboard's column; shorten it")
    if not row.columns["names"].isprintable():
        raise BadInputError("result.json: a name of model, hardware or engine has characters that nobody sees")
    if len(result.id) != 64:
        raise BadInputError("result.json: the id is no SHA-256 of 64 digits; it was not written by moecap run")
    return result


def _width(column: ColumnElement[Any]) -> int:
    assert isinstance(column.type, String) and column.type.length is not None
    return column.type.length
