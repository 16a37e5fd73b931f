"""Which tasks lm-eval has, and what each says of itself before any of its data is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError

__all__ = ["Leaf", "harness_version", "leaves", "manager", "paper_of", "require_harness"]

EXTRA = 'pip install "moecap[eval]"'


@dataclass(frozen=True, slots=True)
class Leaf:
    """One task of the harness, which has data and a metric of its own.

    Attributes:
        name: Its name in the harness.
        config: Its configuration with what it includes; functions are not resolved.
        folder: Where its files lie; ``None`` for one that stands inside a group.
    """

    name: str
    config: Mapping[str, Any]
    folder: Path | None

    @property
    def output_type(self) -> str:
        """``multiple_choice``, ``loglikelihood``, ``loglikelihood_rolling`` or ``generate_until``."""
        kind = self.config.get("output_type")
        if kind is None and "class" in self.config:
            kind = getattr(_task_class(self.config), "OUTPUT_TYPE", None)
        return str(kind or "generate_until")

    @property
    def version(self) -> str:
        """The task's own version, as the harness states it."""
        metadata = self.config.get("metadata")
        return str(metadata.get("version", "none")) if isinstance(metadata, dict) else "none"

    @property
    def eval_split(self) -> str | None:
        """The split whose items are asked; ``None`` where a class knows it."""
        return self.config.get("test_split") or self.config.get("validation_split")

    @property
    def shots(self) -> int:
        """Solved examples before each question where the user does not say."""
        return int(self.config.get("num_fewshot") or 0)

    @property
    def example_split(self) -> str | None:
        """The split from which examples are drawn; ``None`` where the task brings its own."""
        own = self.config.get("fewshot_config")
        if isinstance(own, dict) and "samples" in own:
            return None
        named = own.get("split") if isinstance(own, dict) else None
        keys = ("fewshot_split", "training_split", "validation_split", "test_split")
        return named or next((self.config[key] for key in keys if self.config.get(key)), None)


def require_harness() -> None:
    """Refuse where lm-eval is not installed.

    Raises:
        NotAvailableError: With the command that installs it.
    """
    missing = [name for name in ("lm_eval", "transformers") if find_spec(name) is None]
    if missing:
        raise NotAvailableError(f"tasks of lm-eval need {' and '.join(missing)}, not installed; {EXTRA}")


def harness_version() -> str:
    """The installed version of lm-eval."""
    return version("lm-eval")


@cache
def manager() -> Any:
    """The harness's own index of its tasks."""
    require_harness()
    from moecap.tasks.lm_eval.index import read_manager

    return read_manager()


def leaves(name: str) -> tuple[Leaf, ...]:
    """The tasks behind the name of a task, a group or a tag, in the harness's order.

    Raises:
        UnknownNameError: If the harness has none of that name.
        NotAvailableError: If it is not installed.
    """
    index = manager().task_index
    if name not in index:
        raise UnknownNameError("task of lm-eval", name, index, "lm-eval ls tasks shows them")
    return tuple(_leaves(name, {}))


def _leaves(name: str, overrides: Mapping[str, Any]) -> Iterator[Leaf]:
    index = manager().task_index
    if name not in index:  # a task that stands inside a group
        yield Leaf(name, overrides, None)
        return
    entry = index[name]
    kind = entry.kind.name
    if kind == "TAG":
        for member in sorted(entry.tags):
            yield from _leaves(member, overrides)
    elif kind == "GROUP":
        yield from _members(entry.cfg, overrides)
    else:
        yield Leaf(name, {**entry.cfg, **overrides}, entry.yaml_path.parent)


def _members(group: Mapping[str, Any], overrides: Mapping[str, Any]) -> Iterator[Leaf]:
    members = group.get("task")
    listed: list[Any] = members if isinstance(members, list) else [members]
    for member in listed:
        if isinstance(member, str):
            yield from _leaves(member, overrides)
        elif "group" in member and member["group"] not in manager().task_index:
            yield from _members(member, overrides)
        else:
            own = {key: value for key, value in member.items() if key not in ("group", "task")}
            yield from _leaves(member.get("group") or member["task"], {**overrides, **own})


def _task_class(config: Mapping[str, Any]) -> Any:
    """The class of a task that is written in Python, which the index gives as a path."""
    if not isinstance(config["class"], str):
        return config["class"]
    from lm_eval.tasks._yaml_loader import _import_fun_from_str  # the harness's own way to such a class

    try:
        return _import_fun_from_str(config["class"])
    except (ImportError, AttributeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"lm-eval's {config['task']} cannot be loaded ({reason}); take another task") from None


def paper_of(leaf: Leaf) -> str:
    """The first paper that the task's own description names."""
    readme = leaf.folder / "README.md" if leaf.folder else None
    if readme is not None and not readme.is_file():
        readme = readme.parent.parent / "README.md"
    if readme is None or not readme.is_file():
        return "see lm-eval"
    found = re.search(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", readme.read_text(encoding="utf-8", errors="replace"))
    return f"arXiv {found[1]}" if found else "see lm-eval"
