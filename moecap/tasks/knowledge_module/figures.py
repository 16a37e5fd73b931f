"""The method's numbers, computed from its tables alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.errors import BadInputError
from moecap.metrics.accuracy import wilson
from moecap.metrics.bootstrap import interval
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.recorder import distinct_experts
from moecap.tasks.knowledge_module.questions import SETTINGS
from moecap.tasks.knowledge_module.tables import MEASURES, PARTS
from moecap.tasks.method import Passes, Tables

__all__ = ["break_even", "choices", "method_figures"]

FloatArray = npt.NDArray[np.float64]


def method_figures(tables: Tables, passes: Passes | None) -> dict[str, Metric]:
    """Accuracy, cost and training by the names under which the method reports them.

    Args:
        tables: The tables of a run.
        passes: The engine's own passes, for times and experts.

    Raises:
        BadInputError: If the tables contradict themselves.
    """
    found = choices(tables)
    queries = _queries(tables, found)
    seconds = _seconds(queries, passes)
    metrics: dict[str, Metric] = {}
    for setting in (name for name in SETTINGS if name in set(found["setting"])):
        own, asked = found[found["setting"] == setting], queries[queries["setting"] == setting]
        n, right = len(own), int(own["right"].sum())
        metrics[f"accuracy_{setting}"] = measured(right / n, "1", n, *wilson(right, n))
        metrics[f"gold_nats_{setting}"] = _mean(own["gold_log_likelihood"].to_numpy(), "nat")
        metrics[f"prompt_tokens_{setting}"] = _mean(asked["prompt_tokens"].to_numpy(np.float64), "1")
        if seconds is not None and passes is not None:
            metrics[f"query_seconds_{setting}"] = _mean(seconds[queries["setting"] == setting], "s")
            metrics[f"query_experts_{setting}"] = _experts(asked, passes)
    modules = tables["modules"]
    asked_about = modules[modules["role"] == "asked"]
    if len(asked_about):
        metrics |= _training(tables["training"], asked_about["document"])
        metrics |= _cost(asked_about, queries, seconds)
    return metrics


def choices(tables: Tables) -> pd.DataFrame:
    """What each question got in each setting.

    Args:
        tables: The tables of a run.

    Returns:
        Rows of ``question``, ``document``, ``setting``, ``chosen``, ``right`` and ``gold_log_likelihood``, a token of
        the right option.

    Raises:
        BadInputError: If options, settings or questions are not whole.
    """
    questions, answers = tables["questions"], tables["answers"]
    if questions["question"].duplicated().any():
        raise _bad("questions", "a question stands there twice")
    if answers.duplicated(["question", "setting", "option"]).any():
        raise _bad("answers", "an option is scored twice")
    if not answers["setting"].isin(list(SETTINGS)).all():
        raise _bad("answers", "a setting is none of this method's")
    if not (answers["tokens"] >= 1).all() or not (answers["log_likelihood"] <= 0).all():
        raise _bad("answers", "an option has no token, or is likelier than certain")
    rows = []
    golds = dict(zip(questions["question"], questions["gold"], strict=True))
    documents = dict(zip(questions["question"], questions["document"], strict=True))
    options = answers.sort_values("option", kind="stable")
    for (question, setting), own in options.groupby(["question", "setting"], sort=False):
        if question not in golds or own["option"].tolist() != list(range(len(own))):
            raise _bad("answers", f"the options of {question!r} are not whole")
        normed = own["log_likelihood"].to_numpy() / own["tokens"].to_numpy()
        gold = int(golds[question])
        if not 0 <= gold < len(normed):
            raise _bad("questions", f"the right option of {question!r} is none")
        chosen = int(normed.argmax())
        rows.append((question, documents[question], setting, chosen, chosen == gold, float(normed[gold])))
    names = ["question", "document", "setting", "chosen", "right", "gold_log_likelihood"]
    return pd.DataFrame(rows, columns=names)


def break_even(training: float, other: float, own: float) -> float | None:
    """Queries after which a module has cost no more than another way: training / (other - own).

    Args:
        training: Seconds that making the module took beyond what the other way needs before its first query.
        other: Seconds of a query of the other way.
        own: Seconds of a query with the module.

    Returns:
        ``None`` where a query with the module is not faster, and so never will be.
    """
    return training / (other - own) if other > own else None


def _queries(tables: Tables, found: pd.DataFrame) -> pd.DataFrame:
    queries = tables["queries"]
    pairs = set(zip(found["question"], found["setting"], strict=True))
    asked = list(zip(queries["question"], queries["setting"], strict=True))
    if len(asked) != len(pairs) or set(asked) != pairs:
        raise _bad("queries", "they are not those whose answers are scored")
    if (queries[["prompt_tokens", "first_step", "end_step", "retrieving_ns"]] < 0).any(axis=None):
        raise _bad("queries", "a number is below 0")
    return queries


def _seconds(queries: pd.DataFrame, passes: Passes | None) -> FloatArray | None:
    """What each query took, its retrieval included, [queries]; ``None`` where the engine recorded no step."""
    if passes is None:
        return None
    first, end = queries["first_step"].to_numpy(), queries["end_step"].to_numpy()
    if (first >= end).any() or (end > len(passes.steps)).any():
        raise _bad("queries", "its steps are not those of the engine")
    before = np.concatenate([[0], np.cumsum(passes.steps.duration_ns)])
    seconds: FloatArray = (before[end] - before[first] + queries["retrieving_ns"].to_numpy()) / 1e9
    return seconds


def _experts(asked: pd.DataFrame, passes: Passes) -> Metric:
    """Distinct experts of a MoE layer that a query visits, the mean over its layers and then over the queries."""
    routing = passes.routing
    if routing is None:
        return absent("1", "the engine told no experts", len(asked))
    values = []
    for first, end in zip(asked["first_step"], asked["end_step"], strict=True):
        begin, until = np.searchsorted(routing.token_step, [first, end])
        chosen = routing.experts[begin:until]
        values.append(distinct_experts(chosen, passes.experts).mean())
    return _mean(np.array(values), "1")


def _training(rows: pd.DataFrame, documents: pd.Series) -> dict[str, Metric]:
    """Losses before and after, of the texts that were trained on and of those that were not, a mean over documents."""
    own = rows[rows["document"].isin(documents)]
    if not (own["part"].isin(PARTS).all() and own["measure"].isin(MEASURES).all()):
        raise _bad("training", "a part or a measure is none of this method's")
    metrics = {}
    for (part, measure), group in own[own["part"] != "batch"].groupby(["part", "measure"], sort=False):
        steps = group.sort_values("step").groupby("document")["value"]
        metrics[f"{measure}_{part}_before"] = _mean(steps.first().to_numpy(), _unit(str(measure)))
        metrics[f"{measure}_{part}_after"] = _mean(steps.last().to_numpy(), _unit(str(measure)))
    return metrics


def _unit(measure: str) -> str:
    return "1" if measure == "hidden" else "nat"


def _cost(modules: pd.DataFrame, queries: pd.DataFrame, seconds: FloatArray | None) -> dict[str, Metric]:
    numbers = modules.drop(columns=["document", "role"])
    if (numbers < 0).any(axis=None):
        raise _bad("modules", "a number is below 0")
    n = len(modules)
    made = (modules["writing_ns"] + modules["training_ns"]).to_numpy() / 1e9
    metrics = {
        "adapter_bytes": measured(modules["adapter_bytes"].mean(), "B", n),
        "adapter_parameters": measured(modules["adapter_parameters"].mean(), "1", n),
        "expert_adapter_parameters": measured(modules["expert_adapter_parameters"].mean(), "1", n),
        "expert_adapter_active": measured(modules["expert_adapter_active"].mean(), "1", n),
        "kv_bytes": measured(modules["kv_bytes"].mean(), "B", n),
        "writing_seconds": measured(modules["writing_ns"].mean() / 1e9, "s", n),
        "training_seconds": measured(modules["training_ns"].mean() / 1e9, "s", n),
    }
    if seconds is None:
        return metrics
    mean = {name: float(seconds[queries["setting"] == name].mean()) for name in set(queries["setting"])}
    indexing = modules["indexing_ns"].mean() / 1e9
    for other, saved in (("rag", indexing), ("icl", 0.0)):
        if other in mean and "km" in mean:
            number = break_even(float(made.mean()) - saved, mean[other], mean["km"])
            slower = f"a query took {mean['km']:.3g} s with the module and {mean[other]:.3g} s with {other}"
            count = int((queries["setting"] == "km").sum())
            metrics[f"break_even_queries_{other}"] = (
                absent("1", slower, count) if number is None else measured(number, "1", count)
            )
    return metrics


def _mean(values: npt.NDArray[np.float64], unit: str) -> Metric:
    """The mean with its 95 % interval by bootstrap, where there are two values or more."""
    ends = interval(values, lambda drawn: np.asarray(drawn.mean(-1))) if len(values) > 1 else (None, None)
    return measured(values.mean(), unit, len(values), *ends)


def _bad(table: str, what: str) -> BadInputError:
    return BadInputError(f"knowledge_module.{table}.parquet: {what}; the run has to be repeated")
