"""The numbers of an experiment with adapters, from its tables alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.errors import BadInputError
from moecap.metrics.seeds import over_seeds
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.task_tables import task_table_file
from moecap.tasks.adapter_routing.tables import BYTES_PER_PARAMETER, NO_ADAPTER
from moecap.tasks.adapter_routing.variants import VARIANTS, Layout, is_layout_of, parameters_of_shots
from moecap.tasks.method import Tables

__all__ = ["METHOD", "STAGES", "adapter_metrics"]

METHOD = "adapter_routing"
STAGES = ("multitask", "few_shot", "zero_shot")
_LARGEST = 1_000_000
"""No layer is wider, and no inventory has more tasks, heads, skills or ranks."""


def adapter_metrics(tables: Tables) -> dict[str, Metric]:
    """Every metric of the method, by its name without ``task.adapter_routing_``.

    Args:
        tables: The tables as declared, of any content.

    Raises:
        BadInputError: If they contradict themselves.
    """
    layouts = _layouts(tables["variants"])
    _check_names(tables, layouts)
    metrics: dict[str, Metric] = {}
    metrics |= _accuracies(tables["scores"])
    metrics |= _parameters(tables["layers"], tables["scores"], layouts)
    metrics |= _routing(tables, layouts)
    metrics |= _gradients(tables["gradients"])
    metrics |= _times(tables)
    return metrics


def _layouts(variants: pd.DataFrame) -> dict[str, Layout]:
    """What each variant is made of.

    Raises:
        BadInputError: If one is none, comes twice, or is not made as its name says.
    """
    layouts: dict[str, Layout] = {}
    for name, routing, *numbers in variants[["variant", "routing", "tasks", "heads", "skills", "rank"]].values.tolist():
        tasks, heads, skills, rank = sizes = tuple(numbers)
        if name not in VARIANTS or name in layouts:
            raise _bad("variants", "variant", f"{name!r} is no variant or comes twice")
        if not all(1 <= size <= _LARGEST for size in sizes):
            raise _bad("variants", "tasks", f"{name} has sizes {sizes}; each is 1 to {_LARGEST}")
        layout = Layout(routing, tasks, heads, skills, rank)
        if not is_layout_of(name, layout):
            raise _bad("variants", "routing", f"{name} is not made as its name says")
        layouts[name] = layout
    return layouts


def _check_names(tables: Tables, layouts: dict[str, Layout]) -> None:
    """Refuse rows of a variant, stage or adaptation that the run does not have, and rows that come twice."""
    keys = {
        "layers": ["name"],
        "scores": ["stage", "variant", "adaptation", "seed", "task"],
        "routing": ["variant", "seed", "router", "task", "head", "skill"],
        "gradients": ["variant", "seed", "step", "first", "second"],
        "training": ["stage", "variant", "adaptation", "seed"],
        "forward": ["variant", "repeat"],
    }
    for name, columns in keys.items():
        table = tables[name]
        if table.duplicated(columns).any():
            raise _bad(name, columns[-1], f"a row of the same {', '.join(columns)} comes twice")
        known = {*layouts, NO_ADAPTER} if name == "forward" else {*layouts}
        if "variant" in table and (unknown := set(table["variant"]) - known):
            raise _bad(name, "variant", f"{min(unknown)!r} is not among the variants")
        if "stage" in table:
            _check_stages(name, table)


def _check_stages(name: str, table: pd.DataFrame) -> None:
    """Refuse a stage that is none, and an adaptation that its variant does not have in that stage."""
    for stage, variant, adaptation in table[["stage", "variant", "adaptation"]].drop_duplicates().values.tolist():
        if stage not in STAGES:
            raise _bad(name, "stage", f"{stage!r} is none of {', '.join(STAGES)}")
        of_variant: set[str] = {*VARIANTS[variant].adaptations}
        allowed = {"multitask": {NO_ADAPTER}, "few_shot": of_variant - {"zero"}, "zero_shot": of_variant & {"zero"}}
        if adaptation not in allowed[stage]:
            raise _bad(name, "adaptation", f"{adaptation!r} is no way in which {variant} is adapted in stage {stage}")


def _accuracies(scores: pd.DataFrame) -> dict[str, Metric]:
    """Share of right answers over all test examples of a stage, as a mean over the seeds."""
    if ((scores["right"] < 0) | (scores["right"] > scores["n"]) | (scores["n"] < 1)).any():
        raise _bad("scores", "right", "it is not between 0 and n, or n is below 1")
    metrics: dict[str, Metric] = {}
    for (stage, variant, adaptation), rows in scores.groupby(["stage", "variant", "adaptation"], sort=False):
        sums = rows.groupby("seed")[["right", "n"]].sum()
        metrics[f"{stage}_accuracy_{_setting(variant, adaptation)}"] = over_seeds(
            (sums["right"] / sums["n"]).tolist(), bounds=(0.0, 1.0)
        )
    return metrics


def _parameters(layers: pd.DataFrame, scores: pd.DataFrame, layouts: dict[str, Layout]) -> dict[str, Metric]:
    """Parameters and bytes of the adapters; each follows from the layers' sizes and the variant's layout."""
    if layers.empty:
        return {}
    sizes = layers[["d_in", "d_out"]].to_numpy().astype(np.int64)
    routers = int(layers["router"].max()) + 1
    if ((sizes < 1) | (sizes > _LARGEST)).any() or set(layers["router"]) != set(range(routers)):
        raise _bad("layers", "d_in", "sizes are 1 and more, and routers are numbered from 0 on")
    widths = int(sizes.sum())
    metrics: dict[str, Metric] = {}
    for name, layout in layouts.items():
        total = layout.adapter_parameters(widths) + layout.router_parameters(routers)
        active = layout.active_parameters(widths)
        metrics[f"adapter_parameters_{name}"] = measured(total, "parameters", len(layers))
        metrics[f"active_adapter_parameters_{name}"] = measured(active, "parameters", len(layers))
        metrics[f"adapter_bytes_{name}"] = measured(total * BYTES_PER_PARAMETER, "B", len(layers))
        metrics[f"active_adapter_bytes_{name}"] = measured(active * BYTES_PER_PARAMETER, "B", len(layers))
    done = scores[scores["stage"] == "few_shot"][["variant", "adaptation"]].drop_duplicates()
    for name, adaptation in done.values.tolist():
        learned = parameters_of_shots(layouts[name], adaptation, widths, routers)
        metrics[f"trained_parameters_{_setting(name, adaptation)}"] = measured(learned, "parameters", len(layers))
    return metrics


def _routing(tables: Tables, layouts: dict[str, Layout]) -> dict[str, Metric]:
    """Entropy of the weights over ln K, and cosine between the weights of two tasks; means over all routers."""
    metrics: dict[str, Metric] = {}
    for variant, layout in layouts.items():
        if layout.routing != "learned":
            continue
        entropies, cosines = [], []
        for alpha in _weights(tables["routing"], variant, layout):
            safe = np.where(alpha > 0, alpha, 1.0)
            entropies.append(float(-(alpha * np.log(safe)).sum(-1).mean()))
            cosines.append(_mean_cosine(alpha.reshape(*alpha.shape[:2], -1)))
        if not entropies:
            continue
        if layout.skills == 1:
            metrics[f"routing_entropy_{variant}"] = absent("nat/nat", "one skill leaves no choice", len(entropies))
        else:
            shares = [entropy / np.log(layout.skills) for entropy in entropies]
            metrics[f"routing_entropy_{variant}"] = over_seeds(shares, "nat/nat", (0.0, 1.0))
        if layout.tasks == 1:
            metrics[f"task_cosine_{variant}"] = absent("1", "one task has no pair", len(cosines))
        else:
            metrics[f"task_cosine_{variant}"] = over_seeds(cosines, bounds=(-1.0, 1.0))
    return metrics


def _weights(routing: pd.DataFrame, variant: str, layout: Layout) -> Iterator[npt.NDArray[np.float64]]:
    """``alpha`` of each seed, [routers, tasks, heads, skills], by the plain sigmoid.

    Raises:
        BadInputError: If a logit is missing.
    """
    axes = ["router", "task", "head", "skill"]
    for _, rows in routing[routing["variant"] == variant].groupby("seed"):
        ordered = rows.sort_values(axes)
        shape = (int(ordered["router"].max()) + 1, layout.tasks, layout.heads, layout.skills)
        if len(ordered) != math.prod(shape) or (ordered[axes].to_numpy() != np.indices(shape).reshape(4, -1).T).any():
            raise _bad("routing", "skill", f"{variant} lacks a logit of a router, task, head or skill")
        share = 1 / (1 + np.exp(-ordered["logit"].to_numpy(np.float64).reshape(shape)))
        yield share / share.sum(-1, keepdims=True)


def _mean_cosine(rows: npt.NDArray[np.float64]) -> float:
    """Mean over routers and pairs of tasks, [routers, tasks, any]: the square of a sum holds every pair twice."""
    tasks = rows.shape[1]
    unit = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    of_pairs = np.square(unit.sum(1)).sum(-1) - tasks
    return float(of_pairs.mean() / max(tasks * (tasks - 1), 1))


def _gradients(gradients: pd.DataFrame) -> dict[str, Metric]:
    """Mean cosine between the gradients of two tasks, over pairs and moments of the training."""
    if (gradients["cosine"].abs() > 1 + 1e-9).any():
        raise _bad("gradients", "cosine", "it is not between -1 and 1")
    return {
        f"gradient_alignment_{variant}": over_seeds(rows.groupby("seed")["cosine"].mean().tolist(), bounds=(-1.0, 1.0))
        for variant, rows in gradients.groupby("variant", sort=False)
    }


def _times(tables: Tables) -> dict[str, Metric]:
    """What the adapters add to a pass, and how long training took."""
    if (tables["forward"]["seconds"] <= 0).any() or (tables["training"]["seconds"] < 0).any():
        raise _bad("forward", "seconds", "a time is not above 0")
    metrics: dict[str, Metric] = {}
    passes = {str(key): rows["seconds"] for key, rows in tables["forward"].groupby("variant", sort=False)}
    plain = passes.pop(NO_ADAPTER, None)
    if plain is not None:
        metrics["forward_seconds_none"] = measured(plain.median(), "s", len(plain))
        for name, seconds in passes.items():
            metrics[f"forward_overhead_{name}"] = measured(seconds.median() - plain.median(), "s", len(seconds))
    for (stage, variant, adaptation), rows in tables["training"].groupby(
        ["stage", "variant", "adaptation"], sort=False
    ):
        name = f"training_seconds_{stage}_{_setting(variant, adaptation)}"
        metrics[name] = over_seeds(rows["seconds"].tolist(), "s", (0.0, float("inf")))
    return metrics


def _setting(variant: Any, adaptation: Any) -> str:
    return str(variant) if adaptation in (NO_ADAPTER, "zero") else f"{variant}_{adaptation}"


def _bad(table: str, column: str, what: str) -> BadInputError:
    return BadInputError(f"{task_table_file(METHOD, table)}: column {column}: {what}; the run has to be repeated")
