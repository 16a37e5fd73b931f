"""lm-eval's ``results_TIME.json``, as version 0.4.13 writes it."""

from __future__ import annotations

from typing import Any

from moecap.importing.found import Found
from moecap.importing.reading import Fields
from moecap.metrics.value import Metric

__all__ = ["is_lm_eval", "read_lm_eval"]

Z95 = 1.959963984540054


def is_lm_eval(content: Any) -> bool:
    """Whether a JSON value is of this tool."""
    return isinstance(content, dict) and {"results", "n-samples", "configs"} <= content.keys()


def read_lm_eval(where: str, content: Any) -> Found:
    """Read the file's object.

    A score ``acc,none`` of a task becomes ``accuracy.TASK``, another one ``accuracy.TASK_NAME``; its interval is its
    own standard error times 1.96. What is better when lower, such as bits a byte, is no score and is left out.
    """
    fields = Fields(where, content)
    stated: dict[str, Metric] = {}
    counts = fields.object("n-samples")
    for task, values in fields.object("results").values.items():
        scores = Fields(f"{where}: results.{task}", values)
        n = counts.object(task).count("effective") if task in counts else None
        up = fields.object("higher_is_better").object(task) if "higher_is_better" in fields else Fields(where, {})
        names = [name for name in scores.values if up.values.get(name.partition(",")[0]) is not False]
        names = [name for name in names if "," in name and "_stderr," not in name]
        for name in names:
            score, _, chosen = name.partition(",")
            if not isinstance(scores.values[name], int | float) or not 0 <= scores.values[name] <= 1:
                continue
            ours = f"accuracy.{task}" if score == "acc" else f"accuracy.{task}_{score}"
            ours += "" if chosen == "none" else f"_{chosen}"
            spread = scores.values.get(f"{score}_stderr,{chosen}")
            stated[ours] = _score(scores.number(name) or 0.0, spread, n)
    config = fields.object("config")
    return Found(
        tool="lm-eval",
        version=fields.text("lm_eval_version"),
        date=str(fields.number("date")) if "date" in fields else None,
        model=fields.text("model_name") or None,
        engine=config.text("model") if isinstance(config.values.get("model"), str) else None,
        dataset=", ".join(fields.object("results").values)[:200] or None,
        stated=stated,
        no_requests="lm-eval does not write when it asked",
        remarks=("scores as lm-eval computed them; its samples are not read",),
    )


def _score(value: float, spread: Any, n: int | None) -> Metric:
    if type(spread) is not float or not 0 <= spread <= 1:
        return Metric(value=value, unit="1", n=n)
    low, high = max(0.0, value - Z95 * spread), min(1.0, value + Z95 * spread)
    return Metric(value=value, unit="1", n=n, low=low, high=high)
