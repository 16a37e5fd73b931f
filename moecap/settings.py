"""Run configurations from mappings and ``KEY=VALUE`` settings, and what is wrong with one in a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from moecap.config import RunConfig
from moecap.errors import BadInputError, UnknownNameError
from moecap.metrics.memory_layout import Layout, parse_layout, read_layout

__all__ = ["first_problem", "merged_settings", "with_settings"]


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: ``concurrency: Input should be greater than 0 (got -1)``."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return str(UnknownNameError("setting", where, _settings(RunConfig)))
    text = problem["msg"].removeprefix("Value error, ")
    got = problem.get("input")
    shown = "" if isinstance(got, dict | BaseModel) else f" (got {got!r})"
    remedy = "; quote it" if problem["type"] == "string_type" and not isinstance(got, list | dict) else ""
    return f"{where}: {text}{shown}{remedy}" if where else text


def _settings(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of the run configuration, dotted."""
    keys = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _settings(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


_TEXTS = frozenset(
    name
    for name, field in RunConfig.model_fields.items()
    if {field.annotation, *get_args(field.annotation)} & {str, Path}
)
"""Keys whose value is a text, or several."""


def with_settings(values: dict[str, Any], settings: tuple[str, ...]) -> RunConfig:
    """A run configuration from a mapping and ``KEY=VALUE`` settings that override it; keys may be dotted.

    Raises:
        BadInputError: If a setting is not ``KEY=VALUE``, a key is unknown, or a value is out of range.
    """
    try:
        return RunConfig.model_validate(merged_settings(values, settings))
    except ValidationError as error:
        raise BadInputError(first_problem(error)) from None


def merged_settings(values: Mapping[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """The keys of a mapping with ``KEY=VALUE`` settings over them, and a layout that is named read; nothing is checked.

    Raises:
        BadInputError: If a setting is not ``KEY=VALUE``.
    """
    import yaml

    merged: dict[str, Any] = {**values}
    if isinstance(merged.get("layout"), str | Path):  # before settings change keys of it
        merged["layout"] = read_layout(Path(merged["layout"])).model_dump(exclude_unset=True)
    seen: set[str] = set()
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise BadInputError(f"--set {setting}: not KEY=VALUE, for instance --set cost.usd_per_hour=2.5")
        key = name.replace("-", "_")
        if key in seen:
            raise BadInputError(f"--set {key} is given twice; give it once")
        seen.add(key)
        node = merged
        *parents, last = key.split(".")
        for parent in parents:
            child = node.get(parent)
            node[parent] = child = dict(child) if isinstance(child, dict) else {}
            node = child
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):  # a ValueError for what looks like a date and is none
            if key not in _TEXTS:
                raise BadInputError(f"--set {setting}: the value is not YAML; quote it") from None
            value = text
        # a revision 1234567 or 2024-01-01 is a name, whatever YAML reads
        node[last] = text if key in _TEXTS and not isinstance(value, str | list | None) else value
    layout = merged.get("layout")
    if isinstance(layout, str):
        merged["layout"] = read_layout(Path(layout))
    elif layout is not None and not isinstance(layout, Layout):
        merged["layout"] = parse_layout(layout, "layout")
    return merged
