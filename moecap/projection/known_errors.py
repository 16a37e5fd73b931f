"""How far off the projection is, by the last test on published results that it was not fitted on."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["KNOWN_ERRORS_FILE", "KnownError", "KnownErrors", "coefficients_digest", "known_errors"]

KNOWN_ERRORS_FILE = "known_errors.yaml"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownError(_Record):
    """The error on one quantity.

    Attributes:
        n: Published values.
        median_abs_error: Median |projected / published - 1|.
        p90_abs_error: Its 90th percentile.
        interval_coverage: Share of the values inside the 80 % interval.
    """

    n: int
    median_abs_error: float
    p90_abs_error: float
    interval_coverage: float


class KnownErrors(_Record):
    """The table in ``known_errors.yaml``, which ``benchmarks/projection_errors.py`` writes.

    Attributes:
        date: When it was made (ISO date).
        source: Which rows.
        coefficients: SHA-256 of the coefficients that were tested.
        quantities: By quantity: ``ttft``, ``tpot``, ``itl_median``, ``output_throughput`` and so on.
    """

    date: str
    source: str
    coefficients: str
    quantities: dict[str, KnownError]


@cache
def known_errors() -> KnownErrors | None:
    """The table that comes with the package; ``None`` where it was made with other coefficients than those in force."""
    import yaml

    text = files("moecap.projection").joinpath(KNOWN_ERRORS_FILE).read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    found = KnownErrors.model_validate(table)
    return found if found.coefficients == coefficients_digest() else None


def coefficients_digest() -> str:
    """SHA-256 of the package's file of coefficients."""
    return hashlib.sha256(files("moecap.projection").joinpath("coefficients.yaml").read_bytes()).hexdigest()
