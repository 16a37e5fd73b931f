"""The experiment: ask without a module, teach each document, ask with its module."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from moecap.backend import Engine
from moecap.data.documents import Document
from moecap.models.accounting import kv_bytes
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder
from moecap.tasks.knowledge_module.adapters import Adapters, expert_parameters
from moecap.tasks.knowledge_module.extractor import (
    LEARNT_START,
    Example,
    MergeWeights,
    join_adapters,
    train_extractor,
)
from moecap.tasks.knowledge_module.parameters import Parameters
from moecap.tasks.knowledge_module.questions import SETTINGS, Item, Setting, asked_settings, continuations, prompt
from moecap.tasks.knowledge_module.retrieval import Index, Retriever, index, passages
from moecap.tasks.knowledge_module.summaries import write_summaries
from moecap.tasks.knowledge_module.tables import TABLES
from moecap.tasks.knowledge_module.teacher import Teacher
from moecap.tasks.knowledge_module.texts import Lesson, chunks, lessons
from moecap.tasks.knowledge_module.training import Schedule, train_module
from moecap.tokenizer import Tokenizer

__all__ = ["Experiment", "Scores"]

MODULE, EXTRACTOR, JOINED = "km", "ke", "km_ke"
"""Names of the adapters: that of the document at hand, the extractor, and both as one."""

Scores = dict[str, tuple[list[float], list[int]]]
"""By setting, the log-likelihood of each option and its tokens."""


@dataclass(slots=True)
class Experiment:
    """One run of the method.

    Attributes:
        parameters: How it is run.
        engine: An engine in this process.
        tokenizer: The model's tokenizer.
        recorder: Keeps the engine's steps.
        seed: Of everything drawn at random.
        progress: Called with one line of progress.
        rows: The rows of each table so far.
    """

    parameters: Parameters
    engine: Engine
    tokenizer: Tokenizer
    recorder: Recorder
    seed: int
    progress: Callable[[str], None]
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in TABLES})
    _merge: MergeWeights | None = None
    _found: dict[str, tuple[list[str], Retriever, int]] = field(default_factory=dict)
    _index: Index | None = None

    def run(self, items: Sequence[Item], train: Sequence[Document]) -> Iterator[tuple[Item, Scores]]:
        """Ask every question in every setting, one document after the other.

        Args:
            items: The questions; those of one document follow each other.
            train: Documents on which the extractor is trained.
        """
        model, p = self.engine.in_process(), self.parameters
        with model.borrowed() as module:
            before: dict[str, Scores] = {item.id: {} for item in items}
            for item in items:
                for setting in p.compare:
                    before[item.id][setting] = self._ask(item, setting)
            adapters = Adapters(module, p.rank, p.rank, p.targets, self.tokenizer.folder.name)
            if p.extractor != "off":
                self._train_extractor(adapters, train)
            for number, document in enumerate(dict.fromkeys(item.document for item in items)):
                if number == 0:
                    adapters.add(MODULE, self.seed)
                    self._weigh(adapters)
                else:
                    adapters.reset(MODULE, self.seed)
                self._teach(adapters, MODULE, document)
                self._save(adapters, document)
                for item in items:
                    if item.document == document:
                        yield item, {**before[item.id], **self._with_module(adapters, item)}

    def _with_module(self, adapters: Adapters, item: Item) -> Scores:
        found: Scores = {}
        p = self.parameters
        for name in asked_settings(p.compare, extractor=p.extractor != "off"):
            setting = SETTINGS[name]
            if name in p.compare:
                continue
            on = [MODULE] * setting.module + [EXTRACTOR] * setting.extractor
            adapters.use(*on)
            weighed = self._merge.applied(EXTRACTOR) if self._merge and setting.extractor else nullcontext()
            with weighed:
                found[name] = self._ask(item, name)
        adapters.use()
        return found

    def _ask(self, item: Item, name: str) -> tuple[list[float], list[int]]:
        """Score the options of one question, by itself, so that its time is its own."""
        setting = SETTINGS[name]
        text, retrieving = self._prompt(item, setting)
        asked = continuations(self.tokenizer, f"{name}/{item.id}", text, item.question.choices)
        first = self.recorder.steps
        scored = [s.log_likelihood for s in self.engine.score(asked, self.recorder, lambda _done: None)]
        tokens = [len(one.target) for one in asked]
        self.rows["queries"].append((item.id, name, len(asked[0].context), first, self.recorder.steps, retrieving))
        self.rows["answers"] += [
            (item.id, name, number, *one) for number, one in enumerate(zip(tokens, scored, strict=True))
        ]
        return scored, tokens

    def _prompt(self, item: Item, setting: Setting) -> tuple[str, int]:
        """The text that is asked, and the time in which its passages were found, ns."""
        chosen: list[str] = []
        begin = time.monotonic_ns()
        if setting.context == "passages":
            texts, retrieve, _ = self._passages(item.document)
            begin = time.monotonic_ns()
            chosen = [texts[i] for i in retrieve(item.question.question)[: self.parameters.passages]]
        retrieving = time.monotonic_ns() - begin if chosen else 0
        return prompt(item.question.question, setting, item.document.text, chosen), retrieving

    def _passages(self, document: Document) -> tuple[list[str], Retriever, int]:
        """The passages of a document, what finds them, and the time in which they were indexed, ns."""
        if document.id not in self._found:
            self._index = self._index or index(self.parameters.retriever)
            begin = time.monotonic_ns()
            texts = passages(self.tokenizer, document.text, self.parameters.passage_tokens)
            self._found[document.id] = texts, self._index(texts), time.monotonic_ns() - begin
        return self._found[document.id]

    def _train_extractor(self, adapters: Adapters, train: Sequence[Document]) -> None:
        """Teach the documents to train on, then the extractor on their questions."""
        p, examples = self.parameters, []
        for number, document in enumerate(train):
            name = f"train{number}"
            adapters.add(name, self.seed)
            self._teach(adapters, name, document)
            settings = ["base", *(["rag"] if "rag" in p.compare else [])]
            for question in document.questions:
                item = Item(question.id, document, question)
                for setting in settings:
                    text, _ = self._prompt(item, SETTINGS[setting])
                    asked = continuations(self.tokenizer, question.id, text, question.choices)
                    options = tuple(one.target for one in asked)
                    examples.append(Example(name, asked[0].context, options, question.answer_index))
        adapters.add(EXTRACTOR, self.seed + 1)
        self._weigh(adapters)
        self.progress(f"knowledge_module: extractor, {len(examples)} prompts of {len(train)} documents")
        schedule = Schedule(p.extractor_steps, p.batch, p.extractor_rate, p.extractor_steps)
        weighed = self._merge.applied(EXTRACTOR) if self._merge else nullcontext()
        with weighed:
            losses = train_extractor(adapters, EXTRACTOR, examples, schedule, self.seed, self._merge)
        self.rows["extractor"] += list(enumerate(losses))

    def _weigh(self, adapters: Adapters) -> None:
        """Make the merge weights once there are adapters, if they are learnt."""
        if self.parameters.extractor == "learned" and self._merge is None:
            self._merge = MergeWeights(adapters, LEARNT_START)

    def _teach(self, adapters: Adapters, name: str, document: Document) -> None:
        """Write the lessons of a document and train an adapter on them."""
        p, module = self.parameters, adapters.module
        pieces = chunks(self.tokenizer, document.text, p.chunk)[: p.chunks]
        begin = time.monotonic_ns()
        with adapters.bare():
            written = [
                write_summaries(module, self.tokenizer, piece, p.summaries, p.summary_tokens, self.seed + number)
                for number, piece in enumerate(pieces)
                if p.objective in ("sdcd", "pit")
            ]
        writing = time.monotonic_ns() - begin if written else 0
        learnt = lessons(p.objective, self.tokenizer, pieces, written, p.window, self.seed)
        self.progress(f"knowledge_module: {document.id}, {len(learnt)} texts from {len(pieces)} chunks")
        teacher = Teacher(module, adapters.bare, p.teacher_bytes)
        adapters.use(name, train=name)
        curve = train_module(
            module,
            adapters.weights(name),
            learnt,
            teacher,
            Schedule(p.steps, p.batch, p.learning_rate, p.every),
            self.seed,
            lambda on: adapters.use(name, train=name if on else None),
        )
        self.rows["training"] += [(document.id, *row) for row in curve.rows]
        experts, active, cached = self._sizes(document)
        self.rows["modules"].append(
            (
                document.id,
                "asked" if name == MODULE else "extractor",
                len(self.tokenizer.encode(document.text)),
                sum(map(len, pieces)),
                len(learnt),
                _tokens(learnt),
                curve.tokens,
                adapters.parameters(name),
                adapters.bytes(name),
                experts,
                active,
                cached,
                teacher.kept_bytes,
                teacher.passes,
                curve.best_step,
                writing,
                round(curve.seconds * 1e9),
                self._found[document.id][2] if document.id in self._found else 0,
            )
        )

    def _sizes(self, document: Document) -> tuple[int, int, int]:
        """Parameters of a module on all experts, those that a token passes, and bytes of the document's KV cache."""
        spec: ModelSpec = read_model(
            read_config_file(self.tokenizer.folder / "config.json"),
            self.tokenizer.folder.name,
            weights=self.engine.info.weight_dtype,
            kv=self.engine.info.kv_dtype,
        )
        total, active = expert_parameters(spec, self.parameters.rank)
        return total, active, kv_bytes(spec, len(self.tokenizer.encode(document.text)))

    def _save(self, adapters: Adapters, document: Document) -> None:
        """Save the document's module, and the module with the extractor as one adapter, if a folder is given."""
        folder = self.parameters.adapters
        if folder is None:
            return
        name = re.sub(r"[^\w.-]", "_", document.id)
        adapters.save(MODULE, folder / name)
        if self.parameters.extractor != "off":
            join_adapters(adapters, JOINED, (MODULE, EXTRACTOR), self._merge, EXTRACTOR)
            adapters.save(JOINED, folder / f"{name}-with-extractor")


def _tokens(learnt: Sequence[Lesson]) -> int:
    return sum(len(lesson.target) for lesson in learnt)
