"""A paper's method as a task: it leaves tables of facts, from which anyone computes its numbers again.

Beside its samples a method leaves tables with the columns that it declares. They hold no prompts and no answers, go
wherever the result goes, and give the metrics ``task.METHOD_NAME`` and the method's figure in the report.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from moecap.errors import BadInputError, MoecapError, NotAvailableError, UnknownNameError
from moecap.metrics.value import Metric
from moecap.observations.reader import Routing, Steps
from moecap.observations.recorder import Recorder
from moecap.observations.task_tables import TaskTables, task_table_file, typed_tables
from moecap.plugins import TASKS, load_plugin, plugin_names
from moecap.tasks.arguments import refuse_unknown_arguments
from moecap.tasks.base import Task, TaskOptions
from moecap.tasks.parts import Parts

if TYPE_CHECKING:
    from moecap.report.section import Section

__all__ = [
    "SIZE",
    "MethodTask",
    "Passes",
    "PublishedFigure",
    "Tables",
    "method_metrics",
    "method_tables",
    "of_method",
]

SIZE = "size"
"""The argument that every method takes: the name of one of its sets of arguments."""

Tables = Mapping[str, pd.DataFrame]
"""A method's tables by name, with the columns that it declares; one that the run did not reach is empty."""


@dataclass(frozen=True, slots=True)
class Passes:
    """What an engine recorded of its passes, to which a method's tables may refer by the number of a step.

    Attributes:
        steps: The steps of the whole run.
        routing: Routed experts of each token; ``None`` where they were not captured.
        experts: Routed experts with weights of a MoE layer, at most; ids from there on compute nothing.
    """

    steps: Steps
    routing: Routing | None
    experts: int


