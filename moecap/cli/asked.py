"""What the options of a run, the file that they override and the layout say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moecap.config import RunConfig
from moecap.options_file import read_options_file

__all__ = ["asked_values"]


def asked_values(config: Path | None, options: RunConfig | None, layout: Path | None) -> dict[str, Any]:
    """The keys of the run configuration that a user gave, each once.

    Args:
        config: A YAML file with options.
        options: Options of the command line, which override it.
        layout: The file of a layout.

    Raises:
        BadInputError: If the file cannot be read.
    """
    values: dict[str, Any] = read_options_file(config) if config else {}
    if options is not None:
        values = _merged(values, options.model_dump(exclude_unset=True))
    return values if layout is None else {**values, "layout": layout}


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A mapping whose nested mappings are merged and not replaced."""
    both = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            both[key] = _merged(under[key], over[key])
    return both
