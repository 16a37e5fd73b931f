"""How a result comes in: kept as it was sent, examined, and published or rejected with the report of the rules."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785
from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moecap.errors import BadInputError
from moecap.files import file_sha256
from moecap.result import RESULT_FILE, Result, read_result
from moecap_leaderboard.blobs import Blobs
from moecap_leaderboard.database import Database
from moecap_leaderboard.examination import Examination
from moecap_leaderboard.examiners import Examiners
from moecap_leaderboard.history import log, move, one_at_a_time, publish
from moecap_leaderboard.judgement import Judgement, judge
from moecap_leaderboard.keys import Caller
from moecap_leaderboard.measurements import same_measurement
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.quota import check_quota
from moecap_leaderboard.reception import parsed, unpacked
from moecap_leaderboard.rows import Row, row_of_result, setup
from moecap_leaderboard.rules.record import reproduction, signature, standing
from moecap_leaderboard.rules.rule import Finding, finding_report
from moecap_leaderboard.settings import Limits
from moecap_leaderboard.states import LIVE, MODERATED
from moecap_leaderboard.tables import Audit, Document, Figure, SentFile, SigningKey, Submission, now_us

__all__ = ["Sent", "Submissions", "content_sha256"]

_NOTHING_FOUND: Examination = {"rules": [], "recomputed": {}, "withheld": [], "not_recomputed": []}

_ACTIONS = {"pending": "hold", "rejected": "reject"}
"""What the audit log calls a decision."""

_CIRCUMSTANTIAL = {"examination", "standing", "reproduction"}
"""Rules that the same content may break today and not tomorrow."""

SERVER = "server"
"""The actor of what the leaderboard does by itself."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of what was sent.

    Attributes:
        submission: Its id.
        new: Whether it was not there before.
    """

    submission: str
    new: bool


class Submissions:
    """Everything that writes rows.

    Args:
        database: Where rows are.
        blobs: Where files are.
        examiners: Who examines what is sent.
        review: Whether a moderator must look at each submission before it is published.
        owner_bytes_per_day: What the files of one owner's submissions may take in 24 hours.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        examiners: Examiners,
        *,
        review: bool = False,
        owner_bytes_per_day: int = Limits().owner_bytes_per_day,
    ) -> None:
        self._database, self._blobs, self._examiners, self._review = database, blobs, examiners, review
        self._owner_bytes = owner_bytes_per_day

    def submit(self, result: bytes, archive: Path | None, owner: str, reproduces: str | None = None) -> Sent:
        """Keep, examine and publish or reject a result; the same content again is the same submission.

        Args:
            result: The bytes of ``result.json``.
            archive: The observation files, as ``moecap.publishing.archive`` packs them.
            owner: Who submits.
            reproduces: Id of the result that this one repeats.

        Raises:
            BadInputError: If the result cannot be read; nothing is kept then.
            ProblemError: If the archive cannot be read, this result is published already, or its owner has sent too
                much in a day; nothing is kept either.
            NotAvailableError: If too many submissions wait, or the service ends before this one, which is kept, is
                examined.
        """
        with tempfile.TemporaryDirectory(prefix="moecap-submission-") as name, self._examiners.place():
            folder = Path(name)
            sent = unpacked(archive, folder) if archive is not None else ()
            content = parsed(folder, result)
            identifier, new = self._receive(content, folder, sent, owner, reproduces)
            if new:
                self._check(identifier, content, folder, sent)
        return Sent(identifier, new)

    def preview(self, result: bytes, archive: Path | None, owner: str, reproduces: str | None = None) -> Judgement:
        """What would become of a submission, with nothing kept.

        Args:
            result: The bytes of ``result.json``.
            archive: The observation files, as ``moecap.publishing.archive`` packs them.
            owner: Who would submit.
            reproduces: Id of the result that this one repeats.

        Raises:
            BadInputError: If the result cannot be read.
            ProblemError: If it would not be taken in at all.
            NotAvailableError: If too many submissions wait.
        """
        with tempfile.TemporaryDirectory(prefix="moecap-preview-") as name, self._examiners.place():
            folder = Path(name)
            sent = unpacked(archive, folder) if archive is not None else ()
            content = parsed(folder, result)
            with self._database.reading() as session:
                self._admit(session, content, owner, sum(path.stat().st_size for path in folder.iterdir()))
            found = self._examined(folder, sent)
            submission = _new(row_of_result(content), "", content.id, owner)
            submission.reproduces = reproduces
            with self._database.reading() as session:
                standings = self._standings(session, submission, content)
            return judge(content, found, standings, review=self._review)

    def resume(self) -> int:
        """Examine what was received before the service ended, and return how many submissions that were."""
        with self._database.reading() as session:
            waiting = session.scalars(select(Submission.id).where(Submission.state == "received")).all()
            files = {key: self._files(session, key) for key in waiting}
        for identifier in waiting:
            with tempfile.TemporaryDirectory(prefix="moecap-submission-") as name:
                folder = Path(name)
                try:
                    for file, sha256 in files[identifier].items():
                        shutil.copyfile(self._blobs.path(sha256), folder / file)
                    result = read_result(folder)
                except (FileNotFoundError, BadInputError):  # restored without its observations, or of another schema
                    self._give_up(identifier)
                    continue
                sent = tuple(file for file in files[identifier] if file != RESULT_FILE)
                self._check(identifier, result, folder, sent)
        return len(waiting)

    def _give_up(self, identifier: str) -> None:
        """Reject what was received and is no longer whole."""
        with self._database.writing() as session:
            submission = _locked(session, identifier)
            finding = Finding("failed", "its files are lost or no longer read; send it again")
            report = finding_report("examination", "The files can be examined.", finding)
            _document(session, submission, _NOTHING_FOUND | {"rules": [report]}, {})
            submission.state = "rejected"
            log(session, submission, SERVER, "reject", finding.detail)

    def withdraw(self, identifier: str, owner: str, reason: str) -> None:
        """Take one's own row off the board, where a tombstone stays.

        Raises:
            ProblemError: If there is no such submission of this owner, or it is not on the board.
        """
        with self._database.writing() as session:
            submission = _locked(session, identifier)
            if submission.owner != owner:
                raise ProblemError(
                    "no-scope", f"submission {identifier} is of {submission.owner}; its owner can withdraw it"
                )
            if submission.state not in LIVE:
                raise ProblemError("conflict", f"submission {identifier} is {submission.state} and cannot be withdrawn")
            move(session, submission, "withdrawn", owner, "withdraw", reason)

    def moderate(self, identifier: str, moderator: Caller, state: str, reason: str) -> None:
        """Publish or reject what is pending, or invalidate what is published.

        Raises:
            ProblemError: If there is no such submission, that state does not follow from its own, or a moderator who is
                no administrator would publish what is their own.
        """
        with self._database.writing() as session:
            submission = _locked(session, identifier)
            allowed = MODERATED.get(submission.state, ())
            if state not in allowed:
                known = f"it can be {' or '.join(allowed)}" if allowed else "nothing follows from that"
                raise ProblemError("conflict", f"submission {identifier} is {submission.state}; {known}")
            if state == "published" and moderator.owner == submission.owner and not moderator.may("admin"):
                raise ProblemError("no-scope", f"submission {identifier} is your own; another moderator has to look")
            if state == "published":
                publish(session, submission, moderator.owner, reason)
            else:
                move(session, submission, state, moderator.owner, "moderate", reason)

    def _receive(
        self, result: Result, folder: Path, sent: tuple[str, ...], owner: str, reproduces: str | None
    ) -> tuple[str, bool]:
        """Keep what was sent; the id of its submission, and whether it is new."""
        digests = {name: file_sha256(folder / name) for name in (RESULT_FILE, *sent)}
        with self._database.reading() as session:
            content, known = _attempt(session, digests)
            if known is not None:
                return known, False
            self._admit(session, result, owner, sum((folder / name).stat().st_size for name in digests))
        for name in digests:
            self._blobs.add(folder / name)
        try:
            with self._database.writing() as session:
                one_at_a_time(session)  # so that lines of the audit log are seen in the order of their numbers
                submission = _new(row_of_result(result), content, result.id, owner)
                submission.reproduces = reproduces
                session.add(submission)
                session.flush()
                session.add_all(
                    SentFile(submission=submission.id, name=name, sha256=sha256, bytes=(folder / name).stat().st_size)
                    for name, sha256 in digests.items()
                )
                log(session, submission, owner, "receive")
                return submission.id, True
        except IntegrityError:  # the same content came at the same time
            with self._database.reading() as session:
                same = select(Submission.id).where(Submission.content_sha256 == content)
                return str(session.scalars(same).one()), False

    def _admit(self, session: Session, result: Result, owner: str, size: int) -> None:
        """Refuse a result that is on the board, or about to be, and more than its owner may send in a day."""
        live = select(Submission).where(Submission.result == result.id, Submission.state.in_(LIVE))
        if published := session.scalar(live):
            raise ProblemError(
                "already-published",
                f"this result is {published.state} already; withdraw it before it is sent in another form",
                submission=published.id,
            )
        check_quota(session, owner, size, self._owner_bytes)

    def _check(self, identifier: str, result: Result, folder: Path, sent: tuple[str, ...]) -> None:
        """Examine a received submission and decide."""
        found = self._examined(folder, sent)
        with self._database.writing() as session:
            submission = _locked(session, identifier)
            if submission.state != "received":
                return
            judgement = judge(result, found, self._standings(session, submission, result), review=self._review)
            submission.summary, submission.ranked = judgement.row.summary, judgement.row.columns["ranked"]
            submission.signed, submission.recomputed = judgement.signed, judgement.recomputed
            submission.reproduces_within = judgement.reproduces_within
            _document(session, submission, judgement.found, judgement.row.figures)
            if judgement.state == "published":
                publish(session, submission, SERVER)
                return
            submission.state = judgement.state
            log(session, submission, SERVER, _ACTIONS[judgement.state], judgement.reason)

    def _examined(self, folder: Path, sent: tuple[str, ...]) -> Examination:
        try:
            return self._examiners.examine(folder, sent)
        except BadInputError as error:
            report = finding_report("examination", "The files can be examined.", Finding("failed", str(error)))
            return _NOTHING_FOUND | {"rules": [report]}

    def _standings(self, session: Session, submission: Submission, result: Result) -> dict[str, Finding]:
        """What the rules find that rest on what is known here."""
        keys = session.scalars(select(SigningKey).where(SigningKey.revoked_us.is_(None))).all()
        found = {
            "signature": signature(result, {key.public_key: key.owner for key in keys}, submission.owner),
            "standing": standing(self._fallen(session, submission, result)),
        }
        if submission.reproduces is not None:
            first = session.scalar(
                select(Submission).where(Submission.result == submission.reproduces, Submission.state == "published")
            )
            original = self._result_of(session, first) if first else None
            found["reproduction"] = reproduction(
                original.metrics if original else None,
                result.metrics,
                same_owner=first is not None and first.owner == submission.owner,
                same_configuration=original is not None and setup(original) == setup(result),
            )
        return found

    def _fallen(self, session: Session, submission: Submission, result: Result) -> str | None:
        """Why a result cannot be published: it, or what it was measured by, was invalidated or is on the board already.

        ``None`` where it can.
        """
        others = select(Submission).where(
            Submission.result == submission.result,
            Submission.id != submission.id,
            or_(Submission.state == "invalidated", Submission.state.in_(LIVE)),
        )
        same = session.scalars(others.order_by(Submission.created_us.desc())).first()
        other = same or same_measurement(session, submission, result)
        if other is None:
            return None
        if other.state == "invalidated":
            reason = select(Audit.reason).where(Audit.submission == other.id, Audit.state == "invalidated")
            return f"a moderator invalidated this run: {session.scalar(reason)}"
        if same is None:
            return f"{other.owner} sent the same observations (submission {other.id}); measure your own"
        return f"it is on the board as submission {other.id}"

    def _result_of(self, session: Session, submission: Submission) -> Result | None:
        digest = self._files(session, submission.id).get(RESULT_FILE)
        return read_result(self._blobs.path(digest)) if digest else None

    def _files(self, session: Session, identifier: str) -> dict[str, str]:
        rows = session.execute(select(SentFile.name, SentFile.sha256).where(SentFile.submission == identifier))
        return dict(rows.all())


