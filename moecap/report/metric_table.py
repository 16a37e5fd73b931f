"""Every metric of one or more results as CSV, one row a metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from moecap.errors import BadInputError
from moecap.files import write_text
from moecap.result import Result

__all__ = ["COLUMNS", "csv_text", "write_csv"]

COLUMNS = ("run", "kind", "metric", "value", "unit", "low", "high", "n", "reason", "basis", "repeats")


def csv_text(results: Sequence[Result]) -> str:
    """CSV with a head; numbers are written so that they read back exactly, what is missing is empty."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        for name, m in result.metrics.items():
            repeats = " ".join(map(repr, m.repeats or ()))
            told = (m.value, m.unit, m.low, m.high, m.n, m.reason, m.basis, repeats)
            writer.writerow([result.id, result.kind, name, *told])
    return file.getvalue()


def write_csv(results: Sequence[Result], target: Path) -> None:
    """Write the CSV atomically.

    Raises:
        BadInputError: If it cannot be written.
    """
    try:
        write_text(target, csv_text(results))
    except OSError as error:
        raise BadInputError(f"{target}: cannot be written ({error.strerror}); name another place with --csv") from None
