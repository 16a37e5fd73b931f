"""The leaderboard that a command speaks with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moecap.client import Leaderboard

__all__ = ["open_board"]

TOKEN_VARIABLE = "MOECAP_TOKEN"


def open_board(url: str, token: str | None = None, *, needed_for: str = "") -> Leaderboard:
    """The leaderboard at an address, with the key that was given or that is in the environment.

    Args:
        url: The address.
        token: The key.
        needed_for: The command that cannot do without a key.

    Raises:
        BadInputError: If the address cannot be used.
        NotAvailableError: If a key is needed and there is none.
    """
    from moecap.cli.output import remark
    from moecap.client import Leaderboard
    from moecap.errors import NotAvailableError

    if token is not None:
        remark(f"a key on the command line is seen by other users of this machine; {TOKEN_VARIABLE} is not")
    key = token or os.environ.get(TOKEN_VARIABLE) or None
    if needed_for and key is None:
        raise NotAvailableError(
            f"{needed_for} needs a key to {url}; set {TOKEN_VARIABLE} to the one that its administrator gave you"
        )
    return Leaderboard(url, key)
