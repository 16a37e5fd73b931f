"""docs/security.md names, for each attack, tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_attack_that_is_written_down_has_its_tests():
    files = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    rows = [line for line in (ROOT / "docs/security.md").read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 20
    for row in rows:
        file = None
        named = re.findall(r"`(?:(test_\w+\.py)|\N{HORIZONTAL ELLIPSIS})(?:::(test_\w+))?`", row)
        assert named, row
        for new, test in named:
            file = new or file
            assert file in files, (row, file)
            assert not test or f"def {test}(" in files[file], (row, test)
