"""The registered method ``spoken_lid``: its experiments, its run, and what follows from the tables that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from moecap.backend import Engine
from moecap.errors import BadInputError
from moecap.metrics.value import Metric
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskOptions
from moecap.tasks.method import MethodTask, Passes, Tables
from moecap.tasks.parts import Parts
from moecap.tasks.spoken_lid.answered import headline
from moecap.tasks.spoken_lid.settings import (
    ARGUMENTS,
    CHAT,
    LISTS,
    SIZES,
    Settings,
    able_classifiers,
    read_settings,
    runs_of,
)
from moecap.tasks.spoken_lid.tables import NAME, TABLES
from moecap.tasks.table_rows import TableRows
from moecap.tokenizer import Tokenizer

if TYPE_CHECKING:
    from moecap.report.section import Section
    from moecap.tasks.spoken_lid.chat import Heard
    from moecap.tasks.spoken_lid.experiments import Experiment
    from moecap.tasks.spoken_lid.utterances import Utterance

__all__ = ["Asked", "SpokenLid"]


class Asked(NamedTuple):
    """A test utterance of the first experiment.

    Attributes:
        id: Its id.
        domain: The kind of its recording.
        language: Its language.
    """

    id: str
    domain: str
    language: str


class SpokenLid(MethodTask):
    """Which language is spoken, told by cepstra, in the recordings and voices of the training and in others.

    The classifiers are of the method's own and train beside the engine, whose load is measured as ever; with
    ``classifiers=chat`` the engine's model is sent the sounds. ``accuracy.spoken_lid`` is of the first experiment, the
    first classifier and the first seed.
    """

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "Spoken language identification across domains and speakers, with what confounds it"
    requires: ClassVar[frozenset[str]] = frozenset({"audio", "generate"})
    metric: ClassVar[str] = "share of languages right, first experiment"
    paper: ClassVar[str] = "arXiv 2106.03895"
    source: ClassVar[str] = "synthetic speech (eSpeak NG); recorded speech of Debian packages; lists of utterances"
    arguments: ClassVar[tuple[str, ...]] = ARGUMENTS
    sizes: ClassVar[Mapping[str, Mapping[str, str]]] = SIZES
    tables = TABLES

    settings: Settings
    experiments: tuple[Experiment, ...]
    options: TaskOptions
    said: dict[str, dict[str, str]]

    def needs(self, arguments: Mapping[str, str]) -> frozenset[str]:
        """Nothing of an engine, unless its model is asked."""
        options = TaskOptions(None, None, arguments, lambda _line: None)
        asked = CHAT in self._settings(options).classifiers
        return self.requires if asked else frozenset()

    def items(self, options: TaskOptions) -> Sequence[Asked]:
        """Test utterances of the first experiment; each condition of each experiment has up to a limit of them."""
        from moecap.tasks.spoken_lid.experiments import prepared

        self.settings = self._settings(options)
        self.options, self.said = options, {}
        self.experiments = tuple(
            prepared(name, self.settings, options.data, options.limit, options.progress)
            for name in self.settings.experiments
        )
        self.data_source = "; ".join(dict.fromkeys(one.source for one in self.experiments))
        tests = self.experiments[0].test
        asked = [Asked(one.id, one.domain, one.language) for one in tests[: options.limit]]
        self.limited = len(asked) < len(tests) or any(one.limited for one in self.experiments)
        return asked

    def _settings(self, options: TaskOptions) -> Settings:
        """The settings; lists of the user's own are an experiment, which need not be named too."""
        given = self.arguments_in_force(options)
        if "test" in options.arguments and "experiments" not in options.arguments:
            given |= {"experiments": LISTS}
        return read_settings(given)

    def restated(self, item: Asked, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The utterance's language and domain."""
        return {"prompt": "", "gold": item.language, "domain": item.domain}

    def run(
        self,
        items: Sequence[Asked],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Train or ask every classifier of every experiment, leave the tables after each, and yield languages."""
        import pandas as pd

        from moecap.tasks.spoken_lid.study import ask, describe, parts_of, study

        facts, finished = TableRows(TABLES), 0
        trainings = [
            (experiment, classifier, seed)
            for experiment in self.experiments
            for classifier in experiment.classifiers
            for seed in runs_of(classifier, self.settings, self.options.sampling.seed)
        ]
        parts = sum(parts_of(classifier, self.settings) for _, classifier, _ in trainings)

        def part() -> None:
            nonlocal finished
            finished += 1
            done(finished * len(items) // parts)

        for experiment in self.experiments:
            describe(experiment, self.settings, facts)
        for experiment, classifier, seed in trainings:
            if classifier == CHAT:
                ask(experiment, seed, facts, partial(self._hear, experiment, engine, tokenizer, recorder))
                part()
            else:
                study(experiment, classifier, seed, self.settings, facts, part)
            for name, columns in facts.columns.items():
                self.leave(recorder, name, columns)
        answers = headline({name: pd.DataFrame(columns) for name, columns in facts.columns.items()})
        first = self.experiments[0]
        said = self.said.get(first.name, {}) if first.classifiers[0] == CHAT else {}
        for item in items:
            words = {"said": said[item.id]} if item.id in said else {}
            yield {**answers[item.id], **words}

    def _hear(
        self,
        experiment: Experiment,
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        utterances: Sequence[Utterance],
    ) -> Sequence[Heard]:
        from moecap.tasks.spoken_lid.chat import answers_by_chat

        options = self.options
        found = answers_by_chat(
            experiment.name, experiment.labels, utterances, engine, tokenizer, recorder,
            options.concurrency, self.settings.max_tokens, options.sampling,
        )  # fmt: skip
        self.said[experiment.name] = {one.id: heard.said for one, heard in zip(utterances, found, strict=True)}
        return found

    def score(
        self, options: TaskOptions, predictions: Path, gold: Path | None
    ) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
        """A submission of the shared task, or JSON lines; ``--task-arg labels=sigtyp16`` names the languages."""
        from moecap.tasks.spoken_lid.submission import scored_submission

        if gold is None:
            raise BadInputError("spoken_lid scores answers against --gold FILE; give id and language, or a manifest")
        return scored_submission(self.arguments_in_force(options), options, predictions, gold)

    @classmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """The shared task's measures, domains and speakers, the confound, and costs."""
        from moecap.tasks.spoken_lid.scores import lid_metrics

        return lid_metrics(tables)

    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """Every experiment with each of its classifiers and each of their seeds."""
        settings, trained_on = self._settings(options), tables["training"]
        opposed = dict(tables["experiments"][["experiment", "opposed"]].itertuples(index=False, name=None))
        trainings = []
        for experiment in settings.experiments:
            rows, what = trained_on[trained_on["experiment"] == experiment], opposed.get(experiment, "domain")
            for classifier in able_classifiers(settings, what, len(set(rows[what]))):
                trainings += [
                    (experiment, classifier, seed) for seed in runs_of(classifier, settings, options.sampling.seed)
                ]
        yield Parts.of_each("experiments", experiment=settings.experiments)
        for table in ("answers", "fits"):
            yield Parts(table, ("experiment", "classifier", "seed"), trainings)
        networks = [one for one in trainings if one[1].startswith("convolution")]
        yield Parts("epochs", ("experiment", "classifier", "seed"), networks)

    @classmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """Accuracy in each domain by voices that training had and others, and which languages are confused."""
        from moecap.tasks.spoken_lid.section import lid_section

        return lid_section(tables, metrics)

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """Samples must be the first tests, with languages, answers and scores as the tables have them."""
        answers = headline(tables)
        if [one["id"] for one in samples] != list(answers)[: len(samples)]:
            return "utterances that are not the first ones of the table of tests"
        for one in samples:
            if any(one[name] != value for name, value in answers[one["id"]].items()):
                return f"an answer or score that the tables do not give in {one['id']!r}"
        return ""
