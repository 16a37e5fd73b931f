"""The parts of the service, put together once a process."""

from __future__ import annotations

from dataclasses import dataclass

from moecap.errors import BadInputError
from moecap_leaderboard.blobs import Blobs
from moecap_leaderboard.columns import Columns
from moecap_leaderboard.database import Database, open_database
from moecap_leaderboard.drawn_reports import DrawnReports
from moecap_leaderboard.evaluation_requests import Requests
from moecap_leaderboard.examiners import Examiners
from moecap_leaderboard.kept_answers import KeptAnswers
from moecap_leaderboard.keys import Keys
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.rates import Buckets
from moecap_leaderboard.settings import Settings
from moecap_leaderboard.submissions import Submissions
from moecap_leaderboard.written_exports import WrittenExports

__all__ = ["Service"]

_ANSWERS = 32
"""Fronts and opened pages of a large board that are kept; one is up to 1.3 MB."""


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that answers requests, and the pages, work with.

    Attributes:
        writes: How often each client may write, through the API and the pages together.
    """

    settings: Settings
    database: Database
    blobs: Blobs
    examiners: Examiners
    keys: Keys
    submissions: Submissions
    requests: Requests
    reports: DrawnReports
    columns: Columns
    answers: KeptAnswers
    exports: WrittenExports
    writes: Buckets
    shares_examiners: bool

    @classmethod
    def open(cls, settings: Settings, examiners: Examiners | None = None) -> Service:
        """Open the store and bring it up to date.

        Args:
            settings: Where the store is, and how it is kept.
            examiners: Processes that are shared with others, in place of its own.

        Raises:
            MoecapError: If it cannot be opened.
        """
        blobs = Blobs(settings.observations)
        database = open_database(settings.database)
        shared = examiners is not None
        examiners = examiners or Examiners(settings.examiners)
        most = settings.limits.owner_bytes_per_day
        submissions = Submissions(database, blobs, examiners, review=settings.review, owner_bytes_per_day=most)
        keys = Keys(database)
        if settings.admin_key is not None:
            try:
                keys.add(settings.admin_key, "admin", ["admin"])
            except ProblemError as problem:
                raise BadInputError(f"MOECAP_ADMIN_KEY: {problem}") from None
        return cls(
            settings=settings,
            database=database,
            blobs=blobs,
            examiners=examiners,
            keys=keys,
            submissions=submissions,
            requests=Requests(database, blobs),
            reports=DrawnReports(blobs, examiners),
            columns=Columns(database),
            answers=KeptAnswers(database, _ANSWERS),
            exports=WrittenExports(settings.database, blobs.work),
            writes=Buckets(settings.limits.writes_per_minute / 60, max(1, int(settings.limits.writes_per_minute))),
            shares_examiners=shared,
        )

    def close(self) -> None:
        """End its own processes that are idle, close the database and take away what was being worked on."""
        if not self.shares_examiners:
            self.examiners.close()
        self.answers.close()
        self.exports.close()
        self.database.close()
        self.blobs.close()
