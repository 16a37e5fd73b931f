"""Engine arguments that moecap passes on to a server, and those that it refuses, under every spelling of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from moecap.errors import BadInputError, NotBuiltError

__all__ = ["ArgumentRules", "command_words"]

SECRET = re.compile(r"(^|-)(key|keys|token|password|secret)$")


@dataclass(frozen=True, slots=True)
class ArgumentRules:
    """What a server's command line takes that a run cannot account for, names without their dashes in front.

    Attributes:
        uncounted: Arguments that change what a step reads in ways that a run does not count.
        families: Beginnings of names that stand for many such arguments, with the dash at their end.
        owned: Arguments that moecap sets from its own options, or needs for itself.
    """

    uncounted: tuple[str, ...]
    owned: tuple[str, ...]
    families: tuple[str, ...] = ()

    def refuse(self, name: str) -> None:
        """Refuse an argument under any spelling that an argument parser takes: underscores, dots, first letters.

        Raises:
            NotBuiltError: If a run does not count what it changes.
            BadInputError: If moecap sets it itself, or if it would put a secret into the result.
        """
        plain = name.split(".", maxsplit=1)[0].replace("_", "-").lower()
        if SECRET.search(plain):
            raise BadInputError(
                f"engine argument {name}: a result would hold it; leave it out, the server is on loopback only"
            )
        whole = any(known.startswith(plain) for known in (*self.uncounted, *self.families))
        if whole or plain.startswith(self.families):
            raise NotBuiltError(f"engine argument {name}: a run does not count what it changes yet; leave it out")
        if any(owned.startswith(plain) for owned in self.owned):
            raise BadInputError(
                f"engine argument {name}: moecap sets it itself (--precision, --seed and so on); leave it out"
            )


def command_words(own: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """The words of a command line; ``true`` is a switch.

    Args:
        own: Arguments as moecap sets them.
        given: The user's, which take the place of moecap's own of the same name.
    """
    words: list[str] = []
    for name, value in {**own, **given}.items():
        words += [f"--{name}"] if value.lower() == "true" else [f"--{name}", value]
    return words
