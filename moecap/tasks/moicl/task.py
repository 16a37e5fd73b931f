"""The task: draws demonstrations, asks the experts, learns their weights, and leaves what they gave as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from moecap.backend import Engine
from moecap.data.sets import data_set
from moecap.errors import BadInputError
from moecap.metrics.value import Metric
from moecap.observations.recorder import Recorder
from moecap.tasks.answers.overlap import exact_match
from moecap.tasks.base import TaskFacts, TaskOptions, prompts_digest
from moecap.tasks.location import locate
from moecap.tasks.method import MethodTask, Passes, Tables
from moecap.tasks.moicl.asking import Asker, label_tokens
from moecap.tasks.moicl.contradictions import classified_problem, generated_problem
from moecap.tasks.moicl.datasets import Example, form, load_examples
from moecap.tasks.moicl.draw import Draw, draw, shown, split_off
from moecap.tasks.moicl.experiment import Experiment
from moecap.tasks.moicl.labels import LabelTree
from moecap.tasks.moicl.layouts import moicl_parts
from moecap.tasks.moicl.settings import ARGUMENTS, MOST_ANSWER_TOKENS, SIZES, Settings
from moecap.tasks.moicl.tables import TABLES, read_tables
from moecap.tasks.parts import Parts
from moecap.tokenizer import Tokenizer

if TYPE_CHECKING:
    from moecap.report.section import Section

__all__ = ["Moicl"]

APART = 7919
"""Between the seeds of two draws, so that neighbouring seeds of runs share none."""


@dataclass(frozen=True, slots=True)
class TestItem:
    """A test item with its number."""

    number: int
    example: Example

    @property
    def id(self) -> str:
        """Its name in the data set."""
        return self.example.id


class Moicl(MethodTask):
    """Mixtures of in-context learners: subsets of demonstrations as experts whose weights are learned.

    The accuracy is that of the mixture with one free weight an expert, for the largest number of experts and the first
    draw of demonstrations; every other variant and baseline is in the metrics of the method.
    """

    name: ClassVar[str] = "moicl"
    title: ClassVar[str] = "Mixtures of In-Context Learners: weighted subsets of demonstrations"
    requires: ClassVar[frozenset[str]] = frozenset({"prompt_logprobs"})
    metric: ClassVar[str] = "accuracy"
    paper: ClassVar[str] = "arXiv 2411.02830"
    source: ClassVar[str] = "SST-2, BoolQ, RTE, snippets of four domains (vaderSentiment), NQ-Open"
    arguments: ClassVar[tuple[str, ...]] = ARGUMENTS
    tables: ClassVar[Mapping[str, pa.Schema]] = TABLES
    sizes: ClassVar[Mapping[str, Mapping[str, str]]] = SIZES

    settings: Settings
    draws: tuple[Draw, ...]

    def needs(self, arguments: Mapping[str, str]) -> frozenset[str]:
        """The model in this process too, where sums run over the whole vocabulary."""
        options = TaskOptions(None, None, arguments, lambda _line: None)
        whole = Settings.of(self.arguments_in_force(options)).vocabulary
        return self.requires | {"hidden_states"} if whole else self.requires

    def items(self, options: TaskOptions) -> Sequence[TestItem]:
        """The test items; demonstrations and training items are drawn from the rest."""
        self.settings = settings = Settings.of(self.arguments_in_force(options))
        known = data_set(settings.form.data)
        self.data_source = locate(f"{known.source} ({settings.form.name})", None, options).words
        pool = load_examples(settings.form, options.data, settings.longest)
        seed = options.sampling.seed
        room = len(pool) - 2 * settings.demos - settings.train
        if room < 1:
            raise BadInputError(
                f"data {settings.form.name} has {len(pool)} items, which leaves none to test; ask for fewer demos or "
                "train, or longer texts (longest)"
            )
        most = min(settings.test, room, options.limit or room)
        tested, rest = split_off(pool, most, seed)
        foreign: list[Example] = []
        labels = (settings.labels, settings.form.labels)
        if settings.perturbation.kind == "ood":
            other = form(settings.form.other)
            foreign, labels = load_examples(other, None, None), (settings.labels, other.labels)
        counts = (settings.demos, settings.train, settings.perturbation)
        self.draws = tuple(
            draw(rest, foreign, labels, *counts, seed * APART + number) for number in range(settings.seeds)
        )
        self.limited = len(tested) + settings.demos + settings.train < len(pool)
        return [TestItem(number, example) for number, example in enumerate(tested)]

    def lengths(self, items: Sequence[TestItem], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """Each test item after the longest prompt that it is asked with."""
        longest = max(len(tokenizer.encode_prompt(text)) for text in self._longest_prompts())
        label = max((len(tokenizer.encode(word)) for word in self.settings.labels), default=MOST_ANSWER_TOKENS)
        for item in items:
            yield item.id, longest + len(tokenizer.encode(item.example.text)) + label

    def facts(self, items: Sequence[TestItem], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these items."""
        digest = prompts_digest([item.example.text for item in items])
        shots, seed = self.settings.demos, self.draws[0].seed
        return TaskFacts(len(items), digest, shots, seed, source=self.data_source, limited=self.limited)

    def restated(self, item: TestItem, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The query with its labels and the right one, or with the right answers."""
        asked = {"item": item.number, "prompt": item.example.text}
        if item.example.answers:
            return {**asked, "gold": list(item.example.answers)}
        return {**asked, "answers": list(self.settings.labels), "gold": item.example.gold}

    def run(
        self,
        items: Sequence[TestItem],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Ask and learn for every draw, leave the tables after each, and score the test items in the end."""
        examples = [item.example for item in items]
        if self.settings.form.answers is not None:
            yield from self._generated(items, engine, tokenizer, recorder, done)
            return
        tree = LabelTree.of(label_tokens(tokenizer, examples[0].text, self.settings.labels))
        asker = Asker(engine, tokenizer, recorder, tree)
        experiment = Experiment(self.settings, asker, examples)
        asker.heard = lambda asked: done(min(len(items), asked * len(items) // experiment.expected))
        for number, drawn in enumerate(self.draws):
            experiment.run(number, drawn)
            for table, columns in experiment.columns().items():
                self.leave(recorder, table, columns)
        done(len(items))
        for item, row in zip(items, experiment.headline, strict=True):
            best = int(row.argmax())
            said = {"log_likelihoods": row.tolist(), "answer": self.settings.labels[best]}
            yield self._sample(item, said, best == item.example.gold)

    def _generated(
        self,
        items: Sequence[TestItem],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """The same where answers are generated."""
        from moecap.tasks.moicl.generation import GenerationExperiment

        examples = [item.example for item in items]
        experiment = GenerationExperiment(self.settings, engine, tokenizer, examples)
        experiment.heard = lambda count: done(min(len(items), count * len(items) // experiment.expected))
        for number, drawn in enumerate(self.draws):
            experiment.run(number, drawn)
            for table, columns in experiment.columns().items():
                self.leave(recorder, table, columns)
        done(len(items))
        for item, text in zip(items, experiment.headline, strict=True):
            yield self._sample(item, {"answer": text}, bool(exact_match(text, item.example.answers)))

    def _sample(self, item: TestItem, said: Mapping[str, Any], right: bool) -> dict[str, Any]:
        scores = {"accuracy": int(right)}
        return {
            "task": self.name,
            "kind": self.name,
            "id": item.id,
            **self.restated(item, {}),
            **said,
            "scores": scores,
        }

    @classmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """Accuracy and loss of every method, what a query costs, and the experts of the model that it activates."""
        from moecap.tasks.moicl.numbers import moicl_metrics

        return moicl_metrics(tables, passes)

    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """Every draw with each of its layouts, and every way of weighting each."""
        return moicl_parts(Settings.of(self.arguments_in_force(options)))

    @classmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """Accuracy against what a query costs, and the table of the methods."""
        from moecap.tasks.moicl.figure import moicl_section

        return moicl_section(metrics)

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """Samples must hold what the tables give for the first draw."""
        if len(tables["answers"]):
            return generated_problem(tables["answers"], samples)
        return classified_problem(read_tables(tables), samples)

    def _longest_prompts(self) -> Iterator[str]:
        for drawn in self.draws:
            more = ""
            if self.settings.concat_train and not self.settings.form.answers:
                more = "".join(f"{one.text}{self.settings.labels[one.gold]}\n\n" for one in drawn.train)
            yield shown(drawn.demonstrations) + more
