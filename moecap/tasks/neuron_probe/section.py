"""The method's part of the report: which share of their units languages have in common, and what the units tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from moecap.metrics.value import Metric
from moecap.report.figures import NO_VALUE
from moecap.report.markup import Child, Html, data_table, folded, join, paragraph
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value
from moecap.tasks.method import Tables
from moecap.tasks.neuron_probe.judged import Judged, Shape, judged, shape_of
from moecap.tasks.neuron_probe.pairs import Pair, pairs_of
from moecap.tasks.neuron_probe.scores import FEW, selections_of
from moecap.tasks.neuron_probe.tables import NAME
from moecap.tasks.plain_names import plain_names

__all__ = ["probe_section"]

HEADING = "Units that tell morphology, and whether languages share them"
UNITS = {
    "neuron": "neurons",
    "expert": "experts (router probabilities)",
    "chosen": "experts (which were chosen)",
    "given": "numbers of the given vectors",
}
HOW = (
    "For each language a probe learns to tell the attribute from a word's vector with random subsets of its units, and "
    "the units that tell most are selected one after another on words whose lemmas the probe has not seen. A square is "
    "the share of the selected units that two languages have in common, a mean over the splits; the sentence says what "
    "random selections share. A star marks a pair that shares more than chance by an exact test at the level of 0.05, "
    "with Holm's correction over the pairs of the attribute, in every split."
)
SHARED = 8
"""Units in the table of those that most languages selected."""


def probe_section(tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
    """A chart of overlaps for each attribute, and the tables; ``None`` where nothing was probed."""
    probes = judged(tables)
    if not probes:
        return None
    shape = shape_of(tables)
    pairs = pairs_of(selections_of(probes), shape.units)
    seeds = len({probe.seed for probe in probes})
    parts: list[Html] = [paragraph(_opening(shape, seeds))]
    charts = []
    for number, (attribute, name) in enumerate(plain_names(pair.attribute for pair in pairs).items()):
        own = [pair for pair in pairs if pair.attribute == attribute]
        charts.append(_chart(f"{NAME}-{number}", attribute, own))
        told = (metrics.get(f"{name}_{end}") for end in ("overlap", "overlap_same_language"))
        sentence = _sentence(attribute, shape, own, *told)
        parts.append(chart_figure(charts[-1], f"Shared units: {attribute}", sentence, how_to_read(HOW)))
        parts.append(folded(f"Pairs of languages, {attribute}", _pair_table(attribute, own)))
    parts.append(_accuracy_table(probes, metrics))
    parts.append(_unit_table(shape, probes))
    if len(tables["skipped"]):
        parts.append(folded("What was not probed", _skipped_table(tables)))
    return Section(NAME, HEADING, join(*parts), tuple(charts))


def _opening(shape: Shape, seeds: int) -> str:
    splits = f"means over {seeds} splits by lemma" if seeds > 1 else "one split by lemma, so that others may differ"
    return (
        f"{shape.selected} of {shape.units:,} {UNITS[shape.unit]} selected for each language and attribute; {splits}."
    )


def _chart(id: str, attribute: str, pairs: Sequence[Pair]) -> Chart:
    languages = sorted({language for pair in pairs for language in pair.languages})
    place = {language: number for number, language in enumerate(languages)}
    sums, counts = np.zeros((len(languages),) * 2), np.zeros((len(languages),) * 2)
    stars = np.ones((len(languages),) * 2, bool)
    for pair in pairs:
        one, other = (place[language] for language in pair.languages)
        for cell in ((one, other), (other, one)):
            sums[cell] += pair.overlap
            counts[cell] += 1
            stars[cell] &= pair.significant
    means = np.round(sums / np.maximum(counts, 1), 4)
    shares = [[float(m) if n else None for m, n in zip(*rows, strict=True)] for rows in zip(means, counts, strict=True)]
    text = [
        ["" if share is None else f"{share:.2f}{'*' if stars[i, j] else ''}" for j, share in enumerate(row)]
        for i, row in enumerate(shares)
    ]
    trace = {
        "type": "heatmap",
        "z": shares,
        "x": languages,
        "y": languages,
        "text": text,
        "texttemplate": "%{text}" if len(languages) <= 12 else "",
        "zmin": 0,
        "zmax": max(0.25, *(pair.overlap for pair in pairs)),
        "colorscale": [[0, "--soft"], [1, "--blue"]],
        "hovertemplate": "%{y} and %{x}: %{text}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 1, "title": {"text": "share", "side": "right"}},
        "xgap": 1,
        "ygap": 1,
    }
    axis = {"type": "category", "showgrid": False, "zeroline": False}
    layout = {"xaxis": axis, "yaxis": {**axis, "autorange": "reversed"}}
    height = min(900, 140 + max(100, 40 * len(languages)))
    return Chart(id, [trace], layout, height, f"Share of selected units that two languages have in common, {attribute}")


def _sentence(attribute: str, shape: Shape, pairs: Sequence[Pair], mean: Metric | None, same: Metric | None) -> str:
    chance = shape.selected / shape.units
    own = f"{np.mean([pair.overlap for pair in pairs]):.3f}"
    if mean is not None and mean.low is not None and mean.high is not None:
        own += f" ({mean.low:.3f} to {mean.high:.3f} over the splits)"
    told = f"Two languages share {own} of their units for {attribute} in the mean, random selections {chance:.3f}"
    if same is not None and same.value is not None:
        told += f", two splits of one language {same.value:.3f}"
    significant = sum(pair.significant for pair in pairs)
    return f"{told}; {significant} of {len(pairs)} pairs are above chance."


def _pair_table(attribute: str, pairs: Sequence[Pair]) -> Html:
    rows: list[tuple[Child, ...]] = []
    for languages in dict.fromkeys(pair.languages for pair in pairs):
        own = [pair for pair in pairs if pair.languages == languages]
        rows.append(
            (
                " and ".join(languages),
                ", ".join(str(pair.shared) for pair in own),
                ", ".join(f"{pair.probability:.2g}" for pair in own),
                ", ".join(f"{pair.adjusted:.2g}" for pair in own),
                f"{sum(pair.significant for pair in own)} of {len(own)}",
            )
        )
    heads = ("Languages", "Shared units", "Probability by chance", "The same by Holm", "Splits above chance")
    return data_table(f"Shared units by split, {attribute}", heads, rows, numeric=(1, 2, 3, 4))


def _accuracy_table(probes: Sequence[Judged], metrics: Mapping[str, Metric]) -> Html:
    k = len(probes[0].units)
    columns = {
        f"acc_{FEW}": f"{FEW} units",
        "acc": f"{k} units",
        "acc_random": f"{k} random units",
        "acc_all": "All units",
        "acc_majority": "Commonest value",
        "nmi": f"Information, {k} units",
    }
    rows: list[tuple[Child, ...]] = []
    for cell, begin in plain_names(probe.cell for probe in probes).items():
        rows.append((cell, *(_cell(f"{begin}_{name}", metrics) for name in columns)))
    heads = ("Language and attribute", *columns.values())
    caption = (
        "Share of test words right, by units, with 95 % intervals. Information is what the units tell of the value, "
        "1 for all of it (normalised mutual information); below 0 the probe is surer than it should be."
    )
    return data_table(caption, heads, rows, numeric=range(1, len(heads)))


def _unit_table(shape: Shape, probes: Sequence[Judged]) -> Html:
    """Units that were selected in most languages, of each attribute."""
    rows: list[tuple[Child, ...]] = []
    for attribute in dict.fromkeys(probe.attribute for probe in probes):
        own = [probe for probe in probes if probe.attribute == attribute]
        languages: dict[int, set[str]] = {}
        for probe in own:
            for unit in probe.units.tolist():
                languages.setdefault(unit, set()).add(probe.language)
        selections = Counter(unit for probe in own for unit in probe.units.tolist())
        most = sorted(selections, key=lambda unit: (-len(languages[unit]), -selections[unit], unit))[:SHARED]
        rows += [
            (attribute, _unit(unit, shape), ", ".join(sorted(languages[unit])), f"{selections[unit]} of {len(own)}")
            for unit in most
        ]
    return data_table(
        "Units that most languages selected", ("Attribute", "Unit", "Languages", "Selections"), rows, numeric=(3,)
    )


def _unit(unit: int, shape: Shape) -> str:
    layer, place = divmod(unit, shape.units // shape.layers)
    if shape.unit in ("expert", "chosen"):
        return f"MoE layer {layer}, expert {place}"
    return f"layer {layer}, {place}" if shape.layers > 1 else str(unit)


def _skipped_table(tables: Tables) -> Html:
    columns = ("language", "attribute", "seed", "reason")
    rows = [tuple(map(str, row)) for row in tables["skipped"][list(columns)].itertuples(index=False)]
    return data_table("What was not probed", ("Language", "Attribute", "Seed", "Reason"), rows)


def _cell(name: str, metrics: Mapping[str, Metric]) -> Child:
    metric = metrics.get(name)
    if metric is None:
        return NO_VALUE
    value = metric_value(f"task.{NAME}_{name}", metric)
    if metric.low is None or metric.high is None:
        return value
    return join(value, f" ({metric.low:.3f} to {metric.high:.3f})")
