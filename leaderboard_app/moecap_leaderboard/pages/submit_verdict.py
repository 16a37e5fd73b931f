"""What the leaderboard says to a run that was dropped: the verdict before it is sent, what became of it, or why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moecap.report.markup import Child, Html, element, paragraph
from moecap_leaderboard.judgement import Judgement
from moecap_leaderboard.pages.links import result_url
from moecap_leaderboard.pages.naming import listed, placed_hardware
from moecap_leaderboard.pages.result_evidence import flags, rules
from moecap_leaderboard.problems import ProblemError

__all__ = ["problem", "received", "verdict"]

_WOULD = {
    "published": "It would be published",
    "pending": "It would wait for a moderator",
    "rejected": "It would be rejected",
}
_BECAME = {
    "published": "It is published",
    "pending": "It waits for a moderator",
    "rejected": "It was rejected",
    "received": "It is being checked",
    "withdrawn": "It was withdrawn",
    "invalidated": "It was invalidated",
}


def verdict(judgement: Judgement, left_out: Sequence[str]) -> Html:
    """What would become of a run.

    Args:
        judgement: The decision.
        left_out: Files that came and would go no further.
    """
    found, summary = judgement.found, judgement.row.summary
    return element(
        "div",
        element("h2", _WOULD[judgement.state], class_=f"became {judgement.state}"),
        paragraph(f"{summary['model']['name']} on {placed_hardware(summary)}; nothing was stored."),
        _broken(found["rules"]),
        _said("It would stand outside of the main ranking by", summary["unranked_because"]),
        _said("As stated, and not recomputed", found["not_recomputed"]),
        _said("Dropped here and not sent", left_out),
        rules(found["rules"]),
        flags(summary["flags"]) if judgement.state != "rejected" else None,
        role="status",
    )


def received(report: Mapping[str, Any], *, new: bool) -> Html:
    """What became of a run that was sent.

    Args:
        report: The submission as the API gives it.
        new: Whether it was not there before.
    """
    state = report["state"]
    parts: list[Child] = [element("h2", _BECAME[state], class_=f"became {state}")]
    if not new:
        parts.append(paragraph("The very same files were sent before; this is what became of them."))
    if state in ("published", "withdrawn", "invalidated"):
        parts.append(paragraph(element("a", "Open its page", href=result_url(report["result"])), class_="onward"))
    if state == "pending":
        parts.append(paragraph("A flag on an accelerator, or the leaderboard's settings, ask for a moderator's look."))
    parts.append(paragraph("Submission ", element("code", report["id"]), class_="faint"))
    return element("div", *parts, _broken(report["rules"]), rules(report["rules"]), role="status")


def problem(error: ProblemError) -> Html:
    """Why a run was not looked at, or not taken."""
    return element(
        "div",
        element("h2", error.title),
        paragraph(str(error), class_="alarm"),
        paragraph("Nothing was kept.", class_="faint"),
        role="alert",
    )


def _broken(found: Sequence[Mapping[str, Any]]) -> Html | None:
    """The rules that are broken, each with both numbers, before all others."""
    broken = [rule for rule in found if rule["outcome"] == "failed"]
    return rules(broken, opened=True) if broken else None


def _said(what: str, names: Sequence[str]) -> Html | None:
    return paragraph(f"{what}: {listed(list(names))}.") if names else None
