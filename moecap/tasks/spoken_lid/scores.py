"""The method's numbers: the shared task's measures, what depends on domain and speaker, the confound, and costs."""

from __future__ import annotations

import numpy as np

from moecap.metrics.accuracy import wilson
from moecap.metrics.seeds import over_seeds
from moecap.metrics.value import Metric, measured
from moecap.tasks.method import Tables
from moecap.tasks.plain_names import plain_names
from moecap.tasks.spoken_lid.answered import Answered, Trained, answered, refuse, trained
from moecap.tasks.spoken_lid.measures import macro_f1, micro_f1, precision_recall_f1, right_families
from moecap.tasks.spoken_lid.tables import ANSWERED, UNPARSED

__all__ = ["lid_metrics", "scores_of", "share"]

SIGNED = frozenset({"gap"})
"""Measures that can be negative."""


def lid_metrics(tables: Tables) -> dict[str, Metric]:
    """Measures of each experiment and classifier, the confound of each experiment, and the costs of each training.

    Several seeds give Student's interval of their mean, and n counts seeds; one seed gives a share Wilson's, and n
    counts utterances.

    Raises:
        BadInputError: If the tables contradict themselves.
    """
    by_name: dict[str, list[Metric]] = {}
    for one in answered(tables):
        for measure, value in scores_of(one).items():
            by_name.setdefault(f"{one.experiment}_{one.classifier}_{measure}", []).append(value)
    metrics = {name: _joined(name, values) for name, values in by_name.items()}
    for name, training in trained(tables).items():
        metrics |= {f"{name}_{measure}": value for measure, value in _confound(training).items()}
    return metrics | _costs(tables)


def scores_of(one: Answered) -> dict[str, Metric]:
    """Each measure of one classifier with one seed."""
    right, counts, n = one.right, one.counts, len(one.gold)
    found = {
        "accuracy": share(right),
        "micro_f1": measured(micro_f1(counts), "1", n),
        "macro_f1": measured(macro_f1(counts), "1", n),
        "family_accuracy": share(right_families(one.gold, one.found)),
    }
    for domain, name in plain_names(one.domains.tolist()).items():
        if domain:
            found |= _of_domain(f"domain_{name}", one, one.domains == domain)
    parts = {
        "in_domain": one.in_domain,
        "out_of_domain": ~one.in_domain,
        "known_speakers": one.known,
        "new_speakers": ~one.known,
    }
    for name, inside in parts.items() if one.training.utterances else ():  # without training nothing is known or new
        if inside.any():
            found[f"{name}_accuracy"] = share(right[inside])
    if "in_domain_accuracy" in found and "out_of_domain_accuracy" in found:
        found["gap"] = measured(right[one.in_domain].mean() - right[~one.in_domain].mean(), "1", n)
    if set(one.outcomes) != {ANSWERED}:
        found["unparsed"] = share(np.array(one.outcomes) == UNPARSED)
        found["failed"] = share(~np.isin(one.outcomes, (ANSWERED, UNPARSED)))
    table = precision_recall_f1(counts)
    for kind, values in zip(("precision", "recall", "f1"), table, strict=True):
        for label, value, of in zip(one.training.labels, values, counts.sum(1), strict=True):
            found[f"{kind}_{label}"] = measured(value, "1", int(of))
    return found


def _of_domain(name: str, one: Answered, inside: np.ndarray) -> dict[str, Metric]:
    """Accuracy in a domain, and apart for speakers whom training has and others, where the domain has both."""
    found = {f"{name}_accuracy": share(one.right[inside])}
    parts = {"known_speakers": inside & one.known, "new_speakers": inside & ~one.known}
    if all(part.any() for part in parts.values()):
        found |= {f"{name}_{speakers}_accuracy": share(one.right[part]) for speakers, part in parts.items()}
    return found


def share(which: np.ndarray) -> Metric:
    """How many of the utterances, with Wilson's interval."""
    return measured(which.mean(), "1", len(which), *wilson(int(which.sum()), len(which)))


def _confound(training: Trained) -> dict[str, Metric]:
    """How much of the language the speaker or the domain alone would tell in training."""
    n = training.utterances
    if not n:
        return {}
    return {
        "training_largest_language": measured(training.tells_language(""), "1", n),
        "training_speaker_tells_language": measured(training.tells_language("speaker"), "1", n),
        "training_domain_tells_language": measured(training.tells_language("domain"), "1", n),
    }


def _joined(name: str, values: list[Metric]) -> Metric:
    if len(values) == 1:
        return values[0]
    least = -1.0 if name.rpartition("_")[2] in SIGNED else 0.0
    return over_seeds([v.value or 0.0 for v in values], bounds=(least, 1.0))


def _costs(tables: Tables) -> dict[str, Metric]:
    """Parameters, seconds of training and seconds a test utterance."""
    found: dict[str, Metric] = {}
    for (experiment, classifier), rows in tables["fits"].groupby(["experiment", "classifier"], sort=False):
        n = int((tables["tests"]["experiment"] == experiment).sum())
        broken = not n or rows["parameters"].nunique() > 1 or bool(rows["seed"].duplicated().any())
        refuse(broken, "fits", f"column parameters or seed of {experiment} does not fit its tests")
        begin = f"{experiment}_{classifier}"
        if rows["parameters"].iloc[0]:
            found[f"{begin}_parameters"] = measured(rows["parameters"].iloc[0], "parameters", len(rows))
            found[f"{begin}_train_seconds"] = over_seeds(list(rows["train_seconds"]), "s", (0.0, float("inf")))
        each = [seconds / n for seconds in rows["answer_seconds"]]
        found[f"{begin}_answer_seconds_per_utterance"] = over_seeds(each, "s", (0.0, float("inf")))
    return found
