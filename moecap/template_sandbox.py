"""Jinja's sandbox for a stranger's template, with bounds on what it may make and how often it may loop."""

from __future__ import annotations

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


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """The sandbox; products, powers and ranges beyond any that a chat template needs are refused."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.globals["range"] = self._range
        self.turns = 0
        """Numbers of ranges since a rendering began."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """A product or a power.

        Raises:
            SecurityError: If it would be too large.
        """
        numbers = [value for value in (left, right) if isinstance(value, int | float)]
        if operator == "**" and any(abs(number) > MOST_POWER for number in numbers):
            raise SecurityError("a power is too large")
        sized = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
        if operator == "*" and sized and numbers and sized[0] * numbers[0] > MOST_REPEATS:
            raise SecurityError("a product is too large")
        return super().call_binop(context, operator, left, right)

    def _range(self, *limits: int) -> range:
        found = range(*limits)
        self.turns += len(found)
        if self.turns > MOST_TURNS:
            raise SecurityError(f"ranges of more than {MOST_TURNS:,} numbers")
        return found
