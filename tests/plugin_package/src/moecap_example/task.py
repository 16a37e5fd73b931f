"""Two tasks, each of them whole: capitals by log-likelihood, and sums by generated answers."""

from moecap.tasks.answers.number import stated_number
from moecap.tasks.generative import GenerativeTask, Grade, OpenQuestion
from moecap.tasks.multiple_choice import MultipleChoiceTask, Question

PAIRS = {"France": " Paris", "Italy": " Rome", "Spain": " Madrid", "Japan": " Tokyo"}


class Capitals(MultipleChoiceTask):
    """Four questions whose answers are each other's wrong choices."""

    name = "capitals"
    title = "Capitals of four countries"
    metric = "accuracy"
    paper = "none"
    source = "common knowledge"

    def questions(self, options):
        """The questions."""
        answers = tuple(PAIRS.values())
        asked = [Question(c, f"The capital of {c} is", answers, i) for i, c in enumerate(PAIRS)]
        return asked[: options.limit]


class Sums(GenerativeTask):
    """Sums of two numbers; the requests are the load of a run."""

    name = "sums"
    title = "Sums of two numbers below ten"
    metric = "accuracy (the stated number is the sum)"
    paper = "none"
    source = "made by rule"

    def questions(self, options):
        """The questions, with at most eight tokens of an answer, which ends with its line."""
        pairs = [(a, b) for a in range(10) for b in range(10)]
        asked = [OpenQuestion(f"{a}+{b}", f"{a} plus {b} is", str(a + b), 8, ("\n",)) for a, b in pairs]
        return asked[: options.limit]

    def grade(self, question, text):
        """Right if the stated number is the sum."""
        number = stated_number(text)
        right = int(number is not None and number == int(question.gold))
        return Grade({"accuracy": right}, None if number is None else str(number))
