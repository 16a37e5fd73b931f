"""``moecap worker``: run what a leaderboard has queued."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moecap.publishing.worker import Done

__all__ = ["worker"]


def worker(
    *,
    url: str,
    token: str | None = None,
    once: bool = False,
    name: str | None = None,
    key: str | None = None,
    runs: Path = Path("runs"),
    longest: float = 14400.0,
    allow: tuple[str, ...] = (),
    json: bool = False,
) -> int:
    """Take queued requests from a leaderboard, run each on this machine, and submit the results.

    It takes what this machine can run: its own hardware, models by short name or from the hub, data sets by name. A
    request that sets paths, addresses or arguments of engines is left alone. SIGINT and SIGTERM end it; the request
    that it was at goes back to the queue.

    Args:
        url: The leaderboard, such as https://HOST.
        token: Your key to it, with the scopes work and submit; MOECAP_TOKEN is safer, which no other user sees.
        once: Take one and end.
        name: What the leaderboard shows as who took a request; by default this machine's hardware.
        key: Name of the signing key; the one that is named default signs if there is one (moecap keys new).
        runs: Folder for the run directories, which stay.
        longest: Seconds after which a run is given up.
        allow: A text that looks private and may go with a result all the same; may be repeated.
        json: Print each request that was served as JSON on a line.
    """
    from moecap.cli.board import open_board
    from moecap.cli.output import remark
    from moecap.cli.submit import signing_key
    from moecap.data.cache import cache_root
    from moecap.hardware.resolve import resolve_hardware
    from moecap.publishing.worker import Worker

    served: list[Done] = []

    def done(outcome: Done) -> None:
        served[:] = [outcome]
        _answer(outcome, json)

    with open_board(url, token, needed_for="moecap worker") as board:
        board.own_key()
        signs = signing_key(key)
        machine = resolve_hardware(cache_dir=cache_root(), progress=remark)
        remark(f"{machine.profile.name}: waiting for requests from {board.url}")
        name = name or machine.profile.id
        Worker(board, machine, name, runs, signs, longest, remark, allow).work(once=once, done=done)
    return 1 if served and served[0].reason is not None else 0


def _answer(outcome: Done, json: bool) -> None:
    """One line for a request, at once, since the next may take long."""
    from dataclasses import asdict
    from json import dumps

    from moecap.cli.output import print_line

    if json:
        line = dumps(asdict(outcome))
    elif outcome.reason is not None:
        line = f"request {outcome.request} failed: {outcome.reason}"
    else:
        line = f"request {outcome.request}: result {outcome.result}"
    print_line(line)
    sys.stdout.flush()
