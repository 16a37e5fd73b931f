"""The registered method ``neuron_probe``: its words, its run, and what follows from the tables that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from moecap.backend import Engine
from moecap.errors import BadInputError
from moecap.metrics.value import Metric
from moecap.observations.recorder import Recorder
from moecap.tasks.arguments import number_argument
from moecap.tasks.base import TaskFacts, TaskOptions, prompts_digest
from moecap.tasks.method import MethodTask, Passes, Tables
from moecap.tasks.neuron_probe.settings import (
    ARGUMENTS,
    MOST_CONDITIONAL,
    SIZES,
    Settings,
    read_settings,
    selected_argument,
)
from moecap.tasks.neuron_probe.tables import CELL, NAME, RANDOM_DRAWS, TABLES
from moecap.tasks.parts import Parts
from moecap.tasks.table_rows import TableRows
from moecap.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np

    from moecap.report.section import Section
    from moecap.tasks.neuron_probe.splits import Cell
    from moecap.tasks.neuron_probe.words import Word

__all__ = ["Asked", "NeuronProbe"]

OF_DATA = ("languages", "attributes")
"""Arguments whose values of a size are of the packaged verb forms."""


class Asked(NamedTuple):
    """A test word of an attribute, with the first seed.

    Attributes:
        id: Its id.
        part: Language and attribute.
        word: Number of the word.
        gold: The right value.
    """

    id: str
    part: str
    word: int
    gold: str


class NeuronProbe(MethodTask):
    """Which units of a model tell a morphological attribute, by a latent-variable probe, and do languages share them.

    Units are neurons (hidden states) or a MoE's experts (router probabilities). With ``states=FILE.npz`` the vectors
    come from a file and the engine's model is not asked; its load is measured as ever. ``accuracy.neuron_probe`` is of
    the first seed, with the selected units, over the test words of all languages and attributes.
    """

    name: ClassVar[str] = NAME
    title: ClassVar[str] = "Neurons or experts that tell morphology, and whether languages share them"
    requires: ClassVar[frozenset[str]] = frozenset({"hidden_states"})
    metric: ClassVar[str] = "share of values right with the selected units"
    paper: ClassVar[str] = "arXiv 2205.02023"
    source: ClassVar[str] = (
        "verb forms by the paradigms of mlconjug3 4.0.1; treebanks of UD or UniMorph with --data DIR"
    )
    arguments: ClassVar[tuple[str, ...]] = ARGUMENTS
    narrowing: ClassVar[tuple[str, ...]] = ("languages", "attributes", "count")
    sizes: ClassVar[Mapping[str, Mapping[str, str]]] = SIZES
    tables = TABLES

    settings: Settings
    words: list[Word]
    vectors: np.ndarray | None
    seeds: tuple[int, ...]
    cells: list[Cell]

    def needs(self, arguments: Mapping[str, str]) -> frozenset[str]:
        """Nothing where a file gives the vectors."""
        return frozenset() if "states" in arguments else self.requires

    def items(self, options: TaskOptions) -> Sequence[Asked]:
        """The test words of the first seed; a limit is of each language and attribute."""
        from moecap.tasks.neuron_probe.data import probe_cells, probe_data

        self.settings = settings = self._settings(options)
        states = None
        if settings.states is not None:
            from moecap.tasks.neuron_probe.states import file_states

            states = file_states(settings.states)
            _refuse_units(states.shape[1], settings)
        found = probe_data(settings, options.data, None if states is None else len(states))
        self.words, self.data_source = found.words, found.source
        self.vectors = None if states is None else states[[word.row or 0 for word in found.words]]
        first = options.sampling.seed
        self.seeds = tuple(range(first, first + settings.seeds))
        self.cells, skipped = probe_cells(self.words, settings, first)
        for one in skipped:
            options.progress(f"{one.attribute} of {one.language} is not probed: {one.reason}")
        if not self.cells:
            raise BadInputError(f"no attribute can be probed, such as {skipped[0].attribute}: {skipped[0].reason}")
        items = [
            Asked(f"{self.words[row].id}-{cell.attribute}", f"{cell.language} {cell.attribute}", row, cell.values[gold])
            for cell in self.cells
            for row, gold in [*zip(cell.rows["test"], cell.gold["test"], strict=True)][: options.limit]
        ]
        tests = sum(len(cell.rows["test"]) for cell in self.cells)
        self.limited = found.limited or len(items) < tests or self.is_narrowed(options)
        return items

    def lengths(self, items: Sequence[Asked], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """Each text in which a word stands, those to learn from included."""
        from moecap.tasks.neuron_probe.states import read_text

        texts = {word.text: word.id for word in self.words} if self.vectors is None else {}
        for text, id in texts.items():
            yield id, len(read_text(tokenizer, text)[0])

    def facts(self, items: Sequence[Asked], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these words."""
        digest = prompts_digest([self.words[item.word].text for item in items])
        return TaskFacts(len(items), digest, source=self.data_source, limited=self.limited)

    def restated(self, item: Asked, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The word in its text, and its value."""
        return self._asked(item)

    def run(
        self,
        items: Sequence[Asked],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Read every word, probe every cell with every seed, leave the tables after each, and yield answers."""
        from moecap.tasks.neuron_probe.data import probe_cells
        from moecap.tasks.neuron_probe.study import note_setting, one_thread, probe_cell

        half = len(items) // 2  # of the progress: reading is about half of the work
        vectors, layers = self.vectors, 1
        if vectors is None:
            vectors, layers = self._read(engine, tokenizer, lambda words: done(words * half // len(self.words)))
        _refuse_units(vectors.shape[1], self.settings)
        facts, finished = TableRows(TABLES), 0
        note_setting(self.settings, vectors.shape[1], layers, len(self.words), facts)
        trainings = len(self.cells) * len(self.seeds)
        for seed in self.seeds:
            cells, skipped = probe_cells(self.words, self.settings, seed)
            for one in skipped:
                facts.row("skipped", one.language, one.attribute, seed, one.reason)
            for cell in cells:
                with one_thread():
                    probe_cell(cell, seed, self.words, vectors, self.settings, facts)
                finished += 1
                done(half + (len(items) - half) * min(finished, trainings) // trainings)
            for name, columns in facts.columns.items():
                self.leave(recorder, name, columns)
        answers = _answers(facts.columns["answers"])
        for item in items:
            answer = answers[item.id]
            yield {
                "task": self.name,
                "kind": "neuron_probe",
                "part": item.part,
                "id": item.id,
                **self._asked(item),
                "answer": answer,
                "scores": {"accuracy": int(answer == item.gold)},
            }

    def score(
        self, options: TaskOptions, predictions: Path, gold: Path | None
    ) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
        """Units that were selected elsewhere, by ``--task-arg dim=D`` (and ``k``)."""
        from moecap.tasks.neuron_probe.selections import scored_selections

        arguments = self.arguments_in_force(options)
        units = number_argument(arguments, "dim", 1)
        if units is None or gold is not None:
            raise BadInputError("neuron_probe scores selections with --task-arg dim=D, without --gold")
        return scored_selections(predictions, units, selected_argument(arguments, "neuron"))

    @classmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """Accuracies and information by language and attribute, and overlaps."""
        from moecap.tasks.neuron_probe.scores import probe_metrics

        return probe_metrics(tables)

    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """Every attribute of every language with each seed, but for what could not be probed and says why."""
        settings = self._settings(options)
        told = [tables[name][CELL] for name in ("values", "skipped")]
        seen = {column: dict.fromkeys(value for table in told for value in table[column]) for column in CELL[:2]}
        languages, attributes = settings.languages or seen["language"], settings.attributes or seen["attribute"]
        seeds = range(options.sampling.seed, options.sampling.seed + settings.seeds)
        cells = [*product(languages, attributes, seeds)]
        skipped = set(told[1].itertuples(index=False, name=None))
        yield Parts("skipped", (*CELL,), [cell for cell in cells if cell in skipped])
        probed = [cell for cell in cells if cell not in skipped]
        for table in ("values", "selected", "answers", "fits"):
            yield Parts(table, (*CELL,), probed)
        drawn = [("all", 0), *(("random", draw) for draw in range(RANDOM_DRAWS))]
        yield Parts("controls", (*CELL, "kind", "draw"), [(*cell, *one) for cell in probed for one in drawn])

    @classmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """Overlap of the languages by attribute."""
        from moecap.tasks.neuron_probe.section import probe_section

        return probe_section(tables, metrics)

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """Answers and scores must be those of the table of answers."""
        answers = _answers(tables["answers"].to_dict("list"))
        for sample in samples:
            answer = answers.get(sample["id"])
            if sample["answer"] != answer or sample["scores"] != {"accuracy": int(answer == sample["gold"])}:
                return f"an answer or score that the table of answers does not give in {sample['id']!r}"
        return ""

    def _settings(self, options: TaskOptions) -> Settings:
        """The settings; of data of the user's own all languages and attributes are taken that nobody chose."""
        given = self.arguments_in_force(options)
        chosen = given if options.data is None else {**given, **dict.fromkeys(OF_DATA, ""), **options.arguments}
        return read_settings(chosen)

    def _read(self, engine: Engine, tokenizer: Tokenizer, done: Callable[[int], None]) -> tuple[np.ndarray, int]:
        from moecap.tasks.neuron_probe.states import Units, word_vectors

        units = Units(self.settings.unit, self.settings.layer)
        return word_vectors(engine.in_process(), tokenizer, self.words, units, done)

    def _asked(self, item: Asked) -> dict[str, Any]:
        word = self.words[item.word]
        return {"prompt": word.text, "word": word.form, "gold": item.gold}


def _answers(columns: Mapping[Any, Sequence[Any]]) -> dict[str, str]:
    """The answer of the first seed to each item."""
    seeds = columns["seed"]
    rows = zip(columns["item"], columns["attribute"], seeds, columns["answer"], strict=True)
    return {f"{item}-{attribute}": answer for item, attribute, seed, answer in rows if seed == seeds[0]}


def _refuse_units(units: int, settings: Settings) -> None:
    if units < settings.selected:
        raise BadInputError(f"--task-arg k={settings.selected}: a word's vector has {units} units; select fewer")
    if settings.schedule.scheme == "conditional" and units > MOST_CONDITIONAL:
        raise BadInputError(f"--task-arg scheme=conditional takes {MOST_CONDITIONAL} units at most, not {units}")
