"""The leaderboards and the runs of ``boards.py``."""

from __future__ import annotations

from boards import board, database_url, derived_runs, examiners, make_run, postgres

__all__ = ["board", "database_url", "derived_runs", "examiners", "make_run", "postgres"]
