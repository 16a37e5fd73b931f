r"""Mathematics: MATH, MATH-500 and NuminaMath, graded by equality of the final expression.

Base models see Minerva's four solved examples (Lewkowycz et al. 2022), a model with its chat template the problem alone
and the wish for a ``\boxed{}``; ``--task-arg shots=0|4`` says otherwise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import ClassVar

from moecap.data.hub import HubFiles
from moecap.data.math_problems import NUMINA, MathProblem, load_math, load_numina_math, solved_examples
from moecap.errors import BadInputError
from moecap.tasks.answers.mathematics import are_equal, require_math_verify, stated_expression
from moecap.tasks.answers.statement import last_boxed
from moecap.tasks.base import TaskOptions
from moecap.tasks.generative import GenerativeTask, Grade, OpenQuestion
from moecap.tasks.location import FROM_HUB
from moecap.tasks.turns import in_turns

__all__ = ["Math", "Math500", "NuminaMath"]

SHOTS = 4
BOXED = "\n\nReason step by step and put the final answer in \\boxed{}."


class _Problems(GenerativeTask):
    """Problems whose solutions end in a boxed expression."""

    metric: ClassVar[str] = "accuracy: the final expression equals the right one (math-verify)"
    arguments: ClassVar[tuple[str, ...]] = ("shots",)
    output_tokens: ClassVar[int] = 1024

    @abstractmethod
    def problems(self, options: TaskOptions) -> Sequence[MathProblem]:
        """All problems, in the order in which a limit takes them."""

    def questions(self, options: TaskOptions) -> Sequence[OpenQuestion]:
        """The problems with a final expression; one whose solution boxes none has no right answer and is left out."""
        require_math_verify()
        asked = options.arguments.get("shots", "0" if self.uses_chat else str(SHOTS))
        if asked not in ("0", str(SHOTS)):
            raise BadInputError(f"--task-arg shots={asked}: not 0 or {SHOTS}")
        self.shots = int(asked)
        head = solved_examples() if self.shots else ""
        answered = ((p, gold) for p in self.problems(options) if (gold := last_boxed(p.solution)))
        return [
            OpenQuestion(
                problem.id,
                f"{head}Problem:\n{problem.problem}\n\nSolution:" if self.shots else problem.problem + BOXED,
                gold,
                self.output_tokens,
                ("Problem:",) if self.shots and not self.uses_chat else (),
            )
            for problem, gold in islice(answered, options.limit)
        ]

    def grade(self, question: OpenQuestion, text: str) -> Grade:
        """Right if the expression that is stated equals the right one."""
        expression = stated_expression(text)
        return Grade({"accuracy": int(are_equal(question.gold, expression))}, expression)


class Math(_Problems):
    """MATH's test split, 5,000 problems of seven subjects, which a limit takes in turn."""

    name: ClassVar[str] = "math"
    title: ClassVar[str] = "MATH: competition mathematics in seven subjects, four-shot, generated solutions"
    paper: ClassVar[str] = "arXiv 2103.03874"
    source: ClassVar[str] = "EleutherAI/hendrycks_math, MIT"
    arguments: ClassVar[tuple[str, ...]] = ("shots", "subject")
    narrowing: ClassVar[tuple[str, ...]] = ("subject",)

    def problems(self, options: TaskOptions) -> Sequence[MathProblem]:
        """The first problem of each subject, then the second ones."""
        problems = load_math("math", options.arguments.get("subject"), data=options.data)
        return in_turns(problems, lambda problem: problem.id.partition("/")[0])


class Math500(_Problems):
    """MATH-500, 500 problems of MATH's test split."""

    name: ClassVar[str] = "math_500"
    title: ClassVar[str] = "MATH-500: 500 problems of competition mathematics, four-shot, generated solutions"
    paper: ClassVar[str] = "arXiv 2305.20050"
    source: ClassVar[str] = "HuggingFaceH4/MATH-500, MIT"

    def problems(self, options: TaskOptions) -> Sequence[MathProblem]:
        """The problems in the published order."""
        return load_math("math_500", data=options.data)


class NuminaMath(_Problems):
    """NuminaMath-CoT's test split; proofs, which have no final expression, are left out."""

    name: ClassVar[str] = "numina_math"
    title: ClassVar[str] = "NuminaMath-CoT: mathematics from nine sources, four-shot, generated solutions"
    paper: ClassVar[str] = "none (AI-MO/NuminaMath-CoT)"
    source: ClassVar[str] = f"AI-MO/NuminaMath-CoT, Apache-2.0{FROM_HUB}"
    hub: ClassVar[HubFiles] = NUMINA

    def problems(self, options: TaskOptions) -> Sequence[MathProblem]:
        """The problems in the published order."""
        return load_numina_math(options.folder)
