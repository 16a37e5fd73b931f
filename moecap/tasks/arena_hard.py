"""Arena-Hard: a judge compares each answer with that of a baseline, twice, with their places exchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from moecap.backend import Prompt
from moecap.data.arena_hard import VERSIONS, Battle, load_arena_hard
from moecap.errors import BadInputError, UnknownNameError
from moecap.observations.recorder import RequestRecord
from moecap.tasks.abandonable import abandonable_map
from moecap.tasks.arguments import number_argument
from moecap.tasks.base import TaskFacts, TaskOptions
from moecap.tasks.generative import GenerativeTask, Grade, OpenQuestion
from moecap.tasks.judge import Judge, Verdict
from moecap.tasks.location import FROM_FOLDER
from moecap.tokenizer import Tokenizer

__all__ = ["ArenaHard", "battle_points"]

STRONG = 3
"""How many times a verdict of "significantly better" counts, as the authors count it."""

POINTS = {"A>>B": (1.0, STRONG), "A>B": (1.0, 1), "A=B": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, STRONG)}
TURNED = {"A<B": "B>A", "A<<B": "B>>A", "B<A": "A>B", "B<<A": "A>>B", "B=A": "A=B"}

PARALLEL = 8
"""Answers that are judged at a time, where the user does not say."""

JUDGE_TOKENS = {"v0.1": 4096, "v2.0": 16000}
"""Most tokens of a judgment, by the authors' version, where the user does not say."""


