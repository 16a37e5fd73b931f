"""The command line."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Args:
        arguments: The words of the command; ``None`` for those of this process, which then ends with the command.
    """
    from moecap.cli.process import run_command

    return run_command(arguments)
