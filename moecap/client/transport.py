"""Calls to a leaderboard: timeouts, repetitions, and problem details (RFC 9457) as errors of one or more lines."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import httpx2

import moecap
from moecap.errors import BadInputError, LeaderboardError
from moecap.strict_json import parse_json

__all__ = ["Transport"]

TIMEOUT = httpx2.Timeout(30.0, read=300.0)
"""Seconds; a submission is answered once it has been recomputed."""

TRIES = 5
LONGEST_WAIT_S = 60.0
BUSY = (429, 502, 503, 504)
"""Answers after which a call may succeed a while later."""

MAX_JSON_BYTES = 64_000_000
SHOWN_CHARACTERS = 120
LOOPBACK = ("127.0.0.1", "localhost", "::1")


T = TypeVar("T")


class Transport:
    """One leaderboard.

    Args:
        url: Its address, such as ``https://example.org`` or ``http://127.0.0.1:7860``.
        token: The key, which goes to this address alone.

    Raises:
        BadInputError: If the address is none, or the key would go to another machine unencrypted.
    """

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise BadInputError(f"--url {url!r} is no address of a leaderboard; give one such as https://HOST")
        if token is not None and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise BadInputError(f"{url} is not encrypted and would show the key to others; give its https:// address")
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise BadInputError("the key holds characters that no key has; copy it again")
        self.url = parts.geturl().rstrip("/")
        headers = {"User-Agent": f"moecap/{moecap.__version__}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self.has_token = token is not None
        self._http = httpx2.Client(base_url=self.url, headers=headers, timeout=TIMEOUT)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def json(self, method: str, path: str, *, again: bool, **call: Any) -> Any:
        """Call and read the JSON that is answered; ``None`` for an empty answer.

        Args:
            method: The method of HTTP.
            path: The path, from ``/``.
            again: Whether the call does no more when it is made twice, so that it may be repeated.
            **call: What httpx2 takes.

        Raises:
            LeaderboardError: With the problem that the leaderboard names, or that it cannot be reached.
        """

        def read(answer: httpx2.Response) -> Any:
            content = _content(answer)
            try:
                return parse_json(content) if content else None
            except ValueError:
                raise self._unlike(answer, content) from None

        return self._call(method, path, again, read, call)

    def download(self, path: str, file: IO[bytes], most: int, **call: Any) -> None:
        """Get a file.

        Args:
            path: The path, from ``/``.
            file: Where its content goes.
            most: Bytes that it may have.
            **call: What httpx2 takes.

        Raises:
            LeaderboardError: With the problem that the leaderboard names, that it cannot be reached, or that the file
                is larger.
        """

        def read(answer: httpx2.Response) -> None:
            file.seek(0)
            file.truncate()
            for part in answer.iter_bytes():
                file.write(part)
                if file.tell() > most:
                    raise LeaderboardError(f"{self.url}{path} is larger than {most} bytes, which no file there may be")

        self._call("GET", path, True, read, call)

    def _call(
        self, method: str, path: str, again: bool, read: Callable[[httpx2.Response], T], call: Mapping[str, Any]
    ) -> T:
        """Call until there is an answer that is none of a busy server, and read it."""
        tries = TRIES if again else 1
        for number in itertools.count(1):
            try:
                with self._http.stream(method, path, **call) as answer:
                    wait = _wait(answer.headers, number)
                    if answer.status_code not in BUSY or number == tries or wait > LONGEST_WAIT_S:
                        self._refuse_problem(answer)
                        return read(answer)
            except httpx2.TransportError as error:
                if number == tries:
                    raise LeaderboardError(
                        f"{self.url} cannot be reached or does not answer ({_said(error)}); check the address and try "
                        "again"
                    ) from None
                wait = _wait({}, number)
            for _, file in (call.get("files") or {}).values():
                file.seek(0)
            time.sleep(wait)
        raise AssertionError("a count has no end")

    def _refuse_problem(self, answer: httpx2.Response) -> None:
        """Raise the problem that an answer is.

        Raises:
            LeaderboardError: If it is one.
        """
        if answer.is_success:
            return
        content = _content(answer)
        if answer.is_redirect:
            target = urlsplit(answer.headers.get("Location", "")).hostname
            raise LeaderboardError(
                f"{self.url} sends calls on to {target or 'another path'}; give the address that answers itself",
                status=answer.status_code,
            )
        try:
            problem = parse_json(content)
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "title" not in problem:
            raise self._unlike(answer, content)
        self.refuse(problem, answer.status_code)

    def refuse(self, problem: Mapping[str, Any], status: int) -> NoReturn:
        """Raise a problem of this leaderboard, with its rules on lines of their own.

        Raises:
            LeaderboardError: The problem.
        """
        lines = list(_lines(problem))
        said = problem["title"] if lines else problem.get("detail") or problem["title"]
        raise LeaderboardError(
            "\n".join([f"{self.url}: {said}" if lines else str(said), *lines]),
            kind=str(problem.get("type", "")).rpartition("/")[2],
            status=status,
            problem=problem,
        )

    def _unlike(self, answer: httpx2.Response, content: bytes) -> LeaderboardError:
        text = " ".join(content[: 4 * SHOWN_CHARACTERS].decode(errors="replace").split())[:SHOWN_CHARACTERS]
        said = f"{self.url} answers {answer.status_code}{f' ({text})' if text else ''}"
        failed = answer.status_code >= 500
        return LeaderboardError(
            f"{said}: it failed; try again later" if failed else f"{said}, as no leaderboard does; check the address",
            status=answer.status_code,
        )


def _lines(problem: Mapping[str, Any]) -> Iterator[str]:
    """Each failed rule with the numbers that differ, each wrong input, on a line of its own."""
    for rule in problem.get("rules") or ():
        yield f"  {rule.get('id')}: {_short(rule.get('detail') or rule.get('text'), 300)}"
        for d in rule.get("differences") or ():
            yield f"    {d.get('metric')}: stored {_short(d.get('stored'))}, recomputed {_short(d.get('recomputed'))}"
    for error in problem.get("errors") or ():
        yield f"  {error.get('where')}: {_short(error.get('text'), 300)}"


def _short(value: Any, most: int = 80) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _wait(headers: Mapping[str, str], number: int) -> float:
    """Seconds until the next try: what the leaderboard asks for, else longer after each, never in step with others."""
    asked = headers.get("Retry-After", "")
    if asked.isdigit():
        return float(asked)
    if asked:
        try:
            until = parsedate_to_datetime(asked)
        except ValueError:
            until = datetime.now(UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    return 0.5 * 2.0 ** (number - 1) * random.uniform(0.5, 1.0)


def _content(answer: httpx2.Response) -> bytes:
    """The whole content.

    Raises:
        LeaderboardError: If it is larger than any that is JSON.
    """
    content = bytearray()
    for part in answer.iter_bytes():
        content += part
        if len(content) > MAX_JSON_BYTES:
            raise LeaderboardError(f"{answer.url} answers more than {MAX_JSON_BYTES} bytes; ask for less at once")
    return bytes(content)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