class ArenaHard(GenerativeTask):
    """Arena-Hard v2.0 (or ``--task-arg version=v0.1``): share of points against a baseline, by a judge.

    ``--task-arg judge=URL`` and ``--task-arg judge_model=NAME`` name an OpenAI-compatible endpoint, whose key comes
    from ``MOECAP_JUDGE_API_KEY``. Each answer is judged twice, as assistant B and as assistant A. A win is 1, a tie
    0.5, a loss 0, and a strong verdict counts three times. The accuracy is the mean over questions;
    ``task.arena_hard_weighted`` is the authors' mean over all verdicts. A question of which one judgment failed has no
    score and is counted in ``judge_failed``; an answer that failed or was cut off loses both games by strong verdicts.
    Judge, baseline and every judgment are in the samples. Needs ``--data`` with the authors' repository.
    """

    name: ClassVar[str] = "arena_hard"
    title: ClassVar[str] = "Arena-Hard: open questions, each answer judged twice against a baseline's"
    metric: ClassVar[str] = "share of points against the baseline; judge_failed apart"
    paper: ClassVar[str] = "arXiv 2406.11939"
    source: ClassVar[str] = f"lmarena/arena-hard-auto, Apache-2.0{FROM_FOLDER}"
    arguments: ClassVar[tuple[str, ...]] = (
        "version",
        "judge",
        "judge_model",
        "judge_parallel",
        "judge_tokens",
        "baseline",
        "instructions",
    )
    chat: ClassVar[bool] = True
    regradable: ClassVar[bool] = False

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The questions in the published order."""
        given = options.arguments
        version = next((v for v in VERSIONS if v == given.get("version", "v2.0")), None)
        if version is None:
            raise UnknownNameError("version of Arena-Hard", given["version"], VERSIONS)
        for name in ("judge", "judge_model"):
            if name not in given:
                raise BadInputError(f"task arena_hard needs --task-arg {name}=...: the judge's URL and its model")
        tokens = number_argument(given, "judge_tokens", 1) or JUDGE_TOKENS[version]
        self._judge = Judge(given["judge"], given["judge_model"], tokens)
        self._parallel = number_argument(given, "judge_parallel", 1, 256) or PARALLEL
        battles = load_arena_hard(version, options.folder, given.get("baseline"), _told(given.get("instructions")))
        self._battles = {battle.id: battle for battle in battles}
        self._version = version
        return [
            OpenQuestion(b.id, b.question, b.baseline, 4096, about={"category": b.category})
            for b in battles[: options.limit]
        ]

    def facts(self, items: Sequence[OpenQuestion], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says, with judge and baseline."""
        baselines = ", ".join(sorted({self._battles[item.id].baseline for item in items}))
        source = f"{self.data_source}, {self._version}; judge {self._judge.model}; baseline {baselines}"
        return replace(super().facts(items, tokenizer), source=source)

    def samples(
        self,
        items: Sequence[OpenQuestion],
        prompts: Sequence[Prompt],
        requests: Sequence[RequestRecord],
        tokenizer: Tokenizer,
    ) -> Iterator[Mapping[str, Any]]:
        """A sample for each question whose request has ended, several judged at a time.

        An interrupt ends the judging: the questions whose judgments are not there yet have none.
        """

        def judged(pair: tuple[OpenQuestion, Prompt]) -> list[Mapping[str, Any]]:
            return list(super(ArenaHard, self).samples([pair[0]], [pair[1]], requests, tokenizer))

        pairs = list(zip(items, prompts, strict=False))
        unjudged = iter(pairs)
        try:
            for found in abandonable_map(judged, pairs, self._parallel):
                next(unjudged)
                yield from found
        except KeyboardInterrupt:
            self.stop_asking()
            for pair in unjudged:
                yield from judged(pair)
            raise

    def stop_asking(self) -> None:
        """Ask the judge nothing more."""
        super().stop_asking()
        self._judge.stop()

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """An answer is graded by ``graded``, which keeps the judgments."""
        return Grade({"accuracy": 0}, text.strip() or None)

    def graded(self, question: OpenQuestion, answer: str, *, failed: bool, cut_off: bool) -> dict[str, Any]:
        """What a sample says of an answer: the two judgments, and the points if both have a verdict."""
        sample = super().graded(question, answer, failed=failed, cut_off=cut_off)
        battle = self._battles[question.id]
        sample["judge"] = {
            "model": self._judge.model,
            "output_tokens": self._judge.output_tokens,
            "instructions_sha256": hashlib.sha256(battle.instructions.encode()).hexdigest(),
            "baseline": battle.baseline,
            "baseline_answer_sha256": hashlib.sha256(battle.answer.encode("utf-8", "replace")).hexdigest(),
        }
        if sample["outcome"] != "answered":
            return sample | _scored((0.0, 2.0 * STRONG))
        verdicts = [self._verdict(battle, battle.answer, sample["extracted"])]
        verdicts.append(self._verdict(battle, sample["extracted"], battle.answer))
        points = battle_points(verdicts[0].label, verdicts[1].label)
        games = {"games": [asdict(verdict) for verdict in verdicts]}
        return sample | games | ({"scores": {"judge_failed": 1}} if points is None else _scored(points))

    def _verdict(self, battle: Battle, first: str, second: str) -> Verdict:
        prompt = (
            f"<|User Prompt|>\n{battle.question}\n\n<|The Start of Assistant A's Answer|>\n{first}\n"
            f"<|The End of Assistant A's Answer|>\n\n<|The Start of Assistant B's Answer|>\n{second}\n"
            "<|The End of Assistant B's Answer|>"
        )
        return self._judge.verdict(battle.instructions, prompt)


def battle_points(as_b: str | None, as_a: str | None) -> tuple[float, float] | None:
    """Points of two games and the most that there were, or ``None`` where one has no verdict.

    Args:
        as_b: The label of the game in which the answer was assistant B's.
        as_a: The label of the game in which it was assistant A's.
    """
    if as_b is None or as_a is None:
        return None
    lost, weight_b = POINTS[TURNED.get(as_b, as_b)]
    won, weight_a = POINTS[TURNED.get(as_a, as_a)]
    return (1 - lost) * weight_b + won * weight_a, float(weight_b + weight_a)


def _scored(points: tuple[float, float]) -> dict[str, Any]:
    return {
        "scores": {"accuracy": points[0] / points[1], "judge_failed": 0},
        "values": {"weighted": {"aggregation": "ratio", "value": list(points)}},
    }


def _told(path: str | None) -> str | None:
    """The judge's instructions from a user's own file."""
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"--task-arg instructions={path}: cannot be read ({error}); give a text file") from None
