"""Whether the tables of a method have every seed, variant and classifier that the result's settings ask for."""

from __future__ import annotations

from pathlib import Path

from moecap.errors import BadInputError, MoecapError
from moecap.observations.reader import Observations
from moecap.observations.task_tables import task_table_file, typed_tables
from moecap.result import Result
from moecap.tasks.base import load_task
from moecap.tasks.location import in_folder
from moecap.tasks.method import MethodTask, method_tables
from moecap.verification.task_data import asked_options

__all__ = ["check_parts"]


def check_parts(result: Result, observations: Observations) -> None:
    """Refuse a complete result whose methods left out a part of what was asked for, or did more.

    A method that is not installed here, or is in another version, is not asked.

    Args:
        result: The result.
        observations: What its directory holds.

    Raises:
        BadInputError: With the table, or the samples, and the part.
    """
    if result.status != "complete" or result.kind != "measured":
        return
    left = {method.name: tables for method, tables in method_tables(observations.tables)}
    for record in result.tasks:
        try:
            method = load_task(record.name)
        except MoecapError:
            continue
        if not isinstance(method, MethodTask) or method.version != record.version:
            continue
        tables = left.get(record.name) or typed_tables(record.name, method.tables, {})
        folder = Path() if in_folder(record.source) else None
        for parts in method.parts(asked_options(result, record, folder), tables):
            if problem := parts.problem(tables):
                raise BadInputError(
                    f"{task_table_file(record.name, parts.table)}: {problem}; the run has to be repeated"
                )
        samples = sum(sample.get("task") == record.name for sample in observations.samples)
        if observations.samples and samples != record.items:
            raise BadInputError(
                f"samples.jsonl: {samples} samples of {record.name} and {record.items} items; the run has to be "
                "repeated"
            )
