"""The error of the projection on published results that it was not fitted on, into the file that runs quote.

usage: python benchmarks/projection_errors.py --points FILE

FILE is one of published points whose rows are marked ``calibration`` or ``validation``; those marked ``validation``
are taken. The table goes to ``moecap/projection/known_errors.yaml`` with the digest of the coefficients, so that a run
never quotes errors of other coefficients than its own. Run it after every fit, and after every change of the model.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import yaml

import moecap.projection
from moecap.projection.known_errors import KNOWN_ERRORS_FILE, coefficients_digest
from moecap.projection.validation import validate_points

SPLIT = "validation"


def main() -> None:
    """Validate, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, required=True)
    asked = parser.parse_args()
    found = validate_points(asked.points)
    table = found.table(lambda point: point.metric, SPLIT)
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "source": f"{sum(int(row['n']) for row in table.values())} published values marked {SPLIT}",
        "coefficients": coefficients_digest(),
        "quantities": {
            name: {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
            for name, row in table.items()
        },
    }
    target = Path(moecap.projection.__path__[0]) / KNOWN_ERRORS_FILE
    head = "# Written by benchmarks/projection_errors.py.\n"
    target.write_text(head + yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    print(target.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
