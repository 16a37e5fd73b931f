"""Charts of a row's run, drawn from its observations when a page asks for them; the last ones are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moecap.report.experts import expert_charts, expert_table
from moecap.report.markup import Html
from moecap.report.reported_run import read_run
from moecap.report.roofline import roofline_drawn
from moecap.report.section import Drawn
from moecap.result import RESULT_FILE
from moecap_leaderboard.kept_drawings import KeptDrawings
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.reports import files_of, published
from moecap_leaderboard.service import Service

__all__ = ["RunCharts", "StoredCharts", "Subject"]

Subject = Literal["roofline", "experts"]

_KEPT = 64


@dataclass(frozen=True, slots=True)
class RunCharts:
    """Charts of a run.

    Attributes:
        charts: Each with what explains it, or the reason why it is missing.
        table: The numbers beside them, where there are any.
        kind: Whether the run was measured or projected.
    """

    charts: tuple[Drawn, ...]
    table: Html | None
    kind: str


class StoredCharts:
    """Charts of rows on the board.

    Args:
        service: The store and the processes that draw.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: KeptDrawings[tuple[str, Subject], RunCharts] = KeptDrawings(service.examiners, _KEPT)

    def of(self, identifier: str, subject: Subject) -> RunCharts:
        """The charts of a row.

        Args:
            identifier: Id of the result.
            subject: What they are of.

        Raises:
            ProblemError: If no such row is on the board, or no run came with it.
            BadInputError: If they cannot be drawn.
            NotAvailableError: If too many submissions and drawings wait.
        """
        with self._service.database.reading() as session:
            row = published(session, identifier)
            submission, kind, files = row.id, row.kind, files_of(session, row)
        if RESULT_FILE not in files:
            raise ProblemError("not-found", f"this row is {kind} and came without observations")
        return self._kept.get((submission, subject), lambda: self._drawn(files, subject))

    def _drawn(self, files: Mapping[str, str], subject: Subject) -> RunCharts:
        with tempfile.TemporaryDirectory(prefix="moecap-charts-") as name:
            for file, sha256 in files.items():
                Path(name, file).symlink_to(self._service.blobs.path(sha256).absolute())
            found: RunCharts = self._service.examiners.work(drawn_charts, Path(name), subject)
            return found


def drawn_charts(folder: Path, subject: Subject) -> RunCharts:
    """The charts of a run directory."""
    run = read_run(folder)
    if subject == "roofline":
        drawn, table = roofline_drawn(run)
        return RunCharts((drawn,), table, run.result.kind)
    if not run.result.model.is_moe:
        return RunCharts((Drawn("Experts", "this model is dense and has no routed experts"),), None, run.result.kind)
    charts: tuple[Drawn, ...] = (Drawn("Experts", run.problem),)
    if run.evidence is not None:
        charts = expert_charts(run.evidence)
    return RunCharts(charts, expert_table(run), run.result.kind)
