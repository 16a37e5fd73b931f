"""The hardware profiles: found by id, by alias, or read from a file of the user's."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from moecap.errors import BadInputError, UnknownNameError
from moecap.hardware.profile import HardwareProfile

__all__ = ["list_profiles", "load_profile", "names_file", "packaged_id", "profile_aliases", "profile_names"]

_MAX_BYTES = 64 * 1024
_MAX_DEPTH = 12
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_profile(name_or_path: str | os.PathLike[str]) -> HardwareProfile:
    """The profile of a device.

    Args:
        name_or_path: An id or an alias (case, ``_`` and blanks do not matter), or the path of a YAML file.

    Raises:
        UnknownNameError: If it is neither a known name nor a file.
        BadInputError: If the file cannot be used.
    """
    text = os.fspath(name_or_path)
    if isinstance(name_or_path, str):
        identifier = packaged_id(text)
        if identifier is not None:
            return _packaged(identifier)
    path = Path(text)
    if not isinstance(name_or_path, str) or names_file(text):
        return _read_file(path)
    if _is_file(path):
        return _read_file(path)
    remedy = "`moecap hw list` shows them; the path of a YAML file will do too"
    raise UnknownNameError("hardware profile", text[:80], {*profile_names(), *profile_aliases()}, remedy)


def packaged_id(name: str) -> str | None:
    """The id of the packaged profile that an id or an alias stands for, or ``None`` where it stands for none."""
    short = name.strip().lower().replace("_", "-").replace(" ", "-")
    identifier = profile_aliases().get(short, short)
    return identifier if identifier in _documents() else None


def names_file(text: str) -> bool:
    """Whether a text can mean a profile file alone: it has the ending of one, or a folder."""
    return Path(text).suffix.lower() in {".yaml", ".yml", ".json"} or os.sep in text


def list_profiles() -> tuple[HardwareProfile, ...]:
    """Every packaged profile: accelerators before hosts, each group by vendor and then by id."""
    profiles = [_packaged(name) for name in _documents()]
    return tuple(sorted(profiles, key=lambda p: (p.kind, p.vendor, p.id)))


def profile_names() -> tuple[str, ...]:
    """The ids of the packaged profiles, sorted; cheap: no file is read."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


@functools.cache
def profile_aliases() -> dict[str, str]:
    """The stable short names and the id that each stands for."""
    return {alias: name for name, document in _documents().items() for alias in document.get("aliases", ())}


@functools.cache
def _folder() -> Path:
    inside = Path(__file__).parent.parent / "hardware_profiles"
    return inside if inside.is_dir() else inside.parent.parent / "hardware_profiles"  # a checkout has it at the top


@functools.cache
def _documents() -> dict[str, dict[str, Any]]:
    """The parsed, not yet validated files by id."""
    return {p.stem: yaml.load(p.read_bytes(), _LOADER) for p in sorted(_folder().glob("*.yaml"))}


@functools.cache
def _packaged(identifier: str) -> HardwareProfile:
    return _validated(_documents()[identifier], f"{identifier}.yaml")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or a zero byte
        return False


def _read_file(path: Path) -> HardwareProfile:
    """Read a file of unknown origin: bounded in size and depth before anything is built from it."""
    shown = repr(str(path))[1:-1][:200]
    if not _is_file(path):
        raise BadInputError(f"no hardware profile file {shown}; `moecap hw list` shows the packaged profiles")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"cannot read the hardware profile {shown}: {error.strerror}; check the path") from None
    if len(content) > _MAX_BYTES:
        raise BadInputError(
            f"{shown} is larger than {_MAX_BYTES // 1024} KiB: give a hardware profile, one device a file"
        )
    try:
        _refuse_bombs(content)
        document = yaml.load(content, _LOADER)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise BadInputError(f"{shown} is no usable YAML: {_one_line(error)}; mend it or save one anew") from None
    if not isinstance(document, dict):
        raise BadInputError(f"{shown} holds no mapping; `moecap hw probe --save FILE` writes a profile as an example")
    return _validated(document, shown)


def _refuse_bombs(content: bytes) -> None:
    """Walk the events, which takes constant stack, and refuse what could explode while it is built."""
    depth = 0
    for event in yaml.parse(content, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ValueError("anchors and aliases (& and *) are not allowed")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH}")


def _validated(document: dict[str, Any], origin: str) -> HardwareProfile:
    try:
        return HardwareProfile.model_validate(document)
    except ValidationError as error:
        first, count = error.errors()[0], error.error_count()
        where = ".".join(str(part) for part in first["loc"])[:80]
        value = first["input"]
        found = f" (found {value})" if isinstance(value, float) and not math.isfinite(value) else ""
        more = f", and {count - 1} more" if count > 1 else ""
        message = f"{where + ': ' if where else ''}{first['msg']}{found}"
        raise BadInputError(f"{origin} is no hardware profile: {_one_line(message)}{more}; correct it") from None
    except (OverflowError, RecursionError) as error:
        raise BadInputError(f"{origin} is no hardware profile: {_one_line(error)}; correct it") from None


def _one_line(error: object) -> str:
    return "".join(c if c.isprintable() else " " for c in " ".join(str(error).split()))[:240]
