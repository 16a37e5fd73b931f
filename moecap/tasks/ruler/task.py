"""RULER's thirteen tasks as one: each question at the length that is asked for, graded by the words it must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import ClassVar

from moecap.backend import Prompt
from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.arguments import number_argument
from moecap.tasks.base import TaskOptions
from moecap.tasks.generative import Grade, OpenQuestion
from moecap.tasks.long_texts import LongTextTask
from moecap.tasks.ruler.chains import chain_puzzle
from moecap.tasks.ruler.counts import coded_puzzle, common_puzzle
from moecap.tasks.ruler.documents import Documents, document_puzzle, essay_words, read_documents
from moecap.tasks.ruler.needles import NEEDLES, needle_puzzle
from moecap.tasks.ruler.puzzle import Puzzle, largest_size
from moecap.tasks.ruler.vocabulary import require_words
from moecap.tokenizer import Tokenizer

__all__ = ["Ruler"]

ANSWER_TOKENS = {**dict.fromkeys(NEEDLES, 128), "vt": 30, "cwe": 120, "fwe": 50, "qa_1": 32, "qa_2": 32}
"""The thirteen tasks and the most tokens of an answer of each."""

SYNTHETIC = ("niah_single_1", "niah_multikey_2", "niah_multikey_3", "vt", "cwe", "fwe")
"""Those that need no data."""

LENGTH = 4096
"""Tokens of a prompt with its answer, where the user does not say."""

SAMPLES = 500
"""Questions of each task."""


class Ruler(LongTextTask):
    """RULER's thirteen tasks, 500 questions each, at one length (``--task-arg length=4096``), the tasks in turn.

    A prompt holds as much filler as fits: with its answer it takes at most ``length`` tokens of the model's own
    tokenizer, and one line, word or document more would be too much. ``--task-arg tasks=synthetic`` takes the six
    tasks that need no data, ``tasks=vt,cwe`` some; the others need ``--data`` with the files that RULER's own scripts
    fetch. Questions are drawn with the run's seed. Sentences of the essays are split at their marks, not by NLTK.
    """

    name: ClassVar[str] = "ruler"
    title: ClassVar[str] = "RULER: needles, chains, counts and questions in long prompts, thirteen tasks, generated"
    metric: ClassVar[str] = "share of the right words in the answer, each task apart (in qa_1 and qa_2: any of them)"
    paper: ClassVar[str] = "arXiv 2404.06654"
    source: ClassVar[str] = "made at run time; essays, SQuAD 2.0 and HotpotQA from --data DIR"
    arguments: ClassVar[tuple[str, ...]] = ("length", "tasks", "samples")
    narrowing: ClassVar[tuple[str, ...]] = ("tasks", "samples")

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions without their prompts, which need the tokenizer."""
        self._length = number_argument(options.arguments, "length", 1) or LENGTH
        if options.max_context is not None and self._length > options.max_context:
            raise BadInputError(
                f"--task-arg length={self._length}: the model holds {options.max_context} tokens; take a shorter one"
            )
        self._sizes: dict[str, int] = {}
        self._prompts: dict[str, str] = {}
        self._puzzles: dict[str, Puzzle] = {}
        names, samples = _tasks(options), number_argument(options.arguments, "samples", 1) or SAMPLES
        makers = {name: self._maker(name, options) for name in names}
        asked = list(islice(((name, number) for number in range(samples) for name in names), options.limit))
        self._puzzles = {f"{name}/{number}": makers[name](number) for name, number in asked}
        return [
            OpenQuestion(
                f"{name}/{number}",
                "",
                list(self._puzzles[f"{name}/{number}"].golds),
                ANSWER_TOKENS[name],
                about={"kinds": [name]},
            )
            for name, number in asked
        ]

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """Share of the right answers that stand in the text, upper and lower case alike; of documents any of them."""
        found = [gold.lower() in text.lower() for gold in question.gold]
        any_will_do = question.about["kinds"][0].startswith("qa_")
        share = float(any(found)) if any_will_do else sum(found) / len(found)
        return Grade({"accuracy": share}, text.strip() or None)

    def text(self, question: OpenQuestion, tokenizer: Tokenizer) -> str:
        """The text that the model is shown, at its full length."""
        return super().text(self._whole(question, tokenizer), tokenizer)

    def prompts(self, items: Sequence[OpenQuestion], tokenizer: Tokenizer) -> tuple[Prompt, ...]:
        """The questions as requests, each at its full length."""
        return super().prompts([self._whole(question, tokenizer) for question in items], tokenizer)

    def _whole(self, question: OpenQuestion, tokenizer: Tokenizer) -> OpenQuestion:
        if question.id not in self._prompts:
            kind, puzzle = question.about["kinds"][0], self._puzzles[question.id]

            def tokens(prompt: str) -> int:
                text = super(Ruler, self).text(replace(question, prompt=prompt), tokenizer)
                return len(tokenizer.encode(text) if self.uses_chat else tokenizer.encode_prompt(text))

            room = self._length - ANSWER_TOKENS[kind]
            size = self._sizes[kind] = largest_size(puzzle, room, tokens, self._sizes.get(kind))
            self._prompts[question.id] = puzzle.prompt(size)
        return replace(question, prompt=self._prompts[question.id])

    def _maker(self, name: str, options: TaskOptions) -> Callable[[int], Puzzle]:
        """What makes question number N of a task."""
        seed, length = options.sampling.seed, self._length
        if name in NEEDLES:
            needle = NEEDLES[name]
            essay = essay_words(options.data) if needle.haystack == "essay" else []
            return lambda number: needle_puzzle(needle, essay, seed, name, number)
        if name == "vt":
            return lambda number: chain_puzzle(seed, name, number)
        if name == "cwe":
            return lambda number: common_puzzle(length, seed, name, number)
        if name == "fwe":
            return lambda number: coded_puzzle(length - ANSWER_TOKENS[name], seed, name, number)
        documents: Documents = read_documents("squad" if name == "qa_1" else "hotpotqa", options.data)
        return lambda number: document_puzzle(documents, number, seed, name, number)


def _tasks(options: TaskOptions) -> tuple[str, ...]:
    asked = options.arguments.get("tasks", "all")
    if asked not in ("all", "synthetic"):
        names = tuple(dict.fromkeys(asked.split(",")))
    else:
        names = tuple(ANSWER_TOKENS) if asked == "all" else SYNTHETIC
    for name in names:
        if name not in ANSWER_TOKENS:
            raise UnknownNameError("task of RULER", name, [*ANSWER_TOKENS, "all", "synthetic"])
    if set(names) - {"vt", "fwe", "qa_1", "qa_2"}:
        require_words()
    return names
