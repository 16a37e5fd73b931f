"""The page of a row's roofline."""

from __future__ import annotations

from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.run_charts import build_run_charts

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build"]

TITLE = "Roofline"
PATH = "/roofline"
IN_NAVIGATION = True


def build(context: PageContext) -> None:
    """Build it inside its route."""
    lead = "What each phase of a run reached, against what its hardware allows at that arithmetic intensity."
    build_run_charts(context, "roofline", TITLE, lead, charts=1)
