"""``moecap score``: scores a file of predictions without a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moecap.metrics.value import Metric

__all__ = ["score"]


def score(
    *,
    task: str,
    predictions: Path,
    gold: Path | None = None,
    task_arg: tuple[str, ...] = (),
    data: Path | None = None,
    limit: int = 0,
    json: bool = False,
) -> None:
    """Score a file of predictions offline: JSON lines with id and answer (or prediction).

    A question without a prediction counts as wrong. The ids are those of the task's questions, as in a run's
    samples.jsonl.

    Args:
        task: The task, from moecap tasks list.
        predictions: The predictions file.
        gold: The right answers as JSON lines with id and gold, in place of the task's own questions.
        task_arg: Argument for the task as KEY=VALUE; may be repeated.
        data: Folder with data sets in their published formats, in place of the cache.
        limit: Questions of the task, the first ones; 0 means all of them.
        json: Print JSON.
    """
    from moecap.cli.output import print_json, print_table, remark
    from moecap.errors import BadInputError
    from moecap.metrics.accuracy import accuracy_metrics
    from moecap.metrics.corpus_scores import corpus_metrics
    from moecap.runner.plan import assignments
    from moecap.tasks.base import TaskOptions, load_task
    from moecap.tasks.method import MethodTask
    from moecap.tasks.offline import score_predictions

    if limit < 0:
        raise BadInputError(f"--limit {limit}: give a number from 0 on")
    options = TaskOptions(limit or None, data, assignments(task_arg, "--task-arg"), remark)
    asked = load_task(task)
    of_method: Mapping[str, Metric] = {}
    if isinstance(asked, MethodTask):
        samples, found = asked.score(options, predictions, gold)
        of_method = {f"task.{task}_{name}": metric for name, metric in found.items()}
    else:
        samples = score_predictions(asked, options, predictions, gold)
    if not samples:
        raise BadInputError(f"--gold {gold}: no question in it; give JSON lines with id and gold")
    metrics = {**accuracy_metrics(samples), **corpus_metrics(samples), **of_method}
    missing = sum(sample["answer"] is None for sample in samples)
    if json:
        content = {name: metric.model_dump() for name, metric in metrics.items()}
        source = str(gold) if gold else asked.data_source
        answer = {"task": task, "source": source, "n": len(samples), "missing": missing, "limit": limit or None}
        print_json(answer | {"metrics": content})
        return
    rows = [
        (
            name,
            "-" if metric.value is None else f"{metric.value:.4f}",
            "-" if metric.low is None else f"{metric.low:.4f} to {metric.high:.4f}",
            str(metric.n),
        )
        for name, metric in metrics.items()
    ]
    print_table(("score", "value", "95 %", "n"), rows, right=["value", "n"])
    if missing:
        remark(f"{missing} of {len(samples)} questions have no prediction and count as wrong")
