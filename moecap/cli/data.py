"""``moecap data``: the data sets and the embedded model that moecap fetches by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

__all__ = ["app"]

app = App(name="data", help="Data sets and the embedded model: what there is, and fetching it into the cache.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON (sizes in bytes) instead of a table.")]


@app.command(name="list")
def list_command(*, json: Json = False) -> None:
    """List the data sets and the embedded model, with source and licence, and whether they are on this machine."""
    from moecap.cli.output import print_json, print_table
    from moecap.data.sets import DATA_SETS

    known = [_data_set_summary(name) for name in DATA_SETS] + [_model_summary()]
    if json:
        print_json(known)
        return
    rows = [
        [
            item["name"],
            item["kind"],
            ", ".join(f"{split} {count:,}" for split, count in item["splits"].items()) or "-",
            item["source"],
            item["licence"],
            f"{item['package']} {item['version']}",
            f"{item['download_bytes'] / 1e6:.0f}",
            "yes" if item["here"] else "no",
        ]
        for item in known
    ]
    print_table(["name", "kind", "examples", "source", "licence", "package", "MB", "here"], rows, right=["MB"])


@app.command
def fetch(name: str, /, *, json: Json = False) -> None:
    """Fetch a data set, or make the embedded model, and print where it lies.

    Args:
        name: A name that `moecap data list` shows.
        json: Print JSON instead of paths.
    """
    from moecap.cli.output import print_json, print_line
    from moecap.data.sets import DATA_SETS, fetch_data_set
    from moecap.errors import UnknownNameError
    from moecap.models import embedded

    paths: dict[str, Path]
    if name in (embedded.NAME, embedded.LONG_NAME):
        name, paths = embedded.NAME, {"model": embedded.ensure()}
    elif name in DATA_SETS:
        paths = fetch_data_set(name)
    else:
        raise UnknownNameError("data set", name, [*DATA_SETS, embedded.NAME], "moecap data list shows them")
    if json:
        print_json({"name": name, "paths": {part: str(path) for part, path in paths.items()}})
        return
    for path in paths.values():
        print_line(str(path))


def _data_set_summary(name: str) -> dict[str, Any]:
    from moecap.data.sets import data_set

    known = data_set(name)
    return {
        "name": known.name,
        "kind": "data set",
        "title": known.title,
        "source": known.source,
        "paper": known.paper,
        "licence": known.licence,
        "package": known.files.package,
        "version": known.files.version,
        "download_bytes": known.files.archive_bytes,
        "splits": {split: part.examples for split, part in known.splits.items()},
        "configs": list(known.configs),
        "sha256": {part: known.files.members[member] for part, member in known.parts.items()},
        "here": known.is_here,
    }


def _model_summary() -> dict[str, Any]:
    from moecap.models import embedded

    source = embedded.SOURCE
    return {
        "name": embedded.NAME,
        "kind": "model",
        "title": embedded.LONG_NAME,
        "source": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "paper": "arXiv 2212.05055",
        "licence": source.licence,
        "package": source.package,
        "version": source.version,
        "download_bytes": source.archive_bytes,
        "splits": {},
        "sha256": {"model": embedded.WEIGHTS_SHA256},
        "here": embedded.is_made(),
    }
