"""One draw of demonstrations after the other: the layouts, the baselines, the weights, and the tables of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.tasks.moicl.asking import Asked, Asker
from moecap.tasks.moicl.datasets import Example
from moecap.tasks.moicl.draw import Demonstration, Draw, partition, shown
from moecap.tasks.moicl.hypernetwork import expert_features, fit_hypernetwork, hyper_weights
from moecap.tasks.moicl.layouts import ALONE
from moecap.tasks.moicl.mixture import Array, Choices, uniform
from moecap.tasks.moicl.search import filtered, helpfulness, lens_search, random_search
from moecap.tasks.moicl.settings import Settings
from moecap.tasks.moicl.tables import TABLES, Found
from moecap.tasks.moicl.weights import fit_nonnegative, fit_scalar, fit_sparse

__all__ = ["Experiment", "headline", "learned_weights"]


def learned_weights(choices: Choices, keep: int, pull: float, seed: int) -> dict[str, Array]:
    """The weights of every mixture of some experts by the name of the method, each [experts].

    Args:
        choices: What the experts give on the training items.
        keep: Experts that the sparse mixture keeps; it is left out where there are no more than these.
        pull: Strength of the pull to the uniform weights.
        seed: Seed of what is drawn.
    """
    experts = choices.scores.shape[1]
    found = {
        "uniform": uniform(experts),
        "scalar": fit_scalar(choices, pull),
        "nonnegative": fit_nonnegative(choices, pull),
        "hyper": hyper_weights(fit_hypernetwork(choices, seed), expert_features(choices)),
    }
    return found | ({"sparse": fit_sparse(choices, keep, seed, pull)} if keep < experts else {})


def headline(found: Found) -> Array:
    """Log-probabilities of the labels of the test items by the mixture whose accuracy the task gives, [items, labels].

    It is that of the first draw, with one free weight an expert, of the layout of the most experts.
    """
    most = max(
        (one for (seed, _), one in found.arranged.items() if seed == 0 and {"scalar", "concat"} & one.weights.keys()),
        key=lambda one: len(one.experts),
    )
    weights = most.weights.get("scalar", most.weights.get("concat"))
    assert weights is not None
    return found.tree.log_probabilities(most.scores["test"], weights)


class Experiment:
    """What is asked and learned, filled draw by draw.

    Args:
        settings: What is run.
        asker: Asks the engine.
        tested: The test items.
    """

    def __init__(self, settings: Settings, asker: Asker, tested: Sequence[Example]) -> None:
        self._settings, self._asker, self._tested = settings, asker, tested
        self._rows: dict[str, dict[str, list[Any]]] = {
            table: {name: [] for name in schema.names} for table, schema in TABLES.items()
        }
        self._add("learning", vocabulary=settings.vocabulary, pull=settings.pull)
        tree = asker.tree
        for label, path in enumerate(tree.paths):
            for place, edge in enumerate(path):
                self._add("labels", label=label, place=place, edge=edge, node=int(tree.node[edge]))
        self.headline: Array = np.empty((0, len(tree.paths)))

    @property
    def expected(self) -> int:
        """About how many sequences are scored in all, for the progress."""
        settings, edges = self._settings, len(self._asker.tree.edges)
        both = len(self._tested) + settings.train
        searched = 2 * len(self._tested) + settings.train * (2 * settings.search + 1)
        alone = searched * bool(settings.search) + len(self._tested) * settings.concat_train
        return settings.seeds * edges * (sum(settings.experts) * both + alone)

    def columns(self) -> dict[str, dict[str, list[Any]]]:
        """The columns of every table, of the draws so far."""
        return self._rows

    def run(self, number: int, drawn: Draw) -> None:
        """Everything for one draw.

        Args:
            number: Number of the draw.
            drawn: Its demonstrations and training items.
        """
        gold = {"train": _gold(drawn.train), "test": _gold(self._tested)}
        for split, right in gold.items():
            for item, label in enumerate(right):
                self._add("items", seed=number, split=split, item=item, gold=int(label))
        singles: Array | None = None
        for count in self._settings.experts:
            order = partition(len(drawn.demonstrations), count, drawn.seed)
            parts = [[drawn.demonstrations[i] for i in part] for part in order]
            trained = self._layout(number, f"k{count}", parts, drawn, gold["train"])
            if count == len(drawn.demonstrations):
                singles = trained[:, np.argsort([part[0] for part in order])]
        if self._settings.concat_train:
            more = [Demonstration(one.text, self._settings.labels[one.gold], one.gold) for one in drawn.train]
            self._layout(number, "concat_train", [[*drawn.demonstrations, *more]], drawn, None)
        if self._settings.search:
            self._search(number, drawn, gold["train"], singles)

    def _layout(
        self,
        seed: int,
        name: str,
        parts: Sequence[Sequence[Demonstration]],
        drawn: Draw,
        gold: npt.NDArray[np.int64] | None,
    ) -> Array:
        """Ask the experts of a layout, learn their weights where there are several, and return the training scores."""
        asker, settings = self._asker, self._settings
        prompts = [shown(part) for part in parts]
        for expert, part in enumerate(parts):
            wrong, foreign = sum(one.changed for one in part), sum(one.foreign for one in part)
            row = {"demonstrations": len(part), "changed": wrong, "foreign": foreign}
            self._add("experts", seed=seed, arrangement=name, expert=expert, **row)
        trained = np.empty((0, len(parts), len(asker.tree.edges)))
        if gold is not None:
            asked = asker.scores(prompts, drawn.train)
            trained = asked.scores
            self._keep(seed, name, "train", asked)
        tested = asker.scores(prompts, self._tested)
        self._keep(seed, name, "test", tested)
        weights = {ALONE[name]: np.ones(1)} if gold is None or name in ALONE else self._learned(prompts, trained, drawn)
        for method, values in weights.items():
            for expert, weight in enumerate(values):
                self._add("weights", seed=seed, arrangement=name, method=method, expert=expert, weight=float(weight))
        if seed == 0 and ("scalar" in weights or name == "k1"):
            self.headline = asker.tree.log_probabilities(tested.scores, weights.get("scalar", np.ones(1)))
        if gold is not None:
            for item in range(min(settings.latency, len(self._tested))):
                sent = asker.alone(prompts, self._tested[item])
                times = {"first_step": sent.first_step, "end_step": sent.end_step, "wall_ns": sent.wall_ns}
                self._add("latency", seed=seed, arrangement=name, item=item, **times)
        return trained

    def _learned(self, prompts: Sequence[str], trained: Array, drawn: Draw) -> dict[str, Array]:
        """The weights of every mixture of the experts of a layout."""
        asker, settings, gold = self._asker, self._settings, _gold(drawn.train)
        choices = asker.tree.choices(trained, gold)
        if settings.vocabulary:
            from moecap.tasks.moicl.vocabulary import vocabulary_choices

            answers = [asker.tree.labels[label] for label in gold]
            choices = vocabulary_choices(asker.engine, asker.tokenizer, prompts, drawn.train, answers)
        return learned_weights(choices, settings.keep, settings.pull, drawn.seed)

    def _search(self, seed: int, drawn: Draw, gold: npt.NDArray[np.int64], singles: Array | None) -> None:
        """Random search and LENS, and their best prompts on the test items."""
        asker, settings, tree = self._asker, self._settings, self._asker.tree
        count = len(drawn.demonstrations)
        size = max(1, count // 2)
        if singles is None:
            singles = asker.scores([shown([one]) for one in drawn.demonstrations], drawn.train).scores
        each = np.stack([tree.log_probabilities(singles[:, [i]], np.ones(1)) for i in range(count)], axis=1)
        none = tree.log_probabilities(asker.scores([""], drawn.train).scores, np.ones(1))
        helps = helpfulness(each, none, gold)

        def judge(prompt: tuple[int, ...]) -> float:
            scores = asker.scores([shown([drawn.demonstrations[i] for i in prompt])], drawn.train).scores
            return -float(tree.log_probabilities(scores, np.ones(1))[np.arange(len(gold)), gold].mean())

        found = {
            "random_search": random_search(count, size, settings.search, judge, drawn.seed),
            "lens": lens_search(
                helps, filtered(helps, min(count, size + 2), drawn.seed), size, settings.search, judge, drawn.seed
            ),
        }
        for name, prompt in found.items():
            self._layout(seed, name, [[drawn.demonstrations[i] for i in prompt]], drawn, None)

    def _keep(self, seed: int, name: str, split: str, asked: Asked) -> None:
        items, experts, edges = np.indices(asked.scores.shape)
        cells = asked.scores.size
        self._extend(
            "scores",
            seed=[seed] * cells,
            arrangement=[name] * cells,
            split=[split] * cells,
            item=items.ravel().tolist(),
            expert=experts.ravel().tolist(),
            edge=edges.ravel().tolist(),
            log_probability=asked.scores.ravel().tolist(),
        )
        items, experts = np.indices(asked.tokens.shape)
        pairs = asked.tokens.size
        self._extend(
            "sequences",
            seed=[seed] * pairs,
            arrangement=[name] * pairs,
            split=[split] * pairs,
            item=items.ravel().tolist(),
            expert=experts.ravel().tolist(),
            continuation=asked.continuation.ravel().tolist(),
            tokens=asked.tokens.ravel().tolist(),
            query_tokens=asked.query_tokens.ravel().tolist(),
        )

    def _add(self, table: str, **row: Any) -> None:
        self._extend(table, **{name: [value] for name, value in row.items()})

    def _extend(self, table: str, **columns: list[Any]) -> None:
        assert columns.keys() == self._rows[table].keys()
        for name, values in columns.items():
            self._rows[table][name] += values


def _gold(items: Sequence[Example]) -> npt.NDArray[np.int64]:
    return np.array([item.gold for item in items], np.int64)
