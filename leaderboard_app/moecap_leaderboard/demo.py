"""What fills an empty leaderboard: runs of this project, figures of others with their sources, and projections."""

from __future__ import annotations

import gzip
import json
import tempfile
from importlib.resources import files
from pathlib import Path

from sqlalchemy import select

from moecap.publishing.archive import pack
from moecap.result import write_result
from moecap_leaderboard.figures_store import add_figures
from moecap_leaderboard.published import imported_figures, projected_figures
from moecap_leaderboard.rederivation import rederived
from moecap_leaderboard.service import Service
from moecap_leaderboard.tables import Submission

__all__ = ["DEMO_OWNER", "fill_empty"]

DEMO_OWNER = "moecap"
"""In whose name the rows stand."""

_DATA = "demo_data"


def fill_empty(service: Service) -> dict[str, int] | None:
    """Publish the rows of the demonstration, the measured ones through the same rules as any submission.

    Args:
        service: An open service.

    Returns:
        How many of each kind; ``None`` where the store holds submissions already, and stays as it is.

    Raises:
        ProblemError: If a run of the demonstration is refused.
    """
    with service.database.reading() as session:
        if session.scalar(select(Submission.id).limit(1)) is not None:
            return None
    data = files("moecap_leaderboard") / _DATA
    points = json.loads(gzip.decompress((data / "published_points.json.gz").read_bytes()))["points"]
    added = {
        "imported": add_figures(service.database, imported_figures(points), DEMO_OWNER),
        "projected": add_figures(service.database, projected_figures(points), DEMO_OWNER),
        "measured": 0,
    }
    for run in sorted((data / "runs").iterdir(), key=lambda entry: entry.name):
        with tempfile.TemporaryDirectory(prefix="moecap-demo-") as name:
            folder = Path(name)
            for entry in run.iterdir():
                (folder / entry.name).write_bytes(entry.read_bytes())
            _submit(service, folder)
        added["measured"] += 1
    return added


def _submit(service: Service, folder: Path) -> None:
    result = rederived(folder)
    write_result(folder, result)
    archive = folder.parent / f"{folder.name}.tar.gz"
    sent = {name: folder / name for name in result.observations if (folder / name).exists()}
    with archive.open("wb") as target:
        pack(sent, target)
    try:
        service.submissions.submit((folder / "result.json").read_bytes(), archive, DEMO_OWNER)
    finally:
        archive.unlink()
