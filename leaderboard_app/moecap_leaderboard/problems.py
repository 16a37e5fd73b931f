"""Errors of the API: problem details (RFC 9457), one line that ends with what to do."""

from __future__ import annotations

from typing import Any

__all__ = ["PROBLEMS", "ProblemError"]

PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be used"),
    "no-key": (401, "A key is needed"),
    "no-scope": (403, "The key does not allow this"),
    "other-site": (403, "Another site asks"),
    "not-found": (404, "There is no such thing"),
    "no-method": (405, "This cannot be done here"),
    "too-slow": (408, "The body did not come"),
    "gone": (410, "It is no longer on the board"),
    "conflict": (409, "It is in another state"),
    "already-published": (409, "The result is on the board"),
    "not-queued": (409, "The request is not queued"),
    "lease-lost": (409, "The lease is not valid"),
    "too-large": (413, "Too large"),
    "bad-archive": (422, "The files cannot be read"),
    "rules-failed": (422, "Rules are broken"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "The server failed"),
    "unavailable": (503, "Too busy"),
}
"""Status and title of each type of problem."""


class ProblemError(Exception):
    """A problem of a known type.

    Args:
        kind: Its type, a key of :data:`PROBLEMS`.
        detail: What was asked, what is the case, what to do.
        members: Further members of the answer.
    """

    def __init__(self, kind: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.members = kind, detail, members
        self.status, self.title = PROBLEMS[kind]

    def as_json(self, instance: str) -> dict[str, Any]:
        """The members of the answer.

        Args:
            instance: The path that was asked.
        """
        return {
            "type": f"/problems/{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.members,
        }
