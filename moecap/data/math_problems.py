r"""Mathematical problems with worked solutions whose last ``\boxed{}`` is the answer.

MATH (Hendrycks et al. 2021, arXiv 2103.03874), MATH-500 (Lightman et al. 2023, arXiv 2305.20050) and NuminaMath-CoT
(Li et al. 2024). The four solved examples are those of Minerva (Lewkowycz et al. 2022, arXiv 2206.14858), which the
package with MATH holds before each problem.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.data.hub import HubFiles
from moecap.data.published import Row, parsed, published_rows
from moecap.data.rows import data_set_rows
from moecap.data.sets import data_set, fetch_data_set
from moecap.errors import BadInputError

__all__ = ["NUMINA", "MathProblem", "load_math", "load_numina_math", "solved_examples"]

NUMINA = HubFiles("AI-MO/NuminaMath-CoT", ("data/test-*",))


@dataclass(frozen=True, slots=True)
class MathProblem:
    """One problem: its id, its text and its worked solution."""

    id: str
    problem: str
    solution: str


def load_math(name: str, subject: str | None = None, *, data: Path | None = None) -> tuple[MathProblem, ...]:
    """Return the test problems of MATH or MATH-500 in the published order.

    Args:
        name: ``math`` or ``math_500``.
        subject: One subject of MATH; ``None`` for all.
        data: A folder with the data set in its published format, instead of the package.

    Raises:
        UnknownNameError: There is no such subject.
        NotAvailableError: The data is not there or cannot be fetched.
        BadInputError: A row is malformed; it is named.
    """
    several = name == "math"
    found: list[MathProblem] = []
    for config in data_set(name).configs if subject is None else (subject,):
        rows = data_set_rows(name, "test", config=config, data=data)
        found += _problems(rows, f"{config}/" if several else "")
    return tuple(found)


def load_numina_math(data: Path) -> tuple[MathProblem, ...]:
    """Return the test problems of NuminaMath-CoT in the published order.

    Args:
        data: A folder with the data set in its published format.

    Raises:
        NotAvailableError: The folder does not hold the split.
        BadInputError: A row is malformed; it is named.
    """
    return tuple(_problems(published_rows(data, NUMINA.repository, "default", "test"), ""))


def solved_examples() -> str:
    """The four solved examples, as text that ends before the next problem.

    Raises:
        NotAvailableError: The package cannot be fetched.
        BadInputError: The file is malformed.
    """
    path = fetch_data_set("math_500")["test"]
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            request = json.loads(file.readline())
        text: str = request["request"]["context"].removesuffix(request["doc"]["query"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path}: no evaluation request ({error!r}); fetch it again") from error
    return text


def _problems(rows: Iterable[Row], prefix: str) -> Iterator[MathProblem]:
    def problem(number: int, row: Mapping[str, Any]) -> MathProblem:
        texts = row["problem"], row["solution"]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("problem and solution are no texts")
        return MathProblem(f"{prefix}{number}", *texts)

    return parsed(rows, problem, "a problem with its solution")
