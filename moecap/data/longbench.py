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

from moecap.data.hub import HubFiles
from moecap.data.published import Row, json_lines, parsed, published_rows
from moecap.errors import BadInputError, NotAvailableError

__all__ = ["HUB_V2", "LongQuestion", "load_longbench", "longbench_v2_rows"]

SOURCE = "THUDM/LongBench"
HUB_V2 = HubFiles("THUDM/LongBench-v2", ("data.json",))


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


def load_longbench(name: str, data: Path) -> tuple[LongQuestion, ...]:
    """Return the questions of one data set of LongBench in the published order.

    Args:
        name: The data set, such as ``qasper``.
        data: The folder.

    Raises:
        NotAvailableError: A file is not in the folder.
        BadInputError: A file is malformed; the line is named.
    """
    prompt = _setting(data, "dataset2prompt.json", name, str)
    output_tokens = _setting(data, "dataset2maxlen.json", name, int)
    path = _found(data, f"data/{name}.jsonl", f"{name}.jsonl", f"LongBench/data/{name}.jsonl")

    def question(_number: int, row: Mapping[str, Any]) -> LongQuestion:
        golds, classes = _texts(row["answers"]), _texts(row.get("all_classes") or [])
        return LongQuestion(f"{name}/{row['_id']}", name, prompt.format(**row), golds, classes, output_tokens)

    return tuple(parsed(json_lines(path), question, "a question of LongBench"))


def longbench_v2_rows(data: Path) -> Iterator[Row]:
    """Yield the rows of LongBench v2 in the published order.

    Args:
        data: A folder with ``data.json`` or with the data set in the hub's format.

    Raises:
        NotAvailableError: The data is not in it.
        BadInputError: A file is malformed.
    """
    path = data / "data.json"
    if not path.is_file():
        yield from published_rows(data, HUB_V2.repository, "default", "train")
        return
    rows = _json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInputError(f"{path}: not a list of questions; use the published file")
    yield from ((f"{path}, entry {number}", row) for number, row in enumerate(rows, 1))


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
