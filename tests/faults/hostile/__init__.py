"""Every reader of bytes that a stranger may have written, each with valid files to start from."""

from __future__ import annotations

from pathlib import Path

from hostile import answers, data, inputs, packed, results
from hostile.parser import Parser

__all__ = ["all_parsers"]


def all_parsers(run: Path) -> list[Parser]:
    """The table.

    Args:
        run: A valid run directory.
    """
    return [
        *inputs.models(),
        *inputs.settings(),
        *results.results(run),
        *results.imports(),
        *answers.answers(),
        *data.data(),
        *packed.archives(run),
        *packed.checkpoints(),
    ]
