"""Whether a run was sent before: times that are measured twice are never equal to nine digits."""

from __future__ import annotations

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session, aliased

from moecap.result import Result
from moecap_leaderboard.states import LIVE
from moecap_leaderboard.tables import Figure, Submission

__all__ = ["same_measurement"]

_TIMES = ("output_tokens_per_second", "ttft.p50", "tpot.p50", "e2e.p50")
_FEWEST = 2
_TOLERANCE = 1e-8
"""Ten times what recomputation lets a stated number differ."""


def same_measurement(session: Session, submission: Submission, result: Result) -> Submission | None:
    """A submission of the same observations that bars this one: another owner's, or one that was invalidated.

    Args:
        session: Where to read.
        submission: What was received.
        result: Its result.

    Returns:
        ``None`` also where a result states too few times to tell, and of what was not measured.
    """
    metrics = {name: result.metrics[name].value for name in _TIMES if name in result.metrics}
    known = {name: value for name, value in metrics.items() if value is not None and value > 0}
    if result.kind != "measured" or len(known) < _FEWEST:
        return None
    others = and_(Submission.state.in_((*LIVE, "withdrawn")), Submission.owner != submission.owner)
    chosen = select(Submission).where(
        Submission.id != submission.id,
        Submission.kind == "measured",
        or_(Submission.state == "invalidated", others),
    )
    for name, value in known.items():
        figure = aliased(Figure)
        near = figure.value.between(value * (1 - _TOLERANCE), value * (1 + _TOLERANCE))
        chosen = chosen.join(figure, and_(figure.submission == Submission.id, figure.name == name, near))
    return session.scalars(chosen.order_by(Submission.created_us).limit(1)).first()
