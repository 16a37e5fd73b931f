"""The method's numbers: shares right by kind of set, ranks, answers that were none, and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from moecap.metrics.clusters import Groups, grouped_mean
from moecap.metrics.seeds import over_seeds
from moecap.metrics.value import Metric, measured
from moecap.tasks.imagecode.picked import CHATS, Picked, picked, refuse
from moecap.tasks.imagecode.questions import STATIC, VIDEO
from moecap.tasks.imagecode.tables import NO_PICK, UNKNOWN
from moecap.tasks.method import Tables

__all__ = ["imagecode_metrics"]


def imagecode_metrics(tables: Tables) -> dict[str, Metric]:
    """Measures of each variant.

    ``chat_accuracy``, ``chat_accuracy_video`` and so on are of the questions whose image is known. Several seeds give
    Student's interval of their mean, and n counts seeds; with one n counts questions, and the interval takes those of
    one set, or of one photograph, as alike.

    Args:
        tables: The tables.

    Raises:
        BadInputError: If the tables contradict themselves.
    """
    by_name: dict[str, list[Metric]] = {}
    tags = {str(tag): set(rows["item"]) for tag, rows in tables["tags"].groupby("tag")}
    for one in picked(tables):
        for measure, value in _measures(one, tags).items():
            by_name.setdefault(f"{one.variant}_{measure}", []).append(value)
    metrics = {name: _joined(values) for name, values in by_name.items()}
    return metrics | _constant(tables["questions"]) | _fits(tables) | _requests(tables)


def _measures(one: Picked, tags: Mapping[str, set[str]]) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    known = one.golds != UNKNOWN
    parts = {"": known, **{f"_{kind}": known & (one.kinds == kind) for kind in (VIDEO, STATIC)}}
    parts |= {f"_tag_{tag}": known & np.isin(one.items, sorted(items)) for tag, items in sorted(tags.items())}
    for end, chosen in parts.items():
        if chosen.any():
            right = one.right[chosen]
            found[f"accuracy{end}"] = Groups.of(right, one.groups[chosen]).share(int(right.sum()))
    if one.scores is not None and known.all():
        found["mrr"] = grouped_mean(1 / one.ranks, one.groups, (0.0, 1.0))
    if one.variant in CHATS:
        found["unanswered"] = measured((one.picks == NO_PICK).sum(), "questions", len(one.picks))
    return found


def _joined(values: Sequence[Metric]) -> Metric:
    return values[0] if len(values) == 1 else over_seeds([v.value or 0.0 for v in values], bounds=(0.0, 1.0))


def _constant(questions: pd.DataFrame) -> dict[str, Metric]:
    """What is right by always picking the place that is meant most often."""
    known = questions.loc[questions["gold"] != UNKNOWN, "gold"]
    if known.empty:
        return {}
    most = int(known.value_counts().iloc[0])
    return {"constant_accuracy": measured(most / len(known), "1", len(known))}


def _fits(tables: Tables) -> dict[str, Metric]:
    """Numbers that were trained, seconds of a training and seconds a question."""
    found: dict[str, Metric] = {}
    asked = tables["picks"].groupby(["variant", "seed"]).size().to_dict()
    for variant, rows in tables["fits"].groupby("variant", sort=False):
        keys = list(zip(rows["variant"], rows["seed"], strict=True))
        refuse(
            len(set(keys)) < len(keys) or any(key not in asked for key in keys) or rows["parameters"].nunique() > 1,
            "fits",
            f"the trainings of {variant} do not fit its picks",
        )
        found[f"{variant}_parameters"] = measured(rows["parameters"].iloc[0], "parameters", len(rows))
        bounds = (0.0, float("inf"))
        found[f"{variant}_train_seconds"] = over_seeds(rows["train_seconds"].tolist(), "s", bounds)
        each = [seconds / asked[key] for key, seconds in zip(keys, rows["score_seconds"], strict=True)]
        found[f"{variant}_score_seconds_per_question"] = over_seeds(each, "s", bounds)
    return found


def _requests(tables: Tables) -> dict[str, Metric]:
    """Seconds and tokens of a question, over its requests; one with a failed or untold request adds nothing."""
    requests, tokens = tables["requests"], tables["tokens"]
    if requests.empty:
        return {}
    name = CHATS[int((requests["image"] >= 0).any())]
    refuse(bool(requests.duplicated(["item", "image"]).any()), "requests", "a request comes twice")
    refuse(not requests["status"].isin(["completed", "failed"]).all(), "requests", "column status is none")
    refuse(bool((requests["seconds"] < 0).any()), "requests", "column seconds is below 0")
    refuse(bool((tokens[["input_tokens", "output_tokens"]] < 0).any(axis=None)), "tokens", "a number is below 0")
    failed = requests["status"] == "failed"
    found = {f"{name}_failed_requests": measured(failed.sum(), "requests", len(requests))}
    done = requests[~requests["item"].isin(requests.loc[failed, "item"])]
    if len(done):
        seconds = done.groupby("item")["seconds"].sum()
        found[f"{name}_seconds_p50"] = measured(seconds.median(), "s", len(seconds))
        found[f"{name}_seconds"] = measured(seconds.mean(), "s", len(seconds))
    told = tokens.groupby("item").size().reindex(requests["item"].unique(), fill_value=0)
    whole = told.index[told == requests.groupby("item").size().reindex(told.index)]
    counted = tokens[tokens["item"].isin(whole) & tokens["item"].isin(done["item"])]
    for kind in ("input_tokens", "output_tokens"):
        if len(counted):
            each = counted.groupby("item")[kind].sum()
            found[f"{name}_{kind}"] = measured(each.mean(), "tokens", len(each))
    return found
