"""The method's numbers, from its tables and the engine's own steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.errors import BadInputError
from moecap.metrics.accuracy import mean_metric
from moecap.metrics.bootstrap import interval
from moecap.metrics.value import Metric, absent, measured
from moecap.tasks.method import Passes, Tables
from moecap.tasks.moicl.activation import mean_activated, owners_by_sequence, owners_by_step
from moecap.tasks.moicl.tables import Arranged, Found, read_tables
from moecap.tasks.moicl.weights import fit_nonnegative, fit_scalar

__all__ = ["moicl_metrics"]

Array = npt.NDArray[np.float64]

AGREE = 1e-3
"""How far a learned weight may lie from the one that the tables give again, on a machine that rounds otherwise."""


def moicl_metrics(tables: Tables, passes: Passes | None) -> dict[str, Metric]:
    """Every number of the method by name.

    ``accuracy_X``, ``nll_X`` (nats a test item), ``train_nll_X`` and ``gain_X`` (accuracy less that of all
    demonstrations in one prompt, on the same items) of each X: ``concat``, ``concat_train``, ``random_search``,
    ``lens``, and ``uniform``, ``scalar``, ``nonnegative``, ``sparse``, ``hyper`` followed by ``_kN``. Of each N:
    ``prompt_tokens_per_query_kN``, ``new_tokens_per_query_kN``, ``latency_kN``, ``experts_activated_kN``,
    ``experts_activated_by_queries_kN``, ``negative_weights_kN`` and ``auc_disturbed_kN``.

    Raises:
        BadInputError: If the tables contradict themselves or the steps.
    """
    if len(tables["answers"]):
        return _generated(tables["answers"], tables["weights"])
    if not len(tables["scores"]):
        return {}
    found = read_tables(tables)
    _refuse_other_weights(found)
    metrics: dict[str, Metric] = {}
    scored = dict(_scored(found))
    for label, (right, losses, trained) in scored.items():
        metrics[f"accuracy_{label}"] = mean_metric(right.mean(0).tolist())
        if len(right) > 1:
            metrics[f"accuracy_spread_{label}"] = measured(right.mean(1).std(ddof=1), "1", len(right))
        per_item = losses.mean(0)
        metrics[f"nll_{label}"] = measured(per_item.mean(), "nats", len(per_item), *interval(per_item, _mean))
        if len(trained):
            metrics[f"train_nll_{label}"] = measured(trained.mean(), "nats", trained.size)
        if label != "concat" and "concat" in scored and scored["concat"][0].shape == right.shape:
            gain = (right - scored["concat"][0]).mean(0)
            metrics[f"gain_{label}"] = measured(gain.mean(), "1", len(gain), *interval(gain, _mean))
    for name in sorted({name for _, name in found.arranged if name.startswith("k")}, key=lambda name: int(name[1:])):
        layouts = {seed: one for (seed, other), one in found.arranged.items() if other == name}
        metrics |= _of_layout(name, layouts, found, passes)
    return metrics


def _generated(answers: pd.DataFrame, weights: pd.DataFrame) -> dict[str, Metric]:
    """Shares of generated answers that are right, and their lengths; the weights are on the run's word."""
    if answers.duplicated(["seed", "arrangement", "method", "item"]).any():
        raise BadInputError("moicl.answers.parquet: an item is answered twice; the run has to be repeated")
    metrics = {}
    for (name, method), rows in answers.groupby(["arrangement", "method"], sort=False):
        label = method if name == "k1" else f"{method}_{name}"
        per_item = rows.groupby("item")["right"].mean()
        metrics[f"accuracy_{label}"] = mean_metric(per_item.tolist())
        metrics[f"answer_tokens_{label}"] = measured(rows["tokens"].mean(), "tokens", len(rows))
    for layout, rows in weights[weights["method"] == "scalar"].groupby("arrangement"):
        negative = (rows["weight"] < 0).groupby(rows["seed"]).sum()
        metrics[f"negative_weights_{layout!s}"] = measured(negative.mean(), "experts", len(negative))
    return metrics


def _scored(found: Found) -> Iterator[tuple[str, tuple[Array, Array, Array]]]:
    """By the label of a method: right or not, losses, and losses on training items, each [seeds, items]."""
    parts: dict[str, list[tuple[Array, Array, Array | None]]] = {}
    for (seed, name), one in found.arranged.items():
        for method, weights in one.weights.items():
            label = method if len(one.experts) == 1 else f"{method}_{name}"
            gold = found.gold[seed, "test"]
            logs = found.tree.log_probabilities(one.scores["test"], weights)
            right = (logs.argmax(1) == gold).astype(np.float64)
            trained = _losses(found, seed, "train", one, weights) if "train" in one.scores else None
            parts.setdefault(label, []).append((right, _losses(found, seed, "test", one, weights), trained))
    for label, of_seeds in parts.items():
        scored, losses = np.stack([seed[0] for seed in of_seeds]), np.stack([seed[1] for seed in of_seeds])
        learned = [seed[2] for seed in of_seeds if seed[2] is not None]
        yield label, (scored, losses, np.stack(learned) if learned else np.empty((0, 0)))


