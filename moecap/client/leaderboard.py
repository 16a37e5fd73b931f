"""Every route of a leaderboard's REST API as a method; docs/api.md says what each means."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeVar

from pydantic import ValidationError

from moecap.client.answers import EvaluationRequest, Key, PublicKey, Row, Submission
from moecap.client.transport import Transport
from moecap.errors import LeaderboardError
from moecap.publishing.archive import MAX_UNPACKED_BYTES
from moecap.result import MAX_RESULT_BYTES

__all__ = ["Leaderboard"]

API = "/api/v1"
PAGE = 200
EXAMINED_AFTER_S = 600

A = TypeVar("A", Submission, Row, EvaluationRequest, Key, PublicKey)


class Leaderboard:
    """A leaderboard at an address.

    Every method raises ``LeaderboardError`` with what the leaderboard refused. Calls that change nothing when they are
    made twice are repeated while it is busy or cannot be reached, after as long as it asks for.

    Args:
        url: Its address.
        token: A key, for what needs one.

    Raises:
        BadInputError: If the address is none, or the key would go to another machine unencrypted.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._calls = Transport(url, token)

    @property
    def url(self) -> str:
        """Its address."""
        return self._calls.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._calls.close()

    def submit(self, result: Path, observations: Path | None = None, reproduces: str | None = None) -> Submission:
        """Send a result; the same content twice is one submission.

        Args:
            result: Its ``result.json``.
            observations: The archive of its observation files.
            reproduces: Id of the published result that it repeats.

        Raises:
            LeaderboardError: Of kind ``rules-failed`` with each failed rule on a line, if it is rejected.
        """
        with result.open("rb") as file:
            files: dict[str, tuple[str, IO[bytes]]] = {"result": ("result.json", file)}
            if observations is None:
                return self._submitted(files, reproduces)
            with observations.open("rb") as archive:
                return self._submitted(files | {"observations": (observations.name, archive)}, reproduces)

    def _submitted(self, files: Mapping[str, tuple[str, IO[bytes]]], reproduces: str | None) -> Submission:
        data = {"reproduces": reproduces} if reproduces else None
        sent = self._one(Submission, "POST", "/submissions", again=True, files=files, data=data)
        for _ in range(EXAMINED_AFTER_S):
            if sent.state not in ("received", "validated"):
                break
            time.sleep(1)  # another call sent the same and it is being examined
            sent = self.submission(sent.id)
        if sent.state == "rejected":
            failed = [rule.model_dump() for rule in sent.rules if rule.outcome == "failed"]
            self._calls.refuse({"type": "/problems/rules-failed", "title": "Rejected before", "rules": failed}, 422)
        return sent

    def submission(self, identifier: str) -> Submission:
        """A submission, with its rules and its history."""
        return self._one(Submission, "GET", f"/submissions/{identifier}")

    def submissions(self, state: str | None = None, owner: str | None = None) -> Iterator[Submission]:
        """Submissions that this key may see, the newest first."""
        return self._all(Submission, "/submissions", {"state": state, "owner": owner})

    def withdraw(self, identifier: str, reason: str) -> Submission:
        """Take a submission of one's own back; a tombstone stays."""
        return self._one(Submission, "POST", f"/submissions/{identifier}/withdraw", json={"reason": reason})

    def moderate(
        self, identifier: str, state: Literal["published", "rejected", "invalidated"], reason: str
    ) -> Submission:
        """Give a submission another state."""
        body = {"state": state, "reason": reason}
        return self._one(Submission, "PATCH", f"/submissions/{identifier}", json=body)

    def results(self, **filters: Any) -> Iterator[Row]:
        """Every row that the filters let through, in their sort; pages are fetched as they are needed."""
        return self._all(Row, "/results", filters)

    def result(self, identifier: str) -> Row:
        """One published row with its whole result."""
        return self._one(Row, "GET", f"/results/{identifier}")

    def download_result(self, identifier: str, path: Path) -> None:
        """The very ``result.json`` that was submitted."""
        self._file(f"/results/{identifier}/result.json", path, MAX_RESULT_BYTES)

    def download_observations(self, identifier: str, path: Path) -> None:
        """A ``tar.gz`` of ``result.json`` and its observation files."""
        self._file(f"/results/{identifier}/observations", path, MAX_UNPACKED_BYTES)

    def export(self, form: Literal["csv", "parquet", "json"], path: Path, **filters: Any) -> None:
        """Every row that the filters let through, as a file."""
        self._file(f"/export.{form}", path, MAX_UNPACKED_BYTES, filters)

    def compare(self, ids: Sequence[str]) -> dict[str, Any]:
        """Two to eight results side by side, relative to the first."""
        return self._object("GET", "/compare", params={"ids": ",".join(ids)})

    def pareto(self, x: str, y: str, **filters: Any) -> dict[str, Any]:
        """Rows by two metrics, and which of them no other betters in both."""
        return self._object("GET", "/pareto", params=_asked({"x": x, "y": y, **filters}))

    def schema(self) -> dict[str, Any]:
        """Metrics, rules, states, tiers, scopes and limits of this leaderboard."""
        return self._object("GET", "/schema")

    def ask(self, config: Mapping[str, Any], note: str | None = None) -> EvaluationRequest:
        """Queue a run for a worker."""
        return self._one(EvaluationRequest, "POST", "/requests", json={"config": dict(config), "note": note})

    def requests(self, state: str | None = None) -> Iterator[EvaluationRequest]:
        """The queue."""
        return self._all(EvaluationRequest, "/requests", {"state": state})

    def request(self, identifier: str) -> EvaluationRequest:
        """One request of the queue."""
        return self._one(EvaluationRequest, "GET", f"/requests/{identifier}")

    def claim(self, identifier: str, worker: str, seconds: int) -> EvaluationRequest:
        """Take a request; its ``lease`` is needed to go on with it, and lasts so many seconds."""
        body = {"worker": worker, "seconds": seconds}
        return self._one(EvaluationRequest, "POST", f"/requests/{identifier}/claim", json=body)

    def renew(self, identifier: str, lease: str, seconds: int) -> EvaluationRequest:
        """Let a lease last so many seconds from now on."""
        body = {"lease": lease, "seconds": seconds}
        return self._one(EvaluationRequest, "POST", f"/requests/{identifier}/renew", again=True, json=body)

    def complete(self, identifier: str, lease: str, submission: str) -> EvaluationRequest:
        """End a request with the submission that answers it."""
        body = {"lease": lease, "submission": submission}
        return self._one(EvaluationRequest, "POST", f"/requests/{identifier}/complete", json=body)

    def fail(self, identifier: str, lease: str, reason: str) -> EvaluationRequest:
        """Give a request back, with why it could not be done."""
        body = {"lease": lease, "reason": reason}
        return self._one(EvaluationRequest, "POST", f"/requests/{identifier}/fail", json=body)

    def cancel(self, identifier: str) -> EvaluationRequest:
        """Take a request of one's own out of the queue."""
        return self._one(EvaluationRequest, "POST", f"/requests/{identifier}/cancel")

    def new_key(self, owner: str, scopes: Sequence[str], expires: str | None = None) -> Key:
        """Make a key; its text is in this answer alone."""
        body = {"owner": owner, "scopes": list(scopes), "expires": expires}
        return self._one(Key, "POST", "/keys", json=body)

    def keys(self) -> Iterator[Key]:
        """Every key, without its text."""
        return self._all(Key, "/keys", {})

    def own_key(self) -> Key:
        """The key of these calls."""
        return self._one(Key, "GET", "/keys/me")

    def revoke_key(self, identifier: str) -> None:
        """End a key."""
        self._calls.json("DELETE", f"{API}/keys/{identifier}", again=True)

    def register(self, public_key: str) -> PublicKey:
        """Say that results which this key signs are of the owner of the key of these calls."""
        return self._one(PublicKey, "POST", "/signing-keys", again=True, json={"public_key": public_key})

    def public_keys(self, owner: str | None = None) -> Iterator[PublicKey]:
        """The keys that sign results, with their owners."""
        return self._all(PublicKey, "/signing-keys", {"owner": owner})

    def revoke_public_key(self, public_key: str) -> None:
        """End a signing key: what it signs from then on does not count as signed."""
        self._calls.json("DELETE", f"{API}/signing-keys/{public_key}", again=True)

    def _one(self, kind: type[A], method: str, path: str, *, again: bool = False, **call: Any) -> A:
        return self._as(kind, self._calls.json(method, API + path, again=again or method == "GET", **call))

    def _all(self, kind: type[A], path: str, filters: Mapping[str, Any]) -> Iterator[A]:
        asked, seen = _asked({"limit": PAGE, **filters}), set()
        while True:
            page = self._object("GET", path, params=asked)
            for item in page.get("items") or ():
                yield self._as(kind, item)
            cursor = page.get("next")
            if not cursor or cursor in seen:
                return
            seen.add(cursor)
            asked = asked | {"cursor": cursor}

    def _object(self, method: str, path: str, **call: Any) -> dict[str, Any]:
        answer = self._calls.json(method, API + path, again=method == "GET", **call)
        if not isinstance(answer, dict):
            raise LeaderboardError(f"{self.url} answers {path} as no moecap leaderboard does; check the address")
        return answer

    def _as(self, kind: type[A], answer: Any) -> A:
        try:
            return kind.model_validate(answer)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the answer"
            raise LeaderboardError(
                f"{self.url} answers no {kind.__name__} that this version reads ({where}: {first['msg'].lower()}); "
                "update moecap"
            ) from None

    def _file(self, path: str, target: Path, most: int, filters: Mapping[str, Any] | None = None) -> None:
        with target.open("wb") as file:
            self._calls.download(API + path, file, most, params=_asked(filters or {}))


def _asked(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are set; truth values as the API writes them."""
    return {k: str(v).lower() if isinstance(v, bool) else v for k, v in filters.items() if v is not None}
