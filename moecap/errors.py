"""Every error that moecap raises on purpose.

MoecapError                     the root; its text is one line that ends with what to do
├── UsageError                  wrong usage or bad input, exit status 2
│   ├── UnknownNameError        a name that is not in a registry; near names are offered
│   ├── BadInputError           a file or value that cannot be used
│   ├── NotAvailableError       a capability, package, device or data set that is not here
│   └── NotBuiltError           something of the contract that this version does not have yet
├── RunError                    the run started and failed, exit status 1
├── VerificationError           a result that does not follow from its observations, exit status 1
└── LeaderboardError            what a leaderboard refused, exit status 2 where the call was wrong, else 1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any
from unicodedata import category

__all__ = [
    "BadInputError",
    "LeaderboardError",
    "MoecapError",
    "NotAvailableError",
    "NotBuiltError",
    "RunError",
    "UnknownNameError",
    "UsageError",
    "VerificationError",
]

UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
"""Categories of Unicode that move the cursor, turn the direction of a text or cannot be shown."""

LONGEST = 2000


class MoecapError(Exception):
    """Root of all errors that are raised on purpose; ``exit_status`` is what the command line returns.

    Args:
        text: What is the case and what to do. What no terminal should be sent, since it may come out of a stranger's
            file, is escaped, and a long text is cut.
    """

    exit_status = 1
    kept = ""
    """Characters that stand in a text for themselves."""

    def __init__(self, text: str = "") -> None:
        if not text.isprintable():
            text = "".join(c if c in self.kept or category(c) not in UNSEEN else ascii(c)[1:-1] for c in text)
        super().__init__(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


class UsageError(MoecapError):
    """Wrong usage or bad input: nothing was started."""

    exit_status = 2


class UnknownNameError(UsageError):
    """A name that a registry does not hold.

    Args:
        kind: What was asked for, as a noun: ``"model"``, ``"hardware profile"``.
        name: The name that was asked for.
        known: The names that exist.
        remedy: What else the user can do, as a clause.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.6)
        text = f"no {kind} named {name!r}"
        text += f"; known: {', '.join(names)}" if len(names) <= 24 else f"; {len(names)} are known"
        if near:
            text += f" (did you mean {' or '.join(repr(n) for n in near)}?)"
        super().__init__(f"{text}; {remedy}" if remedy else text)
        self.name = name
        self.near = near


class BadInputError(UsageError):
    """A file or a value that cannot be used."""


class NotAvailableError(UsageError):
    """Something that exists but is not here: a package, a device, a data set, the network, memory."""


class NotBuiltError(UsageError):
    """Something of the contract that this version does not have yet."""


class RunError(MoecapError):
    """The run started and failed; what was observed until then is stored."""


class VerificationError(MoecapError):
    """A result that does not follow from its observations."""


class LeaderboardError(MoecapError):
    """What a leaderboard refused, or that it cannot be reached.

    Args:
        text: What is the case; the failed rules of a submission stand on lines of their own.
        kind: The last part of the problem's type, such as ``rules-failed``; empty where it named none.
        status: The status of its answer; ``None`` where there was none.
        problem: The whole problem (RFC 9457).
    """

    kept = "\n"

    def __init__(
        self, text: str, *, kind: str = "", status: int | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.status = status
        self.problem = dict(problem or {})
        wrong_call = status is not None and 400 <= status < 500 and status not in (409, 429)
        self.exit_status = 2 if wrong_call and kind != "rules-failed" else 1
