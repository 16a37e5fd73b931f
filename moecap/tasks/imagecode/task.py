"""The registered method ``imagecode``: its questions, its run, and what follows from the tables that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from moecap.backend import Engine
from moecap.metrics.value import Metric
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskFacts, TaskOptions, prompts_digest
from moecap.tasks.imagecode.facts import Facts
from moecap.tasks.imagecode.picked import CHATS, headline
from moecap.tasks.imagecode.questions import IMAGES, Question, Questions
from moecap.tasks.imagecode.settings import ARGUMENTS, CHAT, SIZES, Settings, read_settings
from moecap.tasks.imagecode.tables import NO_PICK, TABLES, UNKNOWN
from moecap.tasks.method import MethodTask, Passes, Tables
from moecap.tasks.parts import Parts
from moecap.tokenizer import Tokenizer

if TYPE_CHECKING:
    from moecap.report.section import Section
    from moecap.tasks.imagecode.material import Material

__all__ = ["Imagecode"]


class Imagecode(MethodTask):
    """Of ten similar images, the one that a description is of.

    ``retriever=encoder`` picks by a dual encoder and the paper's variants of it, which train beside the engine, whose
    load is measured as ever. ``retriever=chat`` shows the images to the engine's own model.
    """

    name: ClassVar[str] = "imagecode"
    title: ClassVar[str] = "Image retrieval from contextual descriptions: ten-way, videos and static sets apart"
    requires: ClassVar[frozenset[str]] = frozenset({"generate", "images"})
    metric: ClassVar[str] = "share of images right, last variant"
    paper: ClassVar[str] = "arXiv 2203.15867"
    source: ClassVar[str] = "crops of photographs (scikit-image, scikit-learn); ImageCoDe in a folder, --data DIR"
    arguments: ClassVar[tuple[str, ...]] = ARGUMENTS
    sizes: ClassVar[Mapping[str, Mapping[str, str]]] = SIZES
    tables = TABLES

    _settings: Settings
    _options: TaskOptions
    _questions: Questions
    _material: Material | None = None

    def needs(self, arguments: Mapping[str, str]) -> frozenset[str]:
        """Nothing for an encoder, which does not touch the engine's model."""
        options = TaskOptions(None, None, arguments, lambda _line: None)
        return self.requires if read_settings(self.arguments_in_force(options)).retriever == CHAT else frozenset()

    def items(self, options: TaskOptions) -> Sequence[Question]:
        """The questions, and what an encoder learns from."""
        from moecap.tasks.imagecode.asked import questions_of

        self._options = options
        self._settings = read_settings(self.arguments_in_force(options))
        self._questions = questions_of(self._settings, options.data, options.limit)
        self.data_source, self.limited = self._questions.source, self._questions.limited
        if self._settings.export is not None:
            from moecap.tasks.imagecode.submission import refuse_unwritable

            refuse_unwritable(self._settings.export, limited=self._questions.limited)
        if self._settings.retriever != CHAT:
            from moecap.tasks.imagecode.material import material_of

            self._material = material_of(self._settings, options.data, self._questions)
        return self._questions.asked

    def facts(self, items: Sequence[Question], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these questions."""
        digest = prompts_digest([question.text for question in items])
        return TaskFacts(len(items), digest, source=self.data_source, limited=self.limited)

    def restated(self, item: Question, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The description and the image that is meant."""
        return _asked(item)

    def run(
        self,
        items: Sequence[Question],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Train the variants with every seed, or ask the model, and yield what was picked."""
        facts = Facts()
        for question in items:
            facts.describe(question)
        if self._material is None:
            yield from self._asked(items, engine, tokenizer, recorder, facts, done)
        else:
            yield from self._studied(items, self._material, recorder, facts, done)
        if self._settings.export is not None:
            from moecap.tasks.imagecode.submission import write_submission

            write_submission(self._settings.export, items, _picks(facts))

    def _studied(
        self,
        items: Sequence[Question],
        material: Material,
        recorder: Recorder,
        facts: Facts,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        from moecap.tasks.imagecode.study import study

        finished, trainings = 0, _trainings(self._settings, self._options)
        units = sum(map(len, trainings.values()))

        def unit() -> None:
            nonlocal finished
            finished += 1
            done(finished * len(items) // units)

        for seed, variants in trainings.items():
            study(self._settings, variants, material, items, seed, facts, unit)
            self._leave(recorder, facts)
        picks = _picks(facts)
        for question in items:
            yield _sample(question, picks[question.id], {"answer": str(picks[question.id])})

    def _asked(
        self,
        items: Sequence[Question],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        facts: Facts,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        from moecap.tasks.imagecode.chat import Chat
        from moecap.tasks.imagecode.pairs import Pairs

        settings, options = self._settings, self._options
        asker = (Pairs if settings.pairs else Chat)(
            self._questions, options.sampling, settings.max_tokens, options.concurrency, settings.order_seed
        )
        variant = CHATS[settings.pairs]
        for group in asker.ask(items, engine, tokenizer, recorder, done):
            for said in group:
                facts.picked(variant, options.sampling.seed, said.question, said.pick)
                facts.scored(variant, options.sampling.seed, said.question, said.scores)
                for image, record in said.requests:
                    facts.requested(said.question, image, record)
            self._leave(recorder, facts)
            for said in group:
                pick = NO_PICK if said.pick is None else said.pick
                yield _sample(said.question, pick, {"answer": said.answer, "outcome": said.outcome})

    def _leave(self, recorder: Recorder, facts: Facts) -> None:
        for name, columns in facts.columns.items():
            self.leave(recorder, name, columns)

    def score(
        self, options: TaskOptions, predictions: Path, gold: Path | None
    ) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
        """Picks that were made elsewhere, against a split's JSON file; ``export=FILE`` writes the submission."""
        from moecap.tasks.imagecode.predictions import scored_predictions

        return scored_predictions(self, read_settings(self.arguments_in_force(options)), options, predictions, gold)

    @classmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """Shares right by kind of set, ranks, answers that were none, and costs."""
        from moecap.tasks.imagecode.scores import imagecode_metrics

        return imagecode_metrics(tables)

    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """Every question picked for by each variant with each seed, or by the model."""
        settings, items = read_settings(self.arguments_in_force(options)), tables["questions"]["item"].tolist()
        yield Parts("questions", (), [()])
        if settings.retriever == CHAT:
            yield Parts.of_each("picks", variant=(CHATS[settings.pairs],), seed=(options.sampling.seed,), item=items)
            yield Parts.of_each("requests", item=items, image=range(IMAGES) if settings.pairs else (-1,))
            return
        trained = [(variant, seed) for seed, of in _trainings(settings, options).items() for variant in of]
        for table in ("picks", "scores"):
            yield Parts(table, ("variant", "seed", "item"), [(*one, item) for one in trained for item in items])
        yield Parts("fits", ("variant", "seed"), trained)
        yield Parts("epochs", ("variant", "seed"), [one for one in trained if one[0] != "zero_shot"])

    @classmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """Shares right of videos and static sets, by variant."""
        from moecap.tasks.imagecode.section import imagecode_section

        return imagecode_section(tables, metrics)

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """Picks and scores must be those of the table of picks."""
        found = headline(tables)
        if len(found) != len(samples):
            return f"{len(samples)} samples of {len(found)} questions"
        for sample in samples:
            pick, gold = found.get(sample["id"], (None, None))
            if sample.get("picked") != pick or sample["gold"] != (None if gold == UNKNOWN else gold):
                return f"a pick that the table of picks does not have in {sample['id']!r}"
            if sample["scores"] != ({} if gold == UNKNOWN else {"accuracy": int(pick == gold)}):
                return f"a score that does not follow from the pick in {sample['id']!r}"
        return ""


def _trainings(settings: Settings, options: TaskOptions) -> dict[int, tuple[str, ...]]:
    """The variants of each seed; what is not trained is scored once."""
    first = options.sampling.seed
    drawn = tuple(variant for variant in settings.variants if variant != "zero_shot")
    return {
        seed: settings.variants if seed == first else drawn
        for seed in range(first, first + (settings.seeds if drawn else 1))
    }


def _asked(question: Question) -> dict[str, Any]:
    return {"prompt": question.text, "gold": question.gold}


def _sample(question: Question, pick: int, said: Mapping[str, Any]) -> dict[str, Any]:
    scores = {} if question.gold is None else {"accuracy": int(pick == question.gold)}
    return {
        "task": Imagecode.name,
        "kind": Imagecode.name,
        "id": question.id,
        **_asked(question),
        "picked": pick,
        **said,
        "scores": scores,
    }


def _picks(facts: Facts) -> dict[str, int]:
    """The picks of the last variant with its first seed, by question."""
    return {item: pick for item, (pick, _) in headline(facts.frames()).items()}
