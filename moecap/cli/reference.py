"""The page of the options of ``moecap run``, made from the configuration model: ``python -m moecap.cli.reference``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pydantic import BaseModel

from moecap.config import RunConfig

__all__ = ["options_page"]

HEAD = """# Options of `moecap run`

This page is made from the run configuration itself (`python -m moecap.cli.reference > docs/options.md`).
Each row is an option of the command line, a key of a `--config` YAML file, and a key of `--set KEY=VALUE`.

| option | key | default | meaning |
| --- | --- | --- | --- |
"""


def options_page() -> str:
    """The page as Markdown."""
    return HEAD + "".join(f"| `{o}` | `{k}` | `{d}` | {text} |\n" for o, k, d, text in _rows(RunConfig()))


def _rows(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{prefix}{name}.")
            continue
        key = f"{prefix}{name}"
        default = " ".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)
        yield f"--{key.replace('_', '-')}", key, default or "none", field.description or ""


if __name__ == "__main__":
    sys.stdout.write(options_page())
