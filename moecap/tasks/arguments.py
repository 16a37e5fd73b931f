"""The arguments of a task: ``--task-arg NAME=VALUE``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from moecap.errors import BadInputError, UnknownNameError

__all__ = ["number_argument", "number_of_shots", "refuse_unknown_arguments", "truth_argument"]


def refuse_unknown_arguments(task: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse arguments that a task does not take.

    Raises:
        UnknownNameError: With the names that it takes.
    """
    for name in given:
        if name not in known:
            raise UnknownNameError(f"argument of {task}", name, known, "" if known else "it takes none")


def number_argument(arguments: Mapping[str, str], name: str, least: int, most: int | None = None) -> int | None:
    """A whole number; ``None`` where the user does not give it.

    Args:
        arguments: What the user gives.
        name: Name of the argument.
        least: The smallest number that it can be.
        most: The largest one.

    Raises:
        BadInputError: If it is no such number.
    """
    text = arguments.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or int(text) < least or (most is not None and int(text) > most):
        upto = "" if most is None else f" to {most}"
        raise BadInputError(f"--task-arg {name}={text}: not a whole number from {least}{upto}")
    return int(text)


def number_of_shots(arguments: Mapping[str, str], most: int) -> int:
    """Solved examples before a question: the argument ``shots``, else ``most``.

    Raises:
        BadInputError: If it is no number from 0 to ``most``.
    """
    asked = number_argument(arguments, "shots", 0, most)
    return most if asked is None else asked


def truth_argument(arguments: Mapping[str, str], name: str) -> bool | None:
    """``true`` or ``false``; ``None`` where the user does not give it.

    Raises:
        BadInputError: If it is neither.
    """
    text = arguments.get(name)
    if text not in (None, "true", "false"):
        raise BadInputError(f"--task-arg {name}={text}: not true or false")
    return None if text is None else text == "true"
