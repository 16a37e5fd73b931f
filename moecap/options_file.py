"""YAML files whose keys are options, each given once: that of ``moecap run --config``, and that of a sweep."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from moecap.errors import BadInputError
from moecap.yaml_bounds import refuse_yaml_bomb

__all__ = ["read_options_file"]

MOST_BYTES = 1_000_000


def read_options_file(path: Path, what: str = "--config") -> dict[str, Any]:
    """Read the options of a file.

    Args:
        path: A YAML mapping whose keys are options, written with ``-`` or ``_``.
        what: What the file is, for messages.

    Raises:
        BadInputError: If it cannot be read, is no such mapping, or gives an option twice.
    """
    try:
        if not path.is_file():
            reason = "no such file" if not path.exists() else "not a plain file"
            raise BadInputError(f"{what} {path}: cannot be read ({reason}); give a YAML file")
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise BadInputError(f"{what} {path}: larger than {MOST_BYTES:,} bytes; give a YAML file of options")
        refuse_yaml_bomb(text.decode("utf-8-sig"))
        content = yaml.load(text.decode("utf-8-sig"), _OptionLoader)
    except _KeyError as error:
        raise BadInputError(f"{what} {path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BadInputError(f"{what} {path}: cannot be read ({reason}); give a YAML file") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadInputError(f"{what} {path}: not YAML ({reason}); mend the file") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInputError(f"{what} {path}: not a mapping of options; write lines such as 'concurrency: 8'")
    return content


class _KeyError(Exception):
    """What is wrong with a key."""


class _OptionLoader(yaml.SafeLoader):
    """YAML whose keys are names with ``_``; a key that comes twice is refused, where YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct the options of a mapping."""
        own: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise _KeyError(f"the key {name!r} is no name of an option; mend the file")
            if _key(name) in own:
                raise _KeyError(f"{_key(name)} is given twice; give it once")
            own.add(_key(name))
        return {_key(name): value for name, value in super().construct_mapping(node, deep).items()}


def _key(name: object) -> str:
    return str(name).replace("-", "_")
