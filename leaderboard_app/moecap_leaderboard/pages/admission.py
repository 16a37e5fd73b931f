"""Who may do what from a page, and how often; and what went wrong, in words."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from moecap.errors import BadInputError, NotAvailableError
from moecap.report.markup import Html
from moecap_leaderboard.keys import Caller, allowed
from moecap_leaderboard.pages.submit_verdict import problem
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.rates import client_of
from moecap_leaderboard.service import Service

__all__ = ["admitted", "guarded"]


def admitted(service: Service, token: str | None, scope: str, request: gr.Request) -> Caller:
    """Whose token it is, if it has a scope and its client has not written too often.

    Raises:
        ProblemError: If there is none, it is not known, it has not the scope, or this is too often.
    """
    _, wait = service.writes.take(client_of(request.request.scope))
    if wait:
        raise ProblemError("too-many-requests", f"too many requests; wait {wait} s", retry_after=wait)
    key = (token or "").strip()
    if not key:
        raise ProblemError("no-key", f"enter a token with the scope {scope}; the administrator makes them", scope=scope)
    return allowed(service.keys.caller(f"Bearer {key}"), scope)


def guarded(answer: Callable[[], Html]) -> tuple[Html, bool]:
    """An answer, or in its place the problem in words; and whether it is the answer."""
    try:
        return answer(), True
    except ProblemError as error:
        return problem(error), False
    except BadInputError as error:
        return problem(ProblemError("bad-request", str(error))), False
    except NotAvailableError as error:
        return problem(ProblemError("unavailable", str(error))), False
