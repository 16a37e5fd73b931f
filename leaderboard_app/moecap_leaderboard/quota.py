"""How much one owner may send: everything is kept, what was refused too."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.tables import SentFile, Submission, now_us

__all__ = ["check_quota"]

_DAY_US = 86_400_000_000
_WAIT_SECONDS = 3600


def check_quota(session: Session, owner: str, more: int, most: int) -> None:
    """Refuse files with which an owner's submissions of 24 hours would take too much.

    Args:
        session: Where to read.
        owner: Who submits.
        more: Bytes of the files that came.
        most: Bytes that are allowed in 24 hours.

    Raises:
        ProblemError: If it would be more.
    """
    sent = (
        select(func.coalesce(func.sum(SentFile.bytes), 0))
        .join(Submission, Submission.id == SentFile.submission)
        .where(Submission.owner == owner, Submission.created_us > now_us() - _DAY_US)
    )
    if (before := int(session.scalar(sent) or 0)) + more > most:
        raise ProblemError(
            "too-many-requests",
            f"{owner} has sent {before} bytes in 24 hours and sends {more} more; {most} are allowed: send later",
            retry_after=_WAIT_SECONDS,
        )
