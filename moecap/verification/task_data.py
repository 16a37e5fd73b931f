"""What the samples of tasks say of their questions, against the data sets themselves where these are at hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moecap.data.download import without_downloads
from moecap.errors import MoecapError
from moecap.result import Result, TaskRecord
from moecap.runner.plan import assignments
from moecap.runner.prompts import asked_sampling
from moecap.tasks.base import Task, TaskOptions, load_task
from moecap.tasks.location import hub_revision, in_folder

__all__ = ["DataCheck", "asked_options", "check_data"]

Stated = float | str | None

LONGEST = 80
"""Characters of a value that a difference shows."""


@dataclass(slots=True)
class DataCheck:
    """The outcome.

    Attributes:
        pairs: Statements about tasks with what their data sets say; a pair that differs is wrong.
        unchecked: Tasks whose data set is not at hand, or that cannot be asked, and why.
    """

    pairs: dict[str, tuple[Stated, Stated]] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)


def check_data(
    result: Result, samples: Sequence[Mapping[str, Any]], max_context: int, data: Path | None = None
) -> DataCheck:
    """Load the questions of each task again, without fetching anything, and compare what the samples say of them.

    Args:
        result: The result.
        samples: Its samples.
        max_context: Tokens that the model holds.
        data: The folder that the run had as ``--data``; ``None`` where there was none or it is not here.
    """
    check = DataCheck()
    for record in result.tasks:
        of_task = [sample for sample in samples if sample.get("task") == record.name and sample.get("kind")]
        try:
            task = load_task(record.name)
            if task.version != record.version:
                check.unchecked[record.name] = f"it is here in version {task.version}, not {record.version}"
                continue
            if in_folder(record.source) and data is None:
                check.unchecked[record.name] = "its data was in a folder of the user's; give that with --data DIR"
                continue
            with without_downloads():
                folder = data if in_folder(record.source) else None
                items = task.items(asked_options(result, record, folder, max_context))
        except MoecapError as error:
            check.unchecked[record.name] = str(error)
            continue
        _compare(check, result, record, task, items, of_task)
    return check


def asked_options(
    result: Result, record: TaskRecord, folder: Path | None, max_context: int | None = None
) -> TaskOptions:
    """How a task was asked, bounded by the items that its record claims.

    Args:
        result: The result.
        record: What it says of the task.
        folder: The user's data, where the record says that there was some.
        max_context: Tokens that the model holds, where items depend on it.
    """
    workload = result.workload
    arguments = assignments(workload.task_arg, "--task-arg")
    if commit := hub_revision(record.source):
        arguments["revision"] = commit
    limit = record.items if workload.limit is None else workload.limit
    return TaskOptions(
        limit, folder, arguments, lambda _line: None, max_context=max_context, sampling=asked_sampling(workload)
    )


def _compare(
    check: DataCheck,
    result: Result,
    record: TaskRecord,
    task: Task,
    items: Sequence[Any],
    samples: Iterable[Mapping[str, Any]],
) -> None:
    by_id = {item.id: item for item in items}
    for sample in samples:
        name = sample.get("id")
        if name not in by_id:
            check.pairs[f"tasks.{record.name}.data"] = (f"question {name!r}", "no such question")
            return
        said = task.restated(by_id[name], sample)
        if said is None:
            check.unchecked[record.name] = "the task does not say what its samples must hold"
            return
        for key, expected in json.loads(json.dumps(said)).items():
            if sample.get(key) != expected:
                stored, found = _where_they_differ(repr(sample.get(key)), repr(expected))
                where = f"{key} of {name!r}"
                check.pairs[f"tasks.{record.name}.data"] = (f"{where}: {stored}", f"{where}: {found}")
                return
    check.pairs[f"tasks.{record.name}.data"] = (f"{record.items} questions", f"{len(items)} questions")
    stated = result.workload.limit is not None if record.limited is None else record.limited
    if task.limited or record.limited is not None:
        check.pairs[f"tasks.{record.name}.limited"] = (str(stated), str(task.limited))


def _where_they_differ(one: str, other: str) -> tuple[str, str]:
    """Two different texts, of long ones the part around their first difference."""
    pairs = enumerate(zip(one, other, strict=False))
    differ = next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
    begin = max(differ - LONGEST // 4, 0)
    cut = [text[begin : begin + LONGEST] for text in (one, other)]
    return f"{'...' * (begin > 0)}{cut[0]}", f"{'...' * (begin > 0)}{cut[1]}"
