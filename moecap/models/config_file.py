"""A ``config.json`` from an unknown hand: read whole, or refused in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError
from moecap.strict_json import nests_too_deeply

__all__ = ["parse_config", "read_config_file"]

_LARGEST_FILE = 4 * 2**20


def read_config_file(path: Path) -> dict[str, Any]:
    """Read and parse a configuration.

    Args:
        path: A file, or a folder that holds ``config.json``.

    Raises:
        BadInputError: If it is missing, too large or not a plain JSON object.
    """
    shown = ascii(str(path))
    try:
        if path.is_dir():
            path = path / "config.json"
            if not path.exists():
                raise BadInputError(f"the folder {shown} has no config.json; give a model folder")
        if not path.is_file():
            raise BadInputError(f"{shown} is not a file; give a config.json or a folder that holds one")
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInputError(f"cannot read {shown}: {reason}; give a readable config.json") from None
    except ValueError as error:
        raise BadInputError(f"{shown} is not a path: {error}; give a config.json") from None
    if len(content) > _LARGEST_FILE:
        raise BadInputError(f"{shown} is larger than 4 MiB; give a config.json, not weights")
    return parse_config(content, shown)


def parse_config(content: bytes, shown: str) -> dict[str, Any]:
    """Parse a configuration strictly: one object, no repeated keys, no NaN or infinite numbers.

    One bound that published configurations write as ``Infinity`` is let through, ``time_step_limit`` of Mamba.

    Args:
        content: UTF-8 text.
        shown: How to name the file in messages.

    Raises:
        BadInputError: If the text is anything else.
    """
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_unique,
            parse_constant=_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise BadInputError(f"{shown} is nested too deeply; give the config.json of a model") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{shown} is not UTF-8 text; give the config.json of a model") from None
    except ValueError as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInputError(f"{shown} is not valid JSON: {reason}; give the config.json of a model") from None
    if nests_too_deeply(value):
        raise BadInputError(f"{shown} is nested too deeply; give the config.json of a model")
    if not isinstance(value, dict):
        raise BadInputError(f"{shown} holds a JSON {type(value).__name__}, not an object; give a model's config.json")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {ascii(key)[:60]} stands twice")
        if key != "time_step_limit" and _is_infinite(value):
            raise ValueError("Infinity is not a JSON number")
        found[key] = value
    return found


def _is_infinite(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(item, float) and math.isinf(item) for item in values)


def _constant(name: str) -> float:
    if name != "Infinity":
        raise ValueError(f"{name} is not a JSON number")
    return math.inf


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value
