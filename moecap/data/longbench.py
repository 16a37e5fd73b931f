"""LongBench (Bai et al. 2023, arXiv 2308.14508) and LongBench v2 (Bai et al. 2024, arXiv 2412.15204) on disk.

LongBench's folder is that of its repository: ``config/dataset2prompt.json`` and ``config/dataset2maxlen.json``, and
``data/NAME.jsonl`` as its ``data.zip`` unpacks. LongBench v2 is ``data.json`` or rows as the hub publishes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.data.published import Row, json_lines, published_rows
from moecap.errors import BadInputError, NotAvailableError

__all__ = ["LongQuestion", "load_longbench", "longbench_v2_rows"]

SOURCE, SOURCE_V2 = "THUDM/LongBench", "THUDM/LongBench-v2"


@dataclass(frozen=True, slots=True)
class LongQuestion:
    """A question with its long context.

    Attributes:
        id: Its id in the data set.
        data_set: The data set of LongBench.
        prompt: Context and question in the data set's own prompt.
        golds: The right answers.
        classes: The classes among which an answer is to choose.
        output_tokens: Most tokens of the answer, as LongBench fixes them.
    """

    id: str
    data_set: str
    prompt: str
    golds: tuple[str, ...]
    classes: tuple[str, ...]
    output_tokens: int


def load_longbench(name: str, data: Path | None) -> tuple[LongQuestion, ...]:
    """Return the questions of one data set of LongBench in the published order.

    Args:
        name: The data set, such as ``qasper``.
        data: The folder.

    Raises:
        NotAvailableError: No folder is given, or a file is not in it.
        BadInputError: A file is malformed; the line is named.
    """
    if data is None:
        raise NotAvailableError(
            f"LongBench is in no package; give with --data the folder of its repository ({SOURCE}: config/) with "
            "data.zip unpacked into data/"
        )
    prompt = _setting(data, "dataset2prompt.json", name, str)
    output_tokens = _setting(data, "dataset2maxlen.json", name, int)
    path = _found(data, f"data/{name}.jsonl", f"{name}.jsonl", f"LongBench/data/{name}.jsonl")
    return tuple(_question(name, where, row, prompt, output_tokens) for where, row in json_lines(path))


def longbench_v2_rows(data: Path | None) -> Iterator[Row]:
    """Yield the rows of LongBench v2 in the published order.

    Args:
        data: A folder with ``data.json`` or with the data set in the hub's format.

    Raises:
        NotAvailableError: No folder is given, or the data is not in it.
        BadInputError: A file is malformed.
    """
    if data is None:
        raise NotAvailableError(f"LongBench v2 is in no package; give the folder of {SOURCE_V2} with --data")
    path = data / "data.json"
    if not path.is_file():
        yield from published_rows(data, SOURCE_V2, "default", "train")
        return
    rows = _json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInputError(f"{path}: not a list of questions; use the published file")
    yield from ((f"{path}, entry {number}", row) for number, row in enumerate(rows, 1))


def _question(name: str, where: str, row: Mapping[str, Any], prompt: str, output_tokens: int) -> LongQuestion:
    try:
        text = prompt.format(**row)
        golds, classes = _texts(row["answers"]), _texts(row.get("all_classes") or [])
        return LongQuestion(f"{name}/{row['_id']}", name, text, golds, classes, output_tokens)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInputError(
            f"{where}: not a question of LongBench with _id, answers and the fields of its prompt ({error!r}); use the "
            "published file"
        ) from error


def _texts(value: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{value!r} is no list of texts")
    return tuple(value)


def _setting(data: Path, file: str, name: str, kind: type) -> Any:
    path = _found(data, f"config/{file}", file, f"LongBench/config/{file}")
    settings = _json(path)
    if not isinstance(settings, dict) or not isinstance(settings.get(name), kind):
        raise BadInputError(f"{path}: says nothing of {name}; use the published file")
    return settings[name]


def _found(data: Path, *places: str) -> Path:
    for place in places:
        if (data / place).is_file():
            return data / place
    raise NotAvailableError(f"{data} holds no {places[0]}; LongBench's repository ({SOURCE}) and its data.zip do")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); use the published file") from error
