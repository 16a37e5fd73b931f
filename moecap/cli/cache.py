"""``moecap cache``: what was fetched or made once and is kept, and removing it."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

__all__ = ["app"]

app = App(name="cache", help="The folder of fetched data sets and models: what is in it, and removing it.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON (sizes in bytes) instead of a table.")]


@app.command(name="list")
def list_command(*, json: Json = False) -> None:
    """List what is in the cache, with sizes."""
    from moecap.cli.output import print_json, print_table
    from moecap.data.cache import cache_root, entries

    root, found = cache_root(), entries()
    if json:
        print_json(
            {
                "root": str(root),
                "bytes": sum(entry.bytes for entry in found),
                "entries": [
                    {"name": entry.name, "path": str(entry.path), "bytes": entry.bytes, "files": entry.files}
                    for entry in found
                ],
            }
        )
        return
    rows = [[entry.name, f"{entry.bytes / 1e6:,.1f}", str(entry.files)] for entry in found]
    total = ["total", f"{sum(entry.bytes for entry in found) / 1e6:,.1f}", str(sum(entry.files for entry in found))]
    print_table(["name", "MB", "files"], [*rows, total], title=str(root), right=["MB", "files"])


@app.command
def clean(
    *names: str,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    yes: Annotated[bool, Parameter(name="--yes", negative="")] = False,
    json: Json = False,
) -> None:
    """Remove entries from the cache; they are fetched or made anew when they are needed.

    Args:
        names: Names that `moecap cache list` shows.
        every: Remove all of them.
        yes: Do not ask.
        json: Print JSON instead of a line.
    """
    from moecap.cli.output import print_json, print_line, remark
    from moecap.data.cache import clean as clean_cache
    from moecap.data.cache import entries
    from moecap.errors import UsageError

    if every == bool(names):
        raise UsageError("cache clean takes either names or --all; moecap cache list shows the names")
    chosen = [entry.name for entry in entries()] if every else list(names)
    if not yes and chosen:
        if not sys.stdin.isatty():
            raise UsageError(f"cache clean would remove {', '.join(chosen)} and there is no terminal to ask; add --yes")
        sys.stderr.write(f"remove {', '.join(chosen)}? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            remark("nothing was removed")
            chosen = []
    removed = clean_cache(chosen)
    freed = sum(entry.bytes for entry in removed)
    if json:
        print_json({"removed": [entry.name for entry in removed], "bytes": freed})
    else:
        print_line(f"removed {len(removed)} entries, {freed / 1e6:,.1f} MB")
