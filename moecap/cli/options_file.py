"""The YAML file of ``moecap run --config``: any option as a key, each given once."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from moecap.errors import BadInputError

__all__ = ["read_options_file"]


def read_options_file(path: Path) -> dict[str, Any]:
    """Read the options of a file.

    Args:
        path: A YAML mapping whose keys are options, written with ``-`` or ``_``.

    Raises:
        BadInputError: If it cannot be read, is no such mapping, or gives an option twice.
    """
    try:
        if not path.is_file():
            reason = "no such file" if not path.exists() else "not a plain file"
            raise BadInputError(f"--config {path}: cannot be read ({reason}); give a YAML file")
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, _OptionLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise BadInputError(f"--config {path}: cannot be read ({reason}); give a YAML file") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise BadInputError(f"--config {path}: not YAML ({reason}); mend the file") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInputError(f"--config {path}: not a mapping of options; write lines such as 'concurrency: 8'")
    return content


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
                raise BadInputError(f"--config {self.name}: the key {name!r} is no name of an option; mend the file")
            if _key(name) in own:
                raise BadInputError(f"--config {self.name}: {_key(name)} is given twice; give it once")
            own.add(_key(name))
        return {_key(name): value for name, value in super().construct_mapping(node, deep).items()}


def _key(name: object) -> str:
    return str(name).replace("-", "_")
