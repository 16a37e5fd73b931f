r"""Mathematical answers: which expression is stated, and whether two are equal.

Equality is decided by the library math-verify (H. Kydlíček), which reads LaTeX and plain text by SymPy:
``\frac{3}{4}`` equals 0.75 and ``(x+1)^2`` equals ``x^2+2x+1``; it gives up after some seconds, which is unequal.
"""

from __future__ import annotations

import re
from importlib.util import find_spec

from moecap.errors import NotAvailableError
from moecap.tasks.answers.number import last_number, sole_number
from moecap.tasks.answers.statement import last_boxed, statements
from moecap.tasks.answers.thinking import without_thinking

__all__ = ["are_equal", "require_math_verify", "stated_expression"]

_LONGEST = 500
"""Characters of an expression; a longer one is no answer, and would only cost time."""

_SPACE = re.compile(r"\\[,;:! ]|\\quad|\\qquad|~|\s+")
_WORD = re.compile(r"\\text(?:bf)?\{\s*([A-Za-z]{2,})\s*\}")
_DOLLARS = re.compile(rf"\$\$(.+?)\$\$|\\\[(.{{1,{_LONGEST}}}?)\\\]|\\\((.{{1,{_LONGEST}}}?)\\\)|\$([^$]+)\$", re.S)


def stated_expression(text: str) -> str | None:
    r"""The expression that an answer gives, in LaTeX or plain, or ``None`` if it gives none.

    Looked for, the first that is found: the last ``\boxed{}``, what follows the last "the answer is" (its formula, if
    it has one between dollars), the last formula between dollars (what follows its last ``=``), the last number.
    """
    text = without_thinking(text)
    boxed = last_boxed(text)
    if boxed:
        return boxed
    if said := statements(text):
        sentence = said[-1].text
        formula = _DOLLARS.search(sentence)
        found = next(group for group in formula.groups() if group) if formula else sentence
        return found.strip(" .*_$") or None
    if formulas := list(_DOLLARS.finditer(text)):
        found = next(group for group in formulas[-1].groups() if group)
        return found.rpartition("=")[2].strip() or None
    number = last_number(text)
    return None if number is None else str(number)


def are_equal(gold: str, answer: str | None) -> bool:
    """Whether an answer equals the right one.

    Args:
        gold: The right answer, an expression.
        answer: The expression that was stated.

    Raises:
        NotAvailableError: If math-verify is not installed.
    """
    if answer is None or len(answer) > _LONGEST:
        return False
    if _plain(gold) == _plain(answer):
        return True
    if word := _WORD.fullmatch(gold.strip()):
        return _bare(answer) == word[1].lower()
    ours, theirs = sole_number(gold), sole_number(answer)
    if ours is not None and theirs is not None:
        return ours == theirs
    return _verified(gold, answer)


def require_math_verify() -> None:
    """Refuse where math-verify is not installed.

    Raises:
        NotAvailableError: With the command that installs it.
    """
    if find_spec("math_verify") is None:
        raise NotAvailableError(
            "mathematical answers are compared by math-verify, which is not installed; pip install 'moecap[eval]'"
        )


def _verified(gold: str, answer: str) -> bool:
    require_math_verify()
    from math_verify import parse, verify

    return bool(verify(parse(f"${_opened(gold)}$"), parse(f"${_opened(answer)}$")))


def _opened(text: str) -> str:
    r"""The expression without ``\text{}`` around what is no word."""
    return re.sub(r"\\text\s*\{([^A-Za-z{}]*)\}", r"\1", text)


def _plain(text: str) -> str:
    return _SPACE.sub("", text.replace("\\left", "").replace("\\right", "").replace("dfrac", "frac")).strip("$.")


def _bare(text: str) -> str:
    return re.sub(r"\\(?:text|mathrm|textbf|mathbf)\b|[\s{}.*$_\\\"']", "", text).lower()
