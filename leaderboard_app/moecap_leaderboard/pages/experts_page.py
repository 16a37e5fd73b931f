"""The page of a row's experts: how evenly they were used, and how many a step had to read."""

from __future__ import annotations

from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.run_charts import build_run_charts

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build"]

TITLE = "Experts"
PATH = "/experts"
IN_NAVIGATION = True


def build(context: PageContext) -> None:
    """Build it inside its route."""
    lead = "Which experts a run selected, layer by layer, and how many of them a decode step had to read."
    build_run_charts(context, "experts", TITLE, lead, charts=2)
