"""The page of all options, made from the run configuration and the commands: ``python -m moecap.cli.reference``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from cyclopts import App
from pydantic import BaseModel

from moecap.cli.app import build_app
from moecap.config import RunConfig

__all__ = ["options_page"]

HEAD = """# Options of `moecap run`

This page is made from the run configuration and the commands (`python -m moecap.cli.reference > docs/options.md`).
Each row is an option of the command line, a key of a `--config` YAML file, and a key of `--set KEY=VALUE`.

| option | key | default | meaning |
| --- | --- | --- | --- |
"""

OTHERS = """
## Every other option and argument

`moecap run` and `moecap search` take the options above, too. What is in capitals is an argument, given without a name.

| command | option | default | meaning |
| --- | --- | --- | --- |
"""


def options_page() -> str:
    """The page as Markdown."""
    of_run = "".join(f"| `{o}` | `{k}` | `{d}` | {text} |\n" for o, k, d, text in _rows(RunConfig()))
    others = "".join(f"| `{c}` | `{o}` | {d} | {text} |\n" for c, o, d, text in _commands(build_app(), ("moecap",)))
    return HEAD + of_run + OTHERS + others


def _rows(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{prefix}{name}.")
            continue
        key = f"{prefix}{name}"
        default = " ".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)
        yield f"--{key.replace('_', '-')}", key, default or "none", field.description or ""


def _commands(app: App, path: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    """Command, option, default and meaning of all but the keys of the run configuration."""
    names = [name for name in app if not name.startswith("-")]
    for name in names:
        yield from _commands(app[name], (*path, name))
    if names or app.default_command is None:
        return
    of_run = {option for option, *_ in _rows(RunConfig())}
    own = [a for a in app.assemble_argument_collection(parse_docstring=True) if a.show]
    flat = {"moecap run", "moecap search"}
    for argument in own:
        option = argument.names[0]
        if " ".join(path) in flat and option in of_run - {"--layout"}:
            continue
        shown = option if option.startswith("-") else option.upper()
        default = "required" if argument.required else _default(argument.field_info.default)
        yield " ".join(path), shown, default, " ".join((argument.parameter.help or "").split()).replace("|", "\\|")


def _default(value: Any) -> str:
    if value in (None, inspect.Parameter.empty, (), []):
        return "none"
    return f"`{' '.join(map(str, value)) if isinstance(value, tuple | list) else value}`"


if __name__ == "__main__":
    sys.stdout.write(options_page())