def content_sha256(digests: Mapping[str, str], attempt: int) -> str:
    """The identity of a content: of the files that were sent, and of how often before they were to no avail.

    Args:
        digests: SHA-256 of each file by its name.
        attempt: How often before.
    """
    identity: dict[str, Any] = {"files": dict(digests), "attempt": attempt}
    return hashlib.sha256(rfc8785.dumps(identity)).hexdigest()


def _attempt(session: Session, digests: Mapping[str, str]) -> tuple[str, str | None]:
    """The identity of a content, and the submission that has it already and was not rejected by circumstances."""
    for number in itertools.count():
        content = content_sha256(digests, number)
        known = session.scalar(select(Submission.id).where(Submission.content_sha256 == content))
        document = session.get(Document, known) if known else None
        broken = {rule["id"] for rule in document.rules if rule["outcome"] == "failed"} if document else set()
        if known is None or not broken or broken - _CIRCUMSTANTIAL:
            return content, known
    raise AssertionError


def _new(row: Row, content: str, result: str, owner: str) -> Submission:
    return Submission(
        id=uuid.uuid4().hex,
        content_sha256=content,
        result=result,
        state="received",
        owner=owner,
        created_us=now_us(),
        summary=row.summary,
        **row.columns,
    )


def _document(session: Session, submission: Submission, found: Examination, figures: Mapping[str, float]) -> None:
    session.add(Document(submission=submission.id, **found))
    session.add_all(Figure(submission=submission.id, name=name, value=value) for name, value in figures.items())


def _locked(session: Session, identifier: str) -> Submission:
    """The submission, while no other transaction changes states.

    Raises:
        ProblemError: If there is none.
    """
    one_at_a_time(session)
    submission = session.get(Submission, identifier)
    if submission is None:
        raise ProblemError("not-found", f"no submission {identifier}; its id is in the answer to what was sent")
    return submission
