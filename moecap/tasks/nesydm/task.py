"""The registered method ``nesydm``: its experiments, its run, and what follows from the tables that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from moecap.backend import Engine
from moecap.errors import BadInputError, UnknownNameError
from moecap.metrics.value import Metric
from moecap.observations.recorder import Recorder
from moecap.tasks.arguments import number_argument, truth_argument
from moecap.tasks.base import TaskOptions
from moecap.tasks.method import MethodTask, Passes, Tables
from moecap.tasks.nesydm.answered import headline, numbers_text
from moecap.tasks.nesydm.tables import TABLES
from moecap.tasks.parts import Parts
from moecap.tokenizer import Tokenizer

if TYPE_CHECKING:
    from moecap.report.section import Section
    from moecap.tasks.nesydm.experiments import Experiment

__all__ = ["Asked", "Nesydm"]

EVERYTHING = "nesydm,nesydm_conditional,independent,semantic_loss"


class Asked(NamedTuple):
    """A test question of the first experiment, whose combination of concepts training showed.

    Attributes:
        id: Its id.
        label: Its true label, as a text of numbers.
    """

    id: str
    label: str


class Nesydm(MethodTask):
    """Concepts learnt from labels alone by masked diffusion, held against predictors that take them as independent.

    The networks are small ones of the method's own and train beside the engine, whose load is measured as ever; no
    language model is asked. ``accuracy.nesydm`` is of the first experiment, the first predictor and the first seed.
    """

    name: ClassVar[str] = "nesydm"
    title: ClassVar[str] = "Neurosymbolic diffusion models: labels, concepts and calibration, learnt from labels alone"
    requires: ClassVar[frozenset[str]] = frozenset()
    metric: ClassVar[str] = "share of labels right, first experiment"
    paper: ClassVar[str] = "arXiv 2505.13138"
    source: ClassVar[str] = "scikit-learn's digits; MNIST, Warcraft maps and BDD-OIA in a folder"
    arguments: ClassVar[tuple[str, ...]] = (
        *("experiments", "predictors", "seeds", "settings", "digits", "grid"),
        *("epochs", "batch", "rate", "samples", "candidates", "steps", "draws", "train", "tests"),
        *("gamma_c", "gamma_h", "beta", "y_weight"),
        *("program", "trust_y", "allow_missing"),
    )
    sizes: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "default": {"experiments": "addition,xor,half", "predictors": EVERYTHING, "seeds": "3", "settings": "small"},
        "ci": {
            "experiments": "addition,half",
            "predictors": "nesydm,nesydm_conditional,independent",
            "seeds": "1",
            "settings": "small",
            "epochs": "8",
            "samples": "64",
            "candidates": "64",
            "draws": "100",
            "tests": "40",
        },
        "full": {
            "experiments": "addition,xor,half,even_odd",
            "predictors": EVERYTHING,
            "seeds": "10",
            "settings": "small",
            "draws": "1000",
        },
        "gpu": {
            "experiments": "addition,half,even_odd,shortest_path,driving_released",
            "predictors": "nesydm",
            "seeds": "10",
            "settings": "paper",
            "digits": "4",
        },
    }
    tables = TABLES

    experiments: tuple[Experiment, ...]
    predictors: tuple[str, ...]
    seeds: tuple[int, ...]

    def items(self, options: TaskOptions) -> Sequence[Asked]:
        """The test questions of the first experiment; a limit is of each split of each experiment."""
        from moecap.tasks.nesydm.enumeration import refuse_many
        from moecap.tasks.nesydm.experiments import prepared
        from moecap.tasks.nesydm.settings import setting_of
        from moecap.tasks.nesydm.training import PREDICTORS

        arguments = self.arguments_in_force(options)
        self.predictors = _names(arguments["predictors"])
        if unknown := [name for name in self.predictors if name not in PREDICTORS]:
            raise UnknownNameError("predictor", unknown[0], PREDICTORS)
        self.seeds = _seeds(arguments, options)
        self.experiments = tuple(
            prepared(
                name,
                _size(name, arguments),
                setting_of(name, arguments["settings"], arguments),
                options.data,
                options.limit,
            )
            for name in _names(arguments["experiments"])
        )
        for experiment in self.experiments:
            if set(self.predictors) - {"nesydm"}:
                refuse_many(experiment.program)
        head = self.experiments[0]
        self.data_source = "; ".join(dict.fromkeys(e.source for e in self.experiments))
        self.limited = any(e.limited for e in self.experiments)
        return [
            Asked(id, numbers_text(gold))
            for id, gold, split in zip(head.ids, head.golds, head.splits, strict=True)
            if split == "id"
        ]

    def restated(self, item: Asked, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The question and its label."""
        return {"prompt": "", "gold": item.label}

    def run(
        self,
        items: Sequence[Asked],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Train every predictor for every experiment with every seed, leave the tables after each, and yield labels."""
        import pandas as pd

        from moecap.tasks.nesydm.study import describe, study
        from moecap.tasks.table_rows import TableRows

        facts, finished = TableRows(TABLES), 0
        trainings = len(self.predictors) * len(self.seeds)
        epochs = trainings * sum(e.setting.schedule.epochs for e in self.experiments)

        def epoch() -> None:
            nonlocal finished
            finished += 1
            done(finished * len(items) // epochs)

        for experiment in self.experiments:
            describe(experiment, facts)
            for predictor in self.predictors:
                for seed in self.seeds:
                    study(experiment, predictor, seed, facts, epoch)
                    for name, columns in facts.columns.items():
                        self.leave(recorder, name, columns)
        answers = headline({name: pd.DataFrame(columns) for name, columns in facts.columns.items()})
        for item in items:
            answer, right = answers[item.id]
            yield {
                "task": self.name,
                "kind": "nesydm",
                "id": item.id,
                "prompt": "",
                "answer": answer,
                "gold": item.label,
                "scores": {"accuracy": int(right)},
            }

    def score(
        self, options: TaskOptions, predictions: Path, gold: Path | None
    ) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
        """Concepts that were drawn elsewhere, by ``--task-arg program=NAME`` (and ``digits`` or ``grid``)."""
        from moecap.tasks.nesydm.predictions import scored_predictions
        from moecap.tasks.nesydm.programs import program_of

        arguments = self.arguments_in_force(options)
        if gold is None or "program" not in arguments:
            raise BadInputError("nesydm scores predictions with --gold FILE and --task-arg program=NAME; give both")
        program = program_of(arguments["program"], _size(arguments["program"], arguments))
        trusted, lenient = (truth_argument(arguments, name) is True for name in ("trust_y", "allow_missing"))
        return scored_predictions(self, program, predictions, gold, options.limit, trusted=trusted, lenient=lenient)

    @classmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """Labels and concepts that are right, calibration, and costs."""
        from moecap.tasks.nesydm.scores import nesydm_metrics

        return nesydm_metrics(tables)

    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """Every experiment with each predictor and seed."""
        arguments = self.arguments_in_force(options)
        experiments, predictors = _names(arguments["experiments"]), _names(arguments["predictors"])
        seeds = _seeds(arguments, options)
        for table in ("experiments", "items"):
            yield Parts.of_each(table, experiment=experiments)
        for table in ("draws", "fits", "epochs"):
            yield Parts.of_each(table, experiment=experiments, predictor=predictors, seed=seeds)
        own = [predictor for predictor in predictors if predictor == "semantic_loss"]
        yield Parts.of_each("labels", experiment=experiments, predictor=own, seed=seeds)

    @classmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """Confidence in concepts against what is right."""
        from moecap.tasks.nesydm.section import nesydm_section

        return nesydm_section(tables, metrics)

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """Labels and scores must be those of the table of draws."""
        answers = headline(tables)
        for sample in samples:
            answer, right = answers[sample["id"]]
            if sample["answer"] != answer or sample["scores"] != {"accuracy": int(right)}:
                return f"a label or score that the draws do not give in {sample['id']!r}"
        return ""


def _size(experiment: str, arguments: Mapping[str, str]) -> int:
    """Digits of a summand, or cells along the edge of a map."""
    if experiment == "shortest_path":
        return number_argument(arguments, "grid", 2, 100) or 12
    return number_argument(arguments, "digits", 1, 18) or 2


def _seeds(arguments: Mapping[str, str], options: TaskOptions) -> tuple[int, ...]:
    first = options.sampling.seed
    return tuple(range(first, first + (number_argument(arguments, "seeds", 1, 20) or 1)))


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in text.split(",") if part))
