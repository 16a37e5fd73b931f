"""Capitals of countries, by log-likelihood: a whole task in one short file."""

from moecap.tasks.base import Task
from moecap.tasks.multiple_choice import Question, run_multiple_choice

PAIRS = {"France": " Paris", "Italy": " Rome", "Spain": " Madrid", "Japan": " Tokyo"}


class Capitals(Task):
    """Four questions whose answers are each other's wrong choices."""

    name = "capitals"
    title = "Capitals of four countries"
    requires = frozenset({"prompt_logprobs"})
    metric = "accuracy"
    paper = "none"
    source = "common knowledge"

    def items(self, options):
        """The questions."""
        answers = tuple(PAIRS.values())
        asked = [Question(c, f"The capital of {c} is", answers, i) for i, c in enumerate(PAIRS)]
        return asked[: options.limit]

    def run(self, items, engine, tokenizer, recorder, done):
        """Score the four answers of each."""
        return run_multiple_choice(self.name, items, engine, tokenizer, recorder, done)
