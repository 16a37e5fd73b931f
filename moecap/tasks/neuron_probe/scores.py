"""The method's numbers: what the selected units tell of each attribute, and how many of them languages share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import numpy as np

from moecap.metrics.seeds import over_seeds
from moecap.metrics.value import Metric, absent, measured
from moecap.tasks.method import Tables
from moecap.tasks.neuron_probe.judged import Judged, judged, shape_of
from moecap.tasks.neuron_probe.overlap import overlap
from moecap.tasks.neuron_probe.pairs import Pair, Selected, pairs_of
from moecap.tasks.neuron_probe.selection import information
from moecap.tasks.plain_names import plain_names

__all__ = ["FEW", "pair_metrics", "probe_metrics", "selections_of"]

FEW = 10
"""Units whose accuracy and information are told beside those of all selected ones."""


def probe_metrics(tables: Tables) -> dict[str, Metric]:
    """Accuracies and information by language and attribute, and overlaps by attribute.

    ``es_number_acc`` is of the selected units, ``_acc_random`` of as many random ones, ``_acc_all`` of all and
    ``_acc_majority`` of the commonest value; ``_nmi`` is the normalised mutual information, on test words. Several
    seeds give Student's interval of their mean, and n counts seeds; with one n counts words, and the interval of a
    share takes those of a lemma as alike.

    Args:
        tables: The tables.

    Raises:
        BadInputError: If the tables contradict themselves.
    """
    probes = judged(tables)
    if not probes:
        return {}
    by_cell: dict[str, list[Judged]] = {}
    names = plain_names(probe.cell for probe in probes)
    for probe in probes:
        by_cell.setdefault(names[probe.cell], []).append(probe)
    metrics = {f"{cell}_{name}": metric for cell, of in by_cell.items() for name, metric in _cell_metrics(of).items()}
    shape = shape_of(tables)
    selections = selections_of(probes)
    metrics |= pair_metrics(pairs_of(selections, shape.units), shape.selected / shape.units)
    return metrics | _same_language(selections)


def selections_of(probes: Iterable[Judged]) -> list[Selected]:
    """The selected units of each probe."""
    return [Selected(p.language, p.attribute, p.seed, frozenset(p.units.tolist())) for p in probes]


def pair_metrics(pairs: Sequence[Pair], chance: float) -> dict[str, Metric]:
    """Mean overlap and share of significant pairs, of each attribute and of all.

    Args:
        pairs: All pairs.
        chance: Mean overlap of random selections.
    """
    if not pairs:
        return {"overlap": absent("1", "no attribute was probed in two languages")}
    metrics: dict[str, Metric] = {}
    begins = {"": "", **{attribute: f"{name}_" for attribute, name in plain_names(p.attribute for p in pairs).items()}}
    for attribute, begin in begins.items():
        own = [pair for pair in pairs if attribute in ("", pair.attribute)]
        metrics[f"{begin}overlap"] = _over_pairs(own, lambda pair: pair.overlap)
        metrics[f"{begin}significant"] = _over_pairs(own, lambda pair: float(pair.significant))
        for name, kind in (("same_genus", True), ("other_genus", False)):
            if some := [pair for pair in own if pair.same_genus is kind]:
                metrics[f"{begin}overlap_{name}"] = _over_pairs(some, lambda pair: pair.overlap)
    metrics["overlap_chance"] = measured(chance, "1", 1)
    return metrics


def _over_pairs(pairs: Sequence[Pair], of: Callable[[Pair], float]) -> Metric:
    """Mean over pairs: with one seed n counts pairs, with several the seeds, whose means are then averaged."""
    seeds = dict.fromkeys(pair.seed for pair in pairs)
    means = [float(np.mean([of(pair) for pair in pairs if pair.seed == seed])) for seed in seeds]
    return measured(means[0], "1", len(pairs)) if len(means) == 1 else over_seeds(means, "1", (0.0, 1.0))


def _same_language(selections: Sequence[Selected]) -> dict[str, Metric]:
    """Overlap of two splits of one language, the most that two languages can be expected to have."""
    by_cell: dict[tuple[str, str], list[frozenset[int]]] = {}
    for one in selections:
        by_cell.setdefault((one.attribute, one.language), []).append(one.units)
    found: dict[str, list[float]] = {}
    names = plain_names(one.attribute for one in selections)
    for (attribute, _), of in by_cell.items():
        found.setdefault(names[attribute], []).extend(overlap(one, other) for one, other in combinations(of, 2))
    whole = [value for values in found.values() for value in values]
    return {
        f"{begin}overlap_same_language": measured(float(np.mean(values)), "1", len(values))
        for begin, values in (("", whole), *((f"{name}_", values) for name, values in found.items()))
        if values
    }


def _cell_metrics(of: Sequence[Judged]) -> dict[str, Metric]:
    """Of one language and attribute, over the seeds."""
    metrics = {
        "acc": _share(of, lambda probe: int(probe.right[-1])),
        "acc_random": _mean_share(of, lambda probe: float(probe.random_right.mean())),
        "acc_all": _share(of, lambda probe: probe.all_right),
        "acc_majority": _share(of, lambda probe: probe.majority),
        "nmi": _information(of, lambda probe: float(probe.test_bits[-1])),
        "nmi_random": _information(of, lambda probe: float(probe.random_bits.mean())),
        "nmi_all": _information(of, lambda probe: probe.all_bits),
    }
    if len(of[0].units) > FEW:
        metrics[f"acc_{FEW}"] = _share(of, lambda probe: int(probe.right[FEW - 1]))
        metrics[f"nmi_{FEW}"] = _information(of, lambda probe: float(probe.test_bits[FEW - 1]))
    return metrics


def _share(of: Sequence[Judged], right: Callable[[Judged], int]) -> Metric:
    """With one seed the words of a lemma count as alike, as far as the answers with the selected units are."""
    if len(of) > 1:
        return _mean_share(of, right)
    return of[0].groups.share(right(of[0]))


def _mean_share(of: Sequence[Judged], right: Callable[[Judged], float]) -> Metric:
    """The same without an interval for one seed, where the number is no count of words."""
    shares = [right(probe) / probe.tests for probe in of]
    return measured(shares[0], "1", of[0].tests) if len(of) == 1 else over_seeds(shares, "1", (0.0, 1.0))


def _information(of: Sequence[Judged], bits: Callable[[Judged], float]) -> Metric:
    values = [information(bits(probe), np.array([*probe.counts["test"].values()])) for probe in of]
    return measured(values[0], "1", of[0].tests) if len(of) == 1 else over_seeds(values)
