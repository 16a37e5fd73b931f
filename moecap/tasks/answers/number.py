"""The number that an answer states, as an exact fraction."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from moecap.tasks.answers.statement import Statement, last_boxed, statements
from moecap.tasks.answers.thinking import without_thinking

__all__ = ["last_number", "sole_number", "stated_number"]

_NO_UNITS = "pi|tau|sqrt|root|log|ln|sin|cos|tan|exp|hundred|thousand|million|billion|trillion|dozens?"
"""Words beside a number that make another number of it."""

_LONGEST = 300
"""Characters of a number; what is longer is noise."""

_MOST_DIGITS = 4000
"""Digits of a power; Python writes no number of more than 4,300."""

_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_THIN = "\u00a0\u2009\u202f"
_ALIKE = {ord("\uff10") + digit: str(digit) for digit in range(10)} | dict.fromkeys(map(ord, "\u2212\u2013\u2011"), "-")
_NUMBER = re.compile(
    rf"""
    (?<![\w.^\\]) (?<!\^\{{) (?P<sign>(?<![)\]}}])[-+])? \$?\s? (?P<minus>(?<=\$)-|(?<=\$\ )-)?
    (?: (?P<whole>\d+)\s+ (?P<part>\d+)/(?P<of>\d+) (?![\d/])
      | (?: (?P<digits>\d{{1,3}}(?:[,{_THIN}]\d{{3}})+(?!\d) | \d+)?
            (?: (?P<point>\.\d+) | (?P<vulgar>[{_VULGAR}]) )?
        )
        (?: \s?/\s?(?P<down>\d+(?:\.\d+)?)(?![\d/])
          | \s?(?:[xX*\u00d7]|\\times|\\cdot)\s?10\s?\^\s?\{{?(?P<ten>[-+]?\d{{1,3}})\}}?
          | [eE](?P<exponent>[-+]?\d{{1,3}})(?!\w)
          | \s?\^\s?\{{?(?P<power>\d{{1,2}})\}}?(?!\d)
        )?
    )
    """,
    re.X,
)
_FRACTION = re.compile(r"(?:(-)\s*)?\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_MARK = re.compile(r"####[ \t]*([^\n]*)")
_REASON = re.compile(r"\b(?:because|since)\b", re.I)


def stated_number(text: str) -> Fraction | None:
    r"""The number that an answer gives, or ``None`` if it gives none.

    Looked for, the first that is found: a number alone after the last ``####`` (the mark of GSM8K), the last
    ``\boxed{}``, what follows the last "the answer is" (the number after the last ``=`` of that sentence, else its
    first one), the last number of all. Text in thinking tags does not count.
    """
    text = _plain(without_thinking(text))
    marked = [numbers[0] for said in _MARK.findall(text) if (numbers := _numbers(said)) and _is_alone(said)]
    if marked:
        return marked[-1]
    boxed = last_boxed(text)
    if boxed is not None and (numbers := _numbers(boxed)):
        return numbers[-1]
    for said in reversed(statements(text)):
        if (number := _stated(said)) is not None:
            return number
    return last_number(text)


def last_number(text: str) -> Fraction | None:
    """The last number of a text; digits that belong to a word or are an exponent are none."""
    numbers = _numbers(_plain(text))
    return numbers[-1] if numbers else None


def sole_number(text: str) -> Fraction | None:
    r"""The number that is all of a text but for its unit: ``3/4 cups``, ``\$18``, ``5\text{ cm}``; else ``None``."""
    text = re.sub(r"\\(?:text|mathrm)\s*\{([^{}]*)\}", r" \1", _plain(text))
    numbers = _numbers(text)
    rest = _NUMBER.sub(lambda found: found.group() if _value(found) is None else " ", text)
    unit = re.fullmatch(rf"[\s$]*(?:(?!(?:{_NO_UNITS})\b)[A-Za-z]{{2,}}\.?\s*){{0,3}}[\s$.]*", rest, re.I)
    return numbers[0] if len(numbers) == 1 and unit else None


def _stated(said: Statement) -> Fraction | None:
    if said.by_colon and not said.is_last and not _begins_with_number(said.text):
        return None
    claim = _REASON.split(said.text, maxsplit=1)[0]
    before, equals, after = claim.rpartition("=")
    numbers = _numbers(after) or _numbers(before if equals else "")
    return numbers[0] if numbers else None


def _begins_with_number(text: str) -> bool:
    """Whether a number with its unit is all that is said: "42 apples", but not "42 apples and then some more"."""
    first = next((found for found in _NUMBER.finditer(text) if _value(found) is not None), None)
    return first is not None and not text[: first.start()].strip(" *_$\\([") and len(text[first.end() :].split()) <= 3


def _plain(text: str) -> str:
    text = text.translate(_ALIKE).replace("{,}", ",").replace("\\,", "").replace("\\!", "").replace("\\$", "$")
    return _FRACTION.sub(lambda f: f" {f[1] or ''}{f[2] or f[3]}/{f[4] or f[5]} ", text)


def _is_alone(text: str) -> bool:
    rest = _NUMBER.sub(lambda found: found.group() if _value(found) is None else "", text, count=0)
    return not rest.strip(" .$%*\r")


def _numbers(text: str) -> list[Fraction]:
    values = (_value(found) for found in _NUMBER.finditer(text))
    return [value for value in values if value is not None]


def _value(found: re.Match[str]) -> Fraction | None:
    if len(found.group()) > _LONGEST:
        return None
    if found["whole"] is not None:
        value = _over(Fraction(found["part"]), found["of"])
        value = None if value is None else value + int(found["whole"])
    else:
        value = _magnitude(found)
    if value is None:
        return None
    return -value if (found["sign"] == "-") != bool(found["minus"]) else value


def _magnitude(found: re.Match[str]) -> Fraction | None:
    digits, point, vulgar = found["digits"], found["point"], found["vulgar"]
    if digits is None and point is None and vulgar is None:
        return None
    value = Fraction(re.sub(rf"[,{_THIN}]", "", digits or "0") + (point or ""))
    if vulgar:
        value += Fraction(unicodedata.numeric(vulgar)).limit_denominator(8)
    if found["down"]:
        return _over(value, found["down"])
    if ten := found["ten"] or found["exponent"]:
        return value * Fraction(10) ** int(ten)
    power = int(found["power"] or 1)
    return value**power if len(f"{digits}{point}") * power <= _MOST_DIGITS else None


def _over(value: Fraction, divisor: str) -> Fraction | None:
    return value / Fraction(divisor) if Fraction(divisor) else None
