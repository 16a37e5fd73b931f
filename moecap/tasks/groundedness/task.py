"""The registered method ``groundedness``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from moecap.backend import Engine
from moecap.data.digits import DIGITS_SOURCE
from moecap.errors import BadInputError, NotAvailableError
from moecap.metrics.value import Metric
from moecap.observations.recorder import Recorder
from moecap.report.section import Section
from moecap.tasks.arguments import number_argument
from moecap.tasks.base import TaskFacts, TaskOptions, prompts_digest
from moecap.tasks.groundedness.captions import (
    Pictures,
    digit_captions,
    file_captions,
    spread,
    stamp_captions,
    with_classes,
)
from moecap.tasks.groundedness.controls import CONTROLS
from moecap.tasks.groundedness.digits import Digits, captioned_digits
from moecap.tasks.groundedness.measures import groundedness_measures
from moecap.tasks.groundedness.scoring import Prompted, ScoredCaption, prompted, score_captions, target_tokens
from moecap.tasks.groundedness.section import groundedness_section
from moecap.tasks.groundedness.tables import TABLES
from moecap.tasks.groundedness.tagging import tagger_version
from moecap.tasks.location import IN_FOLDER
from moecap.tasks.method import MethodTask, Passes, Tables
from moecap.tasks.parts import Parts
from moecap.tokenizer import Tokenizer

__all__ = ["Groundedness"]


class Groundedness(MethodTask):
    """How much what a caption is about lowers the surprisal of its words, by word class.

    The engine is a language model, so the context is a text that says what the picture shows: a surrogate of the
    captioner of the paper, and so named wherever its numbers stand. With ``captions=digits`` two tiny models, of which
    one sees the picture, give the same for real handwritten digits, whose groundedness is known in closed form.
    """

    name: ClassVar[str] = "groundedness"
    title: ClassVar[str] = "Groundedness of word classes: surprisal with and without what the caption is about"
    requires: ClassVar[frozenset[str]] = frozenset({"prompt_logprobs"})
    metric: ClassVar[str] = "task.groundedness_* (nats a word; no accuracy)"
    paper: ClassVar[str] = "arXiv 2412.10369"
    source: ClassVar[str] = "captions of digits (scikit-learn), stamps of Tux Paint, or --data FILE"
    arguments: ClassVar[tuple[str, ...]] = ("captions", "count", "languages", "controls", "epochs", "lang")
    narrowing: ClassVar[tuple[str, ...]] = ("count", "languages")
    tables: ClassVar[Mapping[str, pa.Schema]] = TABLES
    sizes: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "default": {"captions": "digits", "controls": "shuffled,blank", "epochs": "10"},
        "ci": {"captions": "digits", "count": "20", "controls": "shuffled", "epochs": "10"},
        "full": {"captions": "stamps", "languages": "en,de,nl", "controls": "shuffled,blank"},
        "gpu": {"captions": "file", "controls": "shuffled,blank"},
    }

    _epochs: int | None = None
    _digits: Digits | None = None
    _seed: int = 0

    def items(self, options: TaskOptions) -> Sequence[Prompted]:
        """The captions with the texts before them."""
        arguments = self.arguments_in_force(options)
        controls, self._seed = _controls(arguments), options.sampling.seed
        pictures = self._captions(arguments, options)
        count = sum(map(len, pictures))
        bounds = [bound for bound in (options.limit, number_argument(arguments, "count", 1)) if bound is not None]
        kept = spread(pictures, min([*bounds, count]))
        self.limited = len(kept) < count or self.is_narrowed(options)
        return prompted(with_classes(kept), controls, self._seed)

    def lengths(self, items: Sequence[Prompted], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """Each caption after the longest of its texts."""
        for item in items:
            target = len(target_tokens(item.caption, tokenizer, ())) + 1
            yield item.caption.id, max(len(tokenizer.encode_prompt(text)) for text in item.before.values()) + target

    def facts(self, items: Sequence[Prompted], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of the captions."""
        texts = [text + item.caption.text for item in items for text in item.before.values()]
        return TaskFacts(len(items), prompts_digest(texts), source=self.data_source, limited=self.limited)

    def run(
        self,
        items: Sequence[Prompted],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Score the captions; with digits, train the two models and judge them too."""
        scored: list[ScoredCaption] = []
        try:
            for number, caption in enumerate(score_captions(items, engine, tokenizer, recorder, done)):
                scored.append(caption)
                yield _sample(number, caption)
        finally:  # whatever ends the run, what was scored is kept
            self._leave_words(scored, recorder)
        if self._digits is not None and self._epochs is not None:
            from moecap.tasks.groundedness.digit_models import digit_facts

            self.leave(recorder, "digits", digit_facts(self._digits, self._epochs, self._seed))

    def restated(self, item: Prompted, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """The caption and what it is about."""
        return _asked(item)

    @classmethod
    def metrics(cls, tables: Tables, passes: Passes | None) -> dict[str, Metric]:
        """Groundedness by class and language, rankings, controls, experts by class."""
        return groundedness_measures(tables, passes)

    def parts(self, options: TaskOptions, tables: Tables) -> Iterable[Parts]:
        """Every caption under each condition; digits, unless the captions are a file's."""
        arguments = self.arguments_in_force(options)
        conditions = ("null", "context", *_controls(arguments))
        yield Parts.of_each("tokens", condition=conditions, caption=tables["tokens"]["caption"].unique())
        yield Parts("digits", (), [()] if arguments.get("captions") == "digits" and options.data is None else [])

    @classmethod
    def section(cls, tables: Tables, metrics: Mapping[str, Metric]) -> Section | None:
        """The figure of the classes, with the controls, the digits and the experts."""
        return groundedness_section(tables, metrics)

    @classmethod
    def contradiction(cls, tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
        """Samples hold the same log-probabilities as the table of tokens."""
        return _contradiction(tables, samples)

    def _captions(self, arguments: Mapping[str, str], options: TaskOptions) -> Pictures:
        chosen = arguments.get("captions")
        if options.data is not None and options.data.is_file():
            if options.arguments.get("captions", "file") != "file":
                raise BadInputError(f"captions={chosen} and --data {options.data.name}, a file; leave one out")
            self.data_source = f"captions of one file, {IN_FOLDER}"
            return file_captions(options.data, arguments.get("lang"))
        if chosen == "stamps":
            languages = arguments.get("languages", "en,de,nl").split(",")
            self.data_source = f"stamps of Tux Paint (GPL-2), word classes by {tagger_version()}"
            if options.data is not None:
                self.data_source += f", {IN_FOLDER}"
            return stamp_captions(options.data, languages)
        if chosen == "digits" and options.data is None:
            self._epochs = number_argument(arguments, "epochs", 1, 1000)
            if importlib.util.find_spec("torch") is None:
                raise NotAvailableError('captions=digits trains with torch; pip install "moecap[transformers]"')
            self._digits = captioned_digits(self._seed)
            self.data_source = f"captions by rule; digits: {DIGITS_SOURCE}"
            return digit_captions()
        if chosen == "digits":
            raise BadInputError(f"--data {options.data}: the digits need none; leave it out, or take captions=stamps")
        if chosen == "file":
            raise BadInputError("captions=file needs the file: --data FILE.conllu or FILE.jsonl")
        raise BadInputError(f"--task-arg captions={chosen}: not digits, stamps or file")

    def _leave_words(self, scored: Sequence[ScoredCaption], recorder: Recorder) -> None:
        if not scored:
            return
        words: list[tuple[Any, ...]] = []
        types: dict[tuple[str, str, str], int] = {}
        pictures: dict[str, int] = {}
        for number, of in enumerate(scored):
            caption = of.prompted.caption
            picture = pictures.setdefault(caption.picture, len(pictures))
            for place, word in enumerate(caption.words or ()):
                form = (caption.text[word.start : word.end].casefold(), word.upos, caption.language)
                words.append((number, picture, place, caption.language, word.upos, types.setdefault(form, len(types))))
        self.leave(recorder, "words", _columns(TABLES["words"], words))
        rows = [
            row
            for condition in scored[0].scores
            for number, of in enumerate(scored)
            for row in _tokens(condition, number, of)
        ]
        self.leave(recorder, "tokens", _columns(TABLES["tokens"], rows))


def _controls(arguments: Mapping[str, str]) -> tuple[str, ...]:
    asked = arguments.get("controls", "none")
    names = () if asked == "none" else tuple(asked.split(","))
    if unknown := [name for name in names if name not in CONTROLS]:
        raise BadInputError(
            f"--task-arg controls={asked}: {unknown[0]!r} is not {' or '.join(CONTROLS)}, or none alone"
        )
    return names


def _columns(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in zip(schema.names, zip(*rows, strict=True), strict=True)}


def _tokens(condition: str, number: int, of: ScoredCaption) -> Iterator[tuple[Any, ...]]:
    scored, continuation, first = of.scores[condition]
    known = bool(scored.mass)
    for token, log_p in enumerate(scored.tokens):
        word, mass = of.words[token], scored.mass[token] if known else 0.0
        place = -1 if word is None else word
        yield (condition, number, token, place, of.opens[token], log_p, mass, known, continuation, first + token)


def _asked(item: Prompted) -> dict[str, Any]:
    return {"prompt": item.before["context"], "caption": item.caption.text, "language": item.caption.language}


def _sample(number: int, of: ScoredCaption) -> Mapping[str, Any]:
    return {
        "task": Groundedness.name,
        "kind": "groundedness",
        "id": of.prompted.caption.id,
        "number": number,
        **_asked(of.prompted),
        "log_likelihoods": {condition: scored.log_likelihood for condition, (scored, _, _) in of.scores.items()},
        "scores": {},
    }


def _contradiction(tables: Tables, samples: Sequence[Mapping[str, Any]]) -> str:
    sums = tables["tokens"].groupby(["condition", "caption"])["log_p"].sum()
    for sample in samples:
        for condition, value in sample["log_likelihoods"].items():
            if not abs(float(value) - float(sums[condition, int(sample["number"])])) < 1e-3 * (1 + abs(float(value))):
                return f"the log-likelihood {value} of {sample['id']!r} is not the sum of its tokens'"
    return ""
