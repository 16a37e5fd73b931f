"""Names of models: short names, local folders and files, and ids on the Hugging Face hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.models.config_file import parse_config, read_config_file
from moecap.models.reading import read_model
from moecap.models.spec import ModelSpec

__all__ = [
    "EMBEDDED",
    "ModelRef",
    "PackagedModel",
    "load_model",
    "load_model_config",
    "packaged_models",
    "short_names",
]

EMBEDDED = "smollm2-moe"
"""Short name of the model that ships with the package."""

Origin = Literal["packaged", "embedded", "local", "hub"]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Where the configuration of a model was found.

    Attributes:
        name: What was asked for.
        id: The hub id where there is one, else the short name or the name of the folder.
        origin: ``packaged`` with moecap, ``embedded`` default model, ``local`` file or folder, or the ``hub``.
        path: The local folder or file, else ``None``.
        revision: The revision that was asked for on the hub, else ``None``.
        source: Where the configuration comes from, as a sentence.
    """

    name: str
    id: str
    origin: Origin
    path: Path | None = None
    revision: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A configuration that comes with moecap.

    Attributes:
        name: Its full short name, which is also its file's.
        hub_id: The model on the hub.
        names: Further short names.
        source: Where the configuration comes from.
    """

    name: str
    hub_id: str
    names: tuple[str, ...]
    source: str


@cache
def packaged_models() -> tuple[PackagedModel, ...]:
    """The configurations that come with moecap, by name."""
    table = json.loads(_packaged_text("sources.json"))
    return tuple(
        PackagedModel(name, row["hub_id"], tuple(row["names"]), row["source"]) for name, row in sorted(table.items())
    )


def short_names() -> dict[str, PackagedModel]:
    """Every short name of a packaged configuration; the embedded model's is :data:`EMBEDDED`."""
    return {short: model for model in packaged_models() for short in (model.name, *model.names)}


def load_model_config(name: str, revision: str | None = None) -> tuple[dict[str, Any], ModelRef]:
    """Find the configuration of a model.

    Args:
        name: A short name, the path of a local folder or of a ``config.json``, or a hub id ``org/name``. The hub id
            of a packaged configuration needs no network unless a revision is asked for.
        revision: A branch, tag or commit on the hub.

    Returns:
        The parsed configuration and where it was found.

    Raises:
        BadInputError: If a local file cannot be used.
        UnknownNameError: If no such model exists; near short names are offered.
        NotAvailableError: If the hub cannot be reached or does not give the file.
    """
    lowered = name.lower()
    if lowered == EMBEDDED:
        from moecap.models import embedded

        return embedded.config(), ModelRef(name, EMBEDDED, "embedded", source="made by moecap from SmolLM2-135M")
    packaged = short_names().get(lowered)
    hub_id = name if packaged is None else packaged.hub_id
    if packaged is None and (path := _local_path(name)) is not None:
        if not _exists(path):
            raise BadInputError(f"there is no folder or file {name!a:.200}; check the path")
        folder = path if path.is_dir() else path.parent
        found = ModelRef(name, _printable(folder.absolute().name or name), "local", path, source=_printable(str(path)))
        return read_config_file(path), found
    if packaged is None:
        packaged = next((model for model in packaged_models() if model.hub_id.lower() == lowered), None)
    if packaged is not None and revision is None:
        return _packaged_config(packaged), ModelRef(name, packaged.hub_id, "packaged", source=packaged.source)
    return _hub_config(name, hub_id, revision)


def load_model(
    name: str, *, revision: str | None = None, weights: str | None = None, kv: str | None = None
) -> tuple[ModelSpec, ModelRef]:
    """Find a model and read its specification.

    Args:
        name: As in :func:`load_model_config`.
        revision: A branch, tag or commit on the hub.
        weights: A number format that overrides the configuration for every class of weights.
        kv: A number format of the KV cache that overrides the configuration's.
    """
    config, ref = load_model_config(name, revision)
    return read_model(config, ref.id, weights=weights, kv=kv), ref


def _packaged_text(file: str) -> str:
    return resources.files("moecap.models").joinpath("configs", file).read_text(encoding="utf-8")


def _packaged_config(model: PackagedModel) -> dict[str, Any]:
    return parse_config(_packaged_text(f"{model.name}.json").encode(), f"the packaged config {model.name!r}")


def _printable(text: str) -> str:
    """The text itself, or its escapes where a terminal could not show it."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _local_path(name: str) -> Path | None:
    """The path, if the name is one: it exists, or it can be nothing else."""
    if not name.strip():
        return None
    path = Path(name)
    try:
        path = path.expanduser()
    except RuntimeError:  # no such user's home
        return path
    is_path = name.startswith((".", "/", "~")) or name.endswith(".json") or name.count("/") > 1
    return path if is_path or _exists(path) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _hub_config(name: str, hub_id: str, revision: str | None) -> tuple[dict[str, Any], ModelRef]:
    from moecap.models.hub import HubModelMissingError, fetch_config

    known = [*short_names(), EMBEDDED]
    shown = _printable(hub_id)[:100]
    org, slash, model = hub_id.partition("/")
    if not (slash and org and model):
        raise UnknownNameError("model", shown, known, "or give a hub id org/name or a local folder")
    near = Path(name).parent.is_dir()  # a folder may have been meant
    try:
        path = fetch_config(hub_id, revision)
    except HubModelMissingError:
        remedy = "the hub has no such public model; check the id"
        raise UnknownNameError(
            "model", shown, known, f"there is no such folder and {remedy}" if near else remedy
        ) from None
    except NotAvailableError as error:
        if near:
            raise NotAvailableError(f"there is no folder {shown!r}, and {error}") from None
        raise
    return read_config_file(path), ModelRef(name, hub_id, "hub", revision=revision, source=f"the hub, {hub_id}")
