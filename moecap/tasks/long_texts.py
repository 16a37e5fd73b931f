"""Tasks with long prompts of several kinds, whose authors fix the most tokens of an answer and score what is there."""

from __future__ import annotations

from typing import Any, ClassVar

from moecap.tasks.generative import GenerativeTask, OpenQuestion

__all__ = ["LongTextTask"]


class LongTextTask(GenerativeTask):
    """A question names its ``kinds`` in ``about``; each kind has a score of its own beside the headline.

    An answer that ends at its most tokens is counted as truncated, as in every task, but keeps its score: these tasks
    give an answer a few tokens and look for the right words in them.
    """

    fixed_length: ClassVar[bool] = True

    def cut(self, tokens: tuple[int, ...], room: int) -> tuple[int, ...]:
        """The beginning and the end of a prompt, since instructions stand at both."""
        half = room // 2
        return tokens[: room - half] + tokens[len(tokens) - half :]

    def graded(self, question: OpenQuestion, answer: str, *, failed: bool, cut_off: bool) -> dict[str, Any]:
        """What a sample says of an answer, the score of each of the question's kinds included."""
        sample = super().graded(question, answer, failed=failed, cut_off=False)
        outcome = "truncated" if cut_off and sample["outcome"] != "failed" else sample["outcome"]
        scores = sample["scores"] | dict.fromkeys(question.about["kinds"], sample["scores"]["accuracy"])
        return sample | {"outcome": outcome, "scores": scores, "scored_when_truncated": True}
