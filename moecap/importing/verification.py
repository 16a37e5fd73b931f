"""What of an imported result can be recomputed, and whether it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import MoecapError
from moecap.files import file_sha256
from moecap.importing.metrics import load_metrics
from moecap.importing.record import read_imported
from moecap.metrics.value import Metric
from moecap.observations.reader import read_observations
from moecap.result import RESULT_FILE
from moecap.verification.recomputation import TOLERANCE
from moecap.verification.statements import Difference

__all__ = ["ImportVerification", "verify_imported"]


@dataclass(frozen=True, slots=True)
class ImportVerification:
    """The outcome.

    Attributes:
        differences: Recomputed metrics that differ from those that are stored.
        corrupt: Files that are missing, changed or unreadable.
        checked: Number of metrics that were recomputed.
        as_stated: Metrics that the source alone says and nothing can recompute.
        problem: Why nothing could be recomputed; empty where it could.
    """

    differences: tuple[Difference, ...]
    corrupt: tuple[str, ...]
    checked: int
    as_stated: tuple[str, ...]
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether every file and every number that can be checked holds."""
        return not self.differences and not self.corrupt


def verify_imported(path: Path) -> ImportVerification:
    """Check the digests of an import's files and recompute what its observations give.

    Args:
        path: The run directory, or the result file in it.

    Raises:
        BadInputError: If there is no readable result.
    """
    result = read_imported(path)
    directory = path if path.is_dir() else path.parent
    corrupt = [] if result.canonical_id() == result.id else [RESULT_FILE]
    for name, digest in result.observations.items():
        file = directory / name
        if Path(name).name != name or file.is_symlink() or not file.is_file() or file_sha256(file) != digest:
            corrupt.append(name)
    as_stated = tuple(
        name for name, m in result.metrics.items() if m.value is not None and name not in result.recomputed
    )
    if not result.observations:
        claimed = tuple(Difference(name, result.metrics[name].value, None) for name in result.recomputed)
        return ImportVerification(claimed, tuple(corrupt), 0, as_stated, result.missing.get("observations", ""))
    no_tokens = result.metrics["itl.p50"].reason or "" if "itl.p50" in result.metrics else ""
    try:
        load = result.workload
        seen = read_observations(directory)
        again = load_metrics(seen, load.load, no_tokens, result.hardware.count)
    except MoecapError as error:
        return ImportVerification((), tuple(dict.fromkeys([*corrupt, RESULT_FILE])), 0, as_stated, str(error))
    differences = []
    for name in result.recomputed:
        stored, found = result.metrics.get(name), again.get(name)
        if not _same(stored, found):
            values = [metric.value if metric is not None else None for metric in (stored, found)]
            differences.append(Difference(name, *values))
    return ImportVerification(tuple(differences), tuple(corrupt), len(result.recomputed), as_stated)


def _same(stored: Metric | None, found: Metric | None) -> bool:
    if stored is None or found is None or stored.value is None or found.value is None:
        return False
    alike = stored.model_dump(exclude={"value"}) == found.model_dump(exclude={"value"})
    return alike and math.isclose(stored.value, found.value, rel_tol=TOLERANCE)
