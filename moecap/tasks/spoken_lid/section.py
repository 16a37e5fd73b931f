"""The method's part of the report: accuracy by domain and speaker with the confound beside it, and what is confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moecap.data.languages import LANGUAGES
from moecap.metrics.accuracy import wilson
from moecap.metrics.value import Metric, measured
from moecap.report.figures import NO_VALUE, in_lines
from moecap.report.markup import Child, Html, data_table, join, paragraph
from moecap.report.section import Chart, Section, chart_figure, how_to_read, metric_value
from moecap.tasks.method import Tables
from moecap.tasks.spoken_lid.answered import Answered, answered

__all__ = ["lid_section"]

NAME, HEADING = "spoken_lid", "Spoken language identification: other recordings and other voices than in training"
COLOURS = {
    "statistics": "--blue",
    "statistics_raw": "--grey",
    "convolution": "--green",
    "convolution_adversarial": "--purple",
    "chat": "--orange",
}
TITLES = {
    "statistics": "statistics, regression",
    "statistics_raw": "the same, not normalised",
    "convolution": "convolutions",
    "convolution_adversarial": "convolutions, domain-adversarial",
    "chat": "model that was asked",
    "given": "given answers",
}
HOW = (
    "Each mark is the share of test utterances whose language was told right, the mean over the seeds, with Wilson's "
    "95 % interval for so many utterances, however many seeds heard them. From the left: the recordings and voices "
    "of the training, then others. The dotted line is what chance gives. A classifier that falls from left to right "
    "has learnt recordings or voices together with the languages. In the table a language counts as right for its "
    "family if one of the same genus was answered, and the gap is accuracy in the domains of the training less that "
    "in others."
)
HOW_CONFUSED = "A row is a language that was spoken, a column an answer; a row adds up to 1."
MEASURES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "family_accuracy": "Family",
    "in_domain_accuracy": "Domains of the training",
    "out_of_domain_accuracy": "Other domains",
    "gap": "Gap",
    "known_speakers_accuracy": "Speakers of the training",
    "new_speakers_accuracy": "Other speakers",
}


def lid_section(tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
    """Two charts and a table for each experiment; ``None`` where nothing was answered."""
    found = [one for one in answered(tables) if one.ids]
    if not found:
        return None
    parts: list[Html] = []
    charts: list[Chart] = []
    for experiment in dict.fromkeys(one.experiment for one in found):
        same = [one for one in found if one.experiment == experiment]
        by_domain, confused = _by_domain(experiment, same), _confused(experiment, same)
        charts += [by_domain, confused]
        title = experiment.replace("_", " ")
        parts.append(chart_figure(by_domain, title, _confound(experiment, same[0], metrics), how_to_read(HOW)))
        parts.append(_table(experiment, same, metrics))
        parts.append(chart_figure(confused, f"{title}: answers", _worst(same), how_to_read(HOW_CONFUSED)))
    sources = "; ".join(dict.fromkeys(source for source in tables["experiments"]["source"] if source))
    parts.append(paragraph(f"Speech: {sources}." if sources else "", class_="faint"))
    return Section(NAME, HEADING, join(*parts), tuple(charts))


def _conditions(one: Answered) -> dict[str, np.ndarray]:
    """Test utterances by domain, and by whether training has the speaker; those of the training first."""
    found = {}
    for domain in dict.fromkeys(one.domains.tolist()):
        for known in (True, False):
            inside = (one.domains == domain) & (one.known == known)
            if inside.any():
                voices = "" if not one.training.utterances else ", voices heard" if known else ", other voices"
                found[f"{domain or 'all'}{voices}"] = inside
    return dict(sorted(found.items(), key=lambda item: -2 * one.in_domain[item[1]].mean() - one.known[item[1]].mean()))


def _by_domain(experiment: str, same: Sequence[Answered]) -> Chart:
    conditions = _conditions(same[0])
    traces: list[dict[str, Any]] = []
    for classifier in dict.fromkeys(one.classifier for one in same):
        of = [one for one in same if one.classifier == classifier]
        marks = [_over_seeds([one.right[inside] for one in of]) for inside in conditions.values()]
        value, low, high = (np.array([getattr(mark, end) for mark in marks]) for end in ("value", "low", "high"))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": TITLES.get(classifier, classifier),
                "x": [in_lines(condition) for condition in conditions],
                "y": np.round(value, 4).tolist(),
                "customdata": [mark.n for mark in marks],
                "error_y": {
                    "type": "data",
                    "array": np.round(high - value, 4).tolist(),
                    "arrayminus": np.round(value - low, 4).tolist(),
                    "thickness": 1,
                    "width": 3,
                },
                "marker": {"color": COLOURS.get(classifier, "--grey"), "size": 9},
                "hovertemplate": "%{y:.3f} of %{customdata:,}<extra>%{fullData.name}</extra>",
            }
        )
    chance = 1 / len(same[0].training.labels)
    layout = {
        "scattermode": "group",
        "xaxis": {"title": {"text": "domain of the tests, and who speaks"}, "type": "category", "automargin": True},
        "yaxis": {"title": {"text": "share right"}, "range": [-0.03, 1.03]},
        "shapes": [
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": chance, "y1": chance,
                "line": {"color": "--grey", "dash": "dot", "width": 1},
            }
        ],
        "showlegend": True,
    }  # fmt: skip
    label = f"Share of languages told right by domain and speaker, {experiment}"
    return Chart(f"spoken-lid-{experiment}", traces, layout, 440, label)


def _over_seeds(right: Sequence[np.ndarray]) -> Metric:
    """Mean share of several seeds; the same utterances heard again narrow no interval."""
    mean, n = float(np.mean(right)), len(right[0])
    return measured(mean, "1", n, *wilson(mean * n, n))


def _confused(experiment: str, same: Sequence[Answered]) -> Chart:
    counts = _counts(same)
    labels = same[0].training.labels
    some = counts[:, -1].any()
    shares = counts[:, : len(labels) + some] / np.maximum(counts.sum(1, keepdims=True), 1)
    trace = {
        "type": "heatmap",
        "z": np.round(shares, 4).tolist(),
        "x": [*labels, *(["none"] if some else [])],
        "y": list(labels),
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "--soft"], [1, "--blue"]],
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "%{y} answered as %{x}: %{z:.2f}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 1},
    }
    axis = {"type": "category", "showgrid": False, "zeroline": False, "dtick": 1}
    layout = {
        "xaxis": {"title": {"text": "answer"}, **axis},
        "yaxis": {"title": {"text": "spoken"}, "autorange": "reversed", **axis},
    }
    label = f"Answers by {TITLES.get(same[0].classifier, same[0].classifier)} to each language, {experiment}"
    return Chart(f"spoken-lid-{experiment}-answers", [trace], layout, 110 + 26 * len(labels), label)


def _counts(same: Sequence[Answered]) -> np.ndarray:
    """Answers of the first classifier, all its seeds together."""
    counts: np.ndarray = np.sum([one.counts for one in same if one.classifier == same[0].classifier], axis=0)
    return counts


def _worst(same: Sequence[Answered]) -> str:
    """What the first classifier confuses most."""
    counts, labels = _counts(same), same[0].training.labels
    wrong = counts[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    begin = f"Answers of the classifier “{TITLES.get(same[0].classifier, same[0].classifier)}”"
    if not wrong.any():
        return f"{begin}; no language was taken for another."
    spoken, answer = np.unravel_index(int(wrong.argmax()), wrong.shape)
    names = [LANGUAGES[labels[i]].name if labels[i] in LANGUAGES else labels[i] for i in (spoken, answer)]
    total = counts[spoken].sum()
    return f"{begin}. Most often {names[0]} was taken for {names[1]}: {wrong.max():,} of {total:,} times."


def _confound(experiment: str, one: Answered, metrics: Mapping[str, Metric]) -> str:
    """How much of the languages speakers and domains would tell in training, and who is tested."""
    of = {
        name: metrics.get(f"{experiment}_training_{name}")
        for name in ("largest_language", "speaker_tells_language", "domain_tells_language")
    }
    least, speaker, domain = (metric.value if metric is not None else None for metric in of.values())
    if least is None or speaker is None or domain is None:
        return "Nothing was trained here, so that neither domain nor speaker is known or new."
    new, other = int((~one.known).sum()), int((~one.in_domain).sum())
    return (
        f"The confound: in training the speaker alone tells the language of {speaker:.0%} of the utterances, and the "
        f"domain of {domain:.0%}, where the most frequent language has {least:.0%}. Of {len(one.ids):,} tests {new:,} "
        f"are of other speakers and {other:,} of other domains."
    )


def _table(experiment: str, same: Sequence[Answered], metrics: Mapping[str, Metric]) -> Html:
    classifiers = list(dict.fromkeys(one.classifier for one in same))
    asked = [m for m in MEASURES if any(f"{experiment}_{c}_{m}" in metrics for c in classifiers)]
    rows: list[tuple[Child, ...]] = [
        (TITLES.get(classifier, classifier), *(_cell(f"{experiment}_{classifier}_{m}", metrics) for m in asked))
        for classifier in classifiers
    ]
    heads = ("Classifier", *(MEASURES[measure] for measure in asked))
    return data_table(f"Measures of {experiment.replace('_', ' ')}", heads, rows, numeric=range(1, len(heads)))


def _cell(name: str, metrics: Mapping[str, Metric]) -> Child:
    metric = metrics.get(name)
    if metric is None:
        return NO_VALUE
    value = metric_value(f"task.spoken_lid_{name}", metric)
    if metric.low is None or metric.high is None:
        return value
    return join(value, f" ({metric.low:.3f} to {metric.high:.3f})")
