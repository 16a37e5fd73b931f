"""Jinja's sandbox for a stranger's template, with bounds on what it may make and how often it may loop."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from string import Formatter
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["MOST_CHARACTERS", "BoundedSandbox"]

MOST_CHARACTERS = 16_000_000
"""Of a whole conversation as a text."""

MOST_REPEATS = 1_000_000
"""Characters or items that a product makes."""

MOST_TURNS = 1_000_000
"""Numbers of all ranges that a template makes."""

MOST_POWER = 1000

FILLING_FILTERS = ("batch", "center", "slice")
FILLING_METHODS = ("center", "expandtabs", "ljust", "rjust", "zfill")
"""What makes a text or a list as long as it is told; no chat template needs it."""

_WIDE = re.compile(r"\d{5}|[*{]")
_PERCENT = re.compile(r"%(?:%|(?:\([^)]*\))?([-#0 +\d.*]*))")


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """The sandbox; products, powers, fields and ranges beyond any that a chat template needs are refused."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.globals["range"] = self._range
        del self.globals["lipsum"]
        for name in FILLING_FILTERS:
            del self.filters[name]
        self.filters["format"] = _narrow(self.filters["format"])
        self.turns = 0
        """Numbers of ranges since a rendering began."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """A product, a power, a remainder or a text with fields.

        Raises:
            SecurityError: If it would be too large.
        """
        if operator == "%" and isinstance(left, str):
            _refuse_wide(_PERCENT.findall(left))
        numbers = [value for value in (left, right) if isinstance(value, int | float)]
        if operator == "**" and any(abs(number) > MOST_POWER for number in numbers):
            raise SecurityError("a power is too large")
        sized = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
        if operator == "*" and sized and numbers and sized[0] * numbers[0] > MOST_REPEATS:
            raise SecurityError("a product is too large")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use an attribute: none of Python's own, and no method of texts that fills."""
        filling = isinstance(obj, str) and attr in FILLING_METHODS
        return not filling and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """A text's ``format`` within the sandbox; ``None`` for what is none.

        Raises:
            SecurityError: If a field would be too wide.
        """
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _refuse_wide(spec or "" for _, _, spec, _ in Formatter().parse(value.__self__))
        return wrapped

    def _range(self, *limits: int) -> range:
        found = range(*limits)
        self.turns += len(found)
        if self.turns > MOST_TURNS:
            raise SecurityError(f"ranges of more than {MOST_TURNS:,} numbers")
        return found


def _narrow(fill: Callable[..., str]) -> Callable[..., str]:
    def filled(text: Any, *values: Any, **named: Any) -> str:
        _refuse_wide(_PERCENT.findall(str(text)))
        return fill(text, *values, **named)

    return filled


def _refuse_wide(fields: Iterable[str]) -> None:
    """Refuse fields of 10,000 characters or more, or of as many as a value says."""
    if any(map(_WIDE.search, fields)):
        raise SecurityError("a field is too wide")