def _losses(found: Found, seed: int, split: str, one: Arranged, weights: Array) -> Array:
    """Negative log-likelihood of the right label of each item, [items]."""
    gold = found.gold[seed, split]
    logs = found.tree.log_probabilities(one.scores[split], weights)
    losses: Array = -logs[np.arange(len(gold)), gold]
    return losses


def _of_layout(name: str, layouts: dict[int, Arranged], found: Found, passes: Passes | None) -> dict[str, Metric]:
    """What a query costs with the experts of a layout, and what their weights are like."""
    sequences = pd.concat([one.sequences[one.sequences["split"] == "test"] for one in layouts.values()])
    metrics = {}
    for column, label in (("tokens", "prompt_tokens"), ("query_tokens", "new_tokens")):
        per_query = sequences.groupby(["seed", "item"])[column].sum()
        metrics[f"{label}_per_query_{name}"] = measured(per_query.mean(), "tokens", len(per_query))
    alone = found.latency[found.latency["arrangement"] == name]
    metrics[f"latency_{name}"] = _latency(alone, passes)
    activated = absent("experts", "the routed experts were not captured")
    metrics[f"experts_activated_{name}"] = metrics[f"experts_activated_by_queries_{name}"] = activated
    if passes is not None and passes.routing is not None and passes.routing.experts.shape[1]:
        if len(alone):
            owners = owners_by_step(passes, alone["first_step"].to_numpy(), alone["end_step"].to_numpy())
            metrics[f"experts_activated_{name}"] = mean_activated(passes, owners)
        numbered = sequences.assign(query=sequences.groupby(["seed", "item"]).ngroup())
        owners = owners_by_sequence(passes, numbered)
        metrics[f"experts_activated_by_queries_{name}"] = mean_activated(passes, owners)
    learned = {seed: one.weights["scalar"] for seed, one in layouts.items() if "scalar" in one.weights}
    if learned:
        negative = [int((weights < 0).sum()) for weights in learned.values()]
        metrics[f"negative_weights_{name}"] = measured(np.mean(negative), "experts", len(negative))
        metrics[f"auc_disturbed_{name}"] = _auc(learned, layouts)
    return metrics


def _latency(alone: pd.DataFrame, passes: Passes | None) -> Metric:
    """Mean time of one query whose prompts are sent alone: of the engine's own steps where it records them."""
    if not len(alone):
        return absent("s", "no query was sent alone (--task-arg latency)")
    first, end = alone["first_step"].to_numpy(), alone["end_step"].to_numpy()
    steps = 0 if passes is None else len(passes.steps)
    if (first < 0).any() or (end < first).any() or (passes is not None and (end > steps).any()):
        raise BadInputError("moicl.latency.parquet: it names steps that there are not; the run has to be repeated")
    if passes is None or (end == first).any():
        times = alone["wall_ns"].to_numpy() * 1e-9
    else:
        until = np.concatenate([[0], np.cumsum(passes.steps.duration_ns)]) * 1e-9
        times = until[end] - until[first]
    if (times <= 0).any():
        raise BadInputError("moicl.latency.parquet: a query took no time; the run has to be repeated")
    return measured(times.mean(), "s", len(times), *interval(times, _mean))


def _auc(learned: dict[int, Array], layouts: dict[int, Arranged]) -> Metric:
    """Probability that a disturbed expert has a smaller weight than another; the mean over draws that have both."""
    areas = []
    for seed, weights in learned.items():
        rows = layouts[seed].experts
        disturbed = ((rows["changed"] + rows["foreign"]) > 0).to_numpy()
        if disturbed.any() and not disturbed.all():
            pairs = weights[~disturbed][:, None] - weights[disturbed][None, :]
            areas.append(float(((pairs > 0) + 0.5 * (pairs == 0)).mean()))
    if not areas:
        return absent("1", "no draw has both experts with disturbed demonstrations and others")
    return measured(np.mean(areas), "1", len(areas))


def _refuse_other_weights(found: Found) -> None:
    """Refuse weights that are not those that the training items give.

    Only the two convex mixtures are learned again; the noise of the sparse one and the hidden layer of the network
    would magnify the rounding of another machine. Over the whole vocabulary none can be.

    Raises:
        BadInputError: With the layout.
    """
    for (seed, name), one in found.arranged.items():
        if any(not (weights == 1).all() for method, weights in one.weights.items() if len(one.experts) == 1):
            raise BadInputError(f"moicl.weights.parquet: the one prompt of {name} has another weight than 1")
        if found.pull is None or "train" not in one.scores:
            continue
        choices = found.tree.choices(one.scores["train"], found.gold[seed, "train"])
        for method, fit in (("scalar", fit_scalar), ("nonnegative", fit_nonnegative)):
            if method in one.weights and np.abs(fit(choices, found.pull) - one.weights[method]).max() > AGREE:
                raise BadInputError(
                    f"moicl.weights.parquet: the weights {method} of {name} are not those that its training items give"
                )


def _mean(values: Array) -> Array:
    return np.asarray(values.mean(-1))