class PublishedFigure(BaseModel):
    """A number that a paper gives.

    Attributes:
        metric: What it is, in the paper's words.
        setting: Of which model, data and variant.
        value: The number.
        unit: ``%``, ``1``, ``x`` and so on.
        source: Where it stands: paper with table or section.
        mark: How it is known: read in the ``paper`` or in the authors' ``code``; what is known from elsewhere
            only is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    setting: str
    value: float
    unit: str
    source: str
    mark: Literal["paper", "code"]


class MethodTask(Task):
    """A task that leaves tables. Its module lies in a package of its own with a file ``published.yaml``."""

    tables: ClassVar[Mapping[str, pa.Schema]]
    """The columns of each table (``moecap.observations.task_tables.column``)."""
    sizes: ClassVar[Mapping[str, Mapping[str, str]]]
    """Values of its arguments by the name of a size: ``default`` (under five minutes on two cores), ``ci`` (under 30
    seconds), ``full`` (the full sets), ``gpu`` (the paper's size). What the user gives goes before them."""

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of all its arguments."""
        return (SIZE, *super().takes)

    def arguments_in_force(self, options: TaskOptions) -> dict[str, str]:
        """The arguments of the size that is asked for, under those that the user gives.

        Raises:
            UnknownNameError: If an argument or the size is none.
        """
        refuse_unknown_arguments(f"task {self.name}", options.arguments, self.takes)
        size = options.arguments.get(SIZE, "default")
        if size not in self.sizes:
            raise UnknownNameError(f"size of {self.name}", size, self.sizes)
        given = {name: value for name, value in options.arguments.items() if name != SIZE}
        return {**self.sizes[size], **given}

    def leave(self, recorder: Recorder, name: str, columns: Mapping[str, Sequence[Any] | np.ndarray[Any, Any]]) -> None:
        """Leave a table of facts with the run.

        Args:
            recorder: Keeps it.
            name: A name out of ``tables``.
            columns: The values of every column of that table, of equal lengths.

        Raises:
            ValueError: If the columns are others, or hold what the table cannot.
        """
        schema = self.tables[name]
        if set(columns) != set(schema.names):
            raise ValueError(f"table {name} of {self.name} has the columns {schema.names}, not {sorted(columns)}")
        table = pa.table({column: pa.array(columns[column], schema.field(column).type) for column in schema.names})
        for column in schema.names:
            values = table[column].to_numpy()
            if table[column].null_count or (values.dtype.kind == "f" and not np.isfinite(values).all()):
                raise ValueError(f"column {column} of table {name} of {self.name} has an entry that is no finite value")
        recorder.table(self.name, name, table.cast(schema))

    def score(
        self, options: TaskOptions, predictions: Path, gold: Path | None
    ) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
        """Score predictions that were made elsewhere: a sample an item, and metrics named as ``metrics`` names them.

        Args:
            options: The task's options.
            predictions: The file of predictions.
            gold: The file of right answers, where there is one.

        Raises:
            NotAvailableError: If the method scores none, which is the default.
            BadInputError: If a line of a file is malformed; it is named.
        """
        raise NotAvailableError(f"task {self.name!r} scores what it finds as it runs; moecap run --task {self.name}")

    @classmethod
    @abstractmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """The method's numbers, from what is stored alone; called by a run, by ``moecap verify`` and by a leaderboard.

        Args:
            tables: Its tables, which may come from anyone: the columns are as declared, their values are not checked.
            passes: The engine's own passes; ``None`` where it recorded none.

        Returns:
            Metrics by their names without ``task.METHOD_``.

        Raises:
            BadInputError: If the tables contradict themselves; it names file and column.
        """

    @abstractmethod
    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """The parts that the tables of a whole run have: rows of each seed, variant and so on that was asked for.

        ``moecap verify`` refuses a complete result whose tables lack a part or have another one.

        Args:
            options: How the task was asked, of a stranger's result as it states it. Where its data was the user's own,
                ``data`` is a folder that does not hold it.
            tables: Its tables, where what is done depends on the data.

        Raises:
            UsageError: If an argument is none.
        """

    @classmethod
    @abstractmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """The method's part of the report; ``None`` where there is nothing to show.

        Args:
            tables: Its tables.
            metrics: Its metrics, named as ``metrics`` names them.
        """

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """What does not hold between its samples and its tables; empty where all does.

        Args:
            tables: Its tables.
            samples: Its samples, which may come from anyone; where they stayed at home this is not asked.
        """
        return ""

    @classmethod
    def published(cls) -> tuple[PublishedFigure, ...]:
        """The figures that the paper gives, out of ``published.yaml`` beside the method's module."""
        return _published(cls.__module__.rpartition(".")[0])


@cache
def _published(package: str) -> tuple[PublishedFigure, ...]:
    text = files(package).joinpath("published.yaml").read_text(encoding="utf-8")
    return TypeAdapter(tuple[PublishedFigure, ...]).validate_python(yaml.safe_load(text))


def of_method(metric: str) -> bool:
    """Whether a metric ``task.*`` is of a method that is installed here, and so follows from the method's tables."""
    name = metric.removeprefix("task.")
    if name == metric:
        return False
    owners = [task for task in plugin_names(TASKS) if name.startswith(f"{task}_")]
    return bool(owners) and _method(max(owners, key=len)) is not None


def method_tables(tables: TaskTables) -> Iterator[tuple[type[MethodTask], Tables]]:
    """Each method that left tables with its tables, whose columns are as it declares them.

    Args:
        tables: The tables of a run by task.

    Raises:
        BadInputError: If a table is of no method that is installed here, or has other columns.
    """
    for name, found in tables.items():
        method = _method(name)
        if method is None:
            file = task_table_file(name, next(iter(found)))
            raise BadInputError(f"{file}: no method {name!r} is installed here, so nothing can be computed from it")
        for table in found:
            if table not in method.tables:
                raise BadInputError(f"{task_table_file(name, table)}: the method {name} leaves no such table")
        yield method, typed_tables(name, method.tables, found)


def method_metrics(tables: TaskTables, passes: Passes | None) -> dict[str, Metric]:
    """``task.METHOD_NAME`` for every metric of each method that left tables.

    Args:
        tables: The tables of a run by task.
        passes: The engine's own passes; ``None`` where it recorded none.

    Raises:
        BadInputError: If a table is none of its method's, or contradicts itself.
    """
    metrics: dict[str, Metric] = {}
    for method, of_method in method_tables(tables):
        try:
            found = method.metrics(of_method, passes)
        except MoecapError:
            raise
        except Exception as error:  # values that no run leaves: whatever they break, the tables are what is broken
            file = task_table_file(method.name, next(iter(tables[method.name])))
            raise BadInputError(
                f"{file}: the tables of {method.name} give no metrics ({type(error).__name__}: {error})"
            ) from error
        metrics |= {f"task.{method.name}_{name}": metric for name, metric in found.items()}
    return metrics


def _method(name: str) -> type[MethodTask] | None:
    try:
        found = load_plugin(TASKS, name)
    except MoecapError:
        return None
    return found if isinstance(found, type) and issubclass(found, MethodTask) else None
