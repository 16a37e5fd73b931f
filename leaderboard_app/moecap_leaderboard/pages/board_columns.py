"""The columns of the leaderboard's table: what each shows, in which unit, and by which metric it is sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moecap.metrics.direction import better_of

__all__ = ["COLUMNS", "Column", "chosen_columns", "column_of_task", "compared_metrics", "default_columns", "value_of"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        key: Its name in the address.
        group: The head over it and its neighbours.
        head: Its head.
        unit: The unit of its numbers; empty where it holds words.
        text: What it is, in one sentence.
        metric: The metric that it shows and is sorted by; null where it shows none.
        factor: From the metric's SI unit to the column's.
        inverse: Whether it shows one divided by the metric.
    """

    key: str
    group: str
    head: str
    unit: str
    text: str
    metric: str | None = None
    factor: float = 1.0
    inverse: bool = False

    @property
    def best_first(self) -> str:
        """The ``sort`` that puts its best value on top; of a column without a direction its largest."""
        return f"{'' if self.metric and better_of(self.metric) == 'lower' else '-'}{self.metric}"

    def shown(self, value: float) -> float:
        """A value of the metric as the column shows it."""
        return self.factor / value if self.inverse and value else value * self.factor


COLUMNS = (
    Column("hardware", "", "Hardware", "", "Accelerator or host, and how many of them"),
    Column("engine", "", "Engine", "", "Serving system and its version"),
    Column("load", "", "Load", "", "Requests at once (or requests a second), and tokens in and out"),
    Column("score", "Accuracy", "Scores", "%", "Score of each task with its 95 % interval"),
    Column(
        "speed",
        "Speed",
        "per device",
        "tok/s",
        "Output tokens a second of one device",
        "output_tokens_per_second_per_device",
    ),
    Column(
        "total", "Speed", "all devices", "tok/s", "Output tokens a second of all devices", "output_tokens_per_second"
    ),
    Column("user", "Speed", "per user", "tok/s", "One divided by the median TPOT", "tpot.p50", 1.0, inverse=True),
    Column("ttft", "Latency", "TTFT", "s", "Time to first token, median of the requests", "ttft.p50"),
    Column(
        "tpot",
        "Latency",
        "TPOT",
        "ms",
        "Time per output token after the first, median of the requests",
        "tpot.p50",
        1e3,
    ),
    Column(
        "ttft-stated",
        "Latency",
        "TTFT stated",
        "s",
        "Time to first token as a source states it; of projections the mean",
        "ttft",
    ),
    Column(
        "tpot-stated",
        "Latency",
        "TPOT stated",
        "ms",
        "Time per output token as a source states it; of projections the mean",
        "tpot",
        1e3,
    ),
    Column("e2e", "Latency", "Whole answer", "s", "From the send to the last token, median of the requests", "e2e.p50"),
    Column(
        "decode-mbu",
        "S-MBU",
        "decode",
        "%",
        "Needed reads of decode steps as a share of the peak bandwidth",
        "decode.s_mbu",
        100.0,
    ),
    Column(
        "prefill-mbu",
        "S-MBU",
        "prefill",
        "%",
        "Needed reads of prefill steps as a share of the peak bandwidth",
        "prefill.s_mbu",
        100.0,
    ),
    Column(
        "decode-mfu",
        "S-MFU",
        "decode",
        "%",
        "Useful FLOPs of decode steps as a share of the dense peak",
        "decode.s_mfu",
        100.0,
    ),
    Column(
        "prefill-mfu",
        "S-MFU",
        "prefill",
        "%",
        "Useful FLOPs of prefill steps as a share of the dense peak",
        "prefill.s_mfu",
        100.0,
    ),
    Column(
        "cost",
        "Cost",
        "output",
        "$/M tok",
        "Dollars of the whole system's time for a million output tokens",
        "cost_per_million_output_tokens",
    ),
    Column(
        "blended",
        "Cost",
        "3 in : 1 out",
        "$/M tok",
        "Dollars for a million tokens, three input to one output",
        "cost_per_million_tokens",
    ),
    Column(
        "energy",
        "Energy",
        "output",
        "J/tok",
        "Energy of an output token by the devices' counter",
        "energy_per_output_token",
    ),
    Column("cap", "", "CAP", "", "Which two of performance, cost and accuracy the system optimises: PA, PC or CA"),
    Column(
        "trust", "", "Trust", "", "Self-reported, signed, recomputed from the observations, or reproduced by others"
    ),
    Column("age", "", "Age", "", "Since it was published here"),
)
"""All columns after the model, in their order."""

_STATED = ("ttft-stated", "tpot-stated")
_RARE = ("total", "e2e", "blended", *_STATED)
_MEASURED_ALONE = (
    "score",
    "speed",
    "user",
    "ttft",
    "tpot",
    "decode-mbu",
    "prefill-mbu",
    "decode-mfu",
    "prefill-mfu",
    "cost",
    "cap",
    "blended",
    "e2e",
)


def compared_metrics() -> list[str]:
    """Metrics of columns that rows fill, each with a best value."""
    return [column.metric for column in COLUMNS if column.metric and column.key not in _STATED]


def default_columns(kind: Literal["measured", "projected", "imported", "all"]) -> tuple[str, ...]:
    """Keys of the columns that are shown where none are chosen: those that rows of a kind fill."""
    keys = [column.key for column in COLUMNS]
    if kind == "measured":
        return tuple(key for key in keys if key not in _RARE)
    if kind == "all":
        return tuple(key for key in keys if key not in ("e2e", "blended"))
    return tuple(key for key in keys if key not in _MEASURED_ALONE)


def column_of_task(task: str) -> Column:
    """The column of a task's accuracy, which a filter by the task shows."""
    return Column(
        f"accuracy.{task}", "Accuracy", task, "%", f"Share of right answers in {task}, with its 95 % interval",
        f"accuracy.{task}", 100.0,
    )  # fmt: skip


def chosen_columns(keys: Sequence[str], tasks: Sequence[str]) -> list[Column]:
    """The columns of some keys, with one for each task in place of the scores where tasks are given."""
    found: list[Column] = []
    for column in COLUMNS:
        if column.key not in keys:
            continue
        found += [column_of_task(task) for task in tasks] if column.key == "score" and tasks else [column]
    return found


def value_of(column: Column, item: dict[str, Any]) -> dict[str, Any] | None:
    """The metric of a row that a column shows; null where the row has none."""
    return item["metrics"].get(column.metric) if column.metric else None
