"""HTTP/1.1 with one time stamp for each read of the socket, and nothing decoded while requests are in flight.

A request is rendered to bytes before it is due. While its answer streams in, each read is stamped and kept as it is.
The chunks of HTTP are taken apart some reads at a time, which costs less than at each read, for which the processor has
to wake up; :mod:`moecap.load.answers` decodes after the answer has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

from moecap.errors import BadInputError

__all__ = ["Connection", "Reply", "Target"]

MAX_REPLY_BYTES = 256_000_000

BATCH = 32
"""Reads that are taken apart at once: some 10 microseconds."""

END = b"\r\n\r\n"
"""The last bytes of every chunked body, after its last chunk or its trailers."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server.

    Attributes:
        host: Name or address.
        port: Its port.
        tls: Whether the connection is encrypted.
        prefix: Path below which its endpoints lie, without a slash at its end.
        headers: Headers of every request; keys are among them, so they are never printed.
    """

    host: str
    port: int
    tls: bool
    prefix: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str, headers: Mapping[str, str] | None = None) -> Target:
        """A target from a URL such as ``http://127.0.0.1:8000/v1``.

        Raises:
            BadInputError: If it is no http or https URL, or holds a user name or key.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise BadInputError(f"endpoint {url!r}: {error}; give for instance http://127.0.0.1:8000") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInputError(f"endpoint {url!r}: not an http or https URL, such as http://127.0.0.1:8000")
        if parts.username or parts.password or parts.query:
            raise BadInputError(
                "endpoint: leave user, password and query out of the URL; a key comes from MOECAP_API_KEY"
            )
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"), dict(headers or {}))

    @property
    def name(self) -> str:
        """``host:port``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def request(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        """A whole request as bytes: POST with a JSON body, GET without one; ``headers`` are added for this one."""
        lines = [f"{'GET' if body is None else 'POST'} {self.prefix}{path} HTTP/1.1", f"Host: {self.name}"]
        lines += [f"{name}: {value}" for name, value in {"Accept": "*/*", **self.headers, **(headers or {})}.items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


@dataclass(slots=True, eq=False)
class Reply:
    """What came back for one request; all times in monotonic nanoseconds.

    Attributes:
        sent_ns: Just before the request's bytes were handed to the socket.
        status: HTTP status, 0 before it is known.
        headers: Response headers, names in lower case.
        reads: Time of the socket's read and body bytes, in the order of arrival.
        ended_ns: When the answer was whole or had failed; 0 while it is neither.
        error: Why there is no whole answer.
    """

    sent_ns: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    reads: list[tuple[int, bytes]] = field(default_factory=list)
    ended_ns: int = 0
    error: str | None = None

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(body for _, body in self.reads)


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        """What the parser calls with each piece of a body."""
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._ended: asyncio.Future[None] | None = None
        self._waiting: list[tuple[int, bytes]] = []
        self._chunked = False
        self._now = 0
        self._size = 0
        self.deadline_ns = 0
        self.idle_since_ns = 0
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it
        self.usable = True

    def ask(self, request: bytes, timeout_ns: int) -> tuple[Reply, asyncio.Future[None]]:
        """Send a request; the future is done when the reply has ended, whichever way."""
        assert self._transport is not None and self._reply is None
        self._ended = asyncio.get_running_loop().create_future()
        self._size = 0
        now = time.monotonic_ns()
        self._reply = reply = Reply(now)
        self.deadline_ns = now + timeout_ns
        self._transport.write(request)
        return reply, self._ended

    def data_received(self, data: bytes) -> None:
        """One read of the socket; only one that may end a chunked body, or fills a batch, is taken apart at once."""
        waiting = self._waiting
        waiting.append((time.monotonic_ns(), data))
        if not self._chunked or data.endswith(END) or len(data) < len(END) or len(waiting) >= BATCH:
            self._parse()

    def on_message_begin(self) -> None:
        """A response starts; one that nobody asked for makes the connection useless."""
        if self._reply is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One response header."""
        if self._reply is not None:
            self._reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The status is known."""
        if self._reply is not None:
            self._reply.status = self._parser.get_status_code()
            self._chunked = "transfer-encoding" in self._reply.headers

    def on_message_complete(self) -> None:
        """The response is whole."""
        if self._reply is not None and self._reply.status >= 200:  # 1xx is not the answer yet
            self._keep()
            self._finish(self._parser.should_keep_alive())

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed; a body without a length ends that way."""
        self.usable = False
        self._parse()
        if self._reply is None:
            return
        headers = self._reply.headers
        until_close = self._reply.status and not {"content-length", "transfer-encoding"} & headers.keys()
        if exc is None and until_close:
            self._now = time.monotonic_ns()
            self._finish(keep=False)
        elif exc is not None:
            self.fail(f"the connection broke ({type(exc).__name__})")
        else:
            self.fail(f"the connection was closed {'in mid-answer' if self._reply.status else 'before an answer'}")

    def fail(self, reason: str) -> None:
        """End the reply with an error, after what has come for it, and drop the connection."""
        self._parse()
        self._break(reason)

    def close(self) -> None:
        """Drop the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    @property
    def expired(self) -> bool:
        """Whether the request in flight has passed its deadline."""
        return self._reply is not None and time.monotonic_ns() > self.deadline_ns

    def _parse(self) -> None:
        """Take the reads that wait apart; what they lead to is heard by the callbacks."""
        waiting, self._waiting = self._waiting, []
        feed, pieces = self._parser.feed_data, self._pieces
        try:
            for self._now, data in waiting:
                feed(data)
                if pieces:
                    self._keep()
        except httptools.HttpParserError as error:
            self._keep()  # what the same read held before
            self._break(f"the server does not speak HTTP/1.1 ({error or type(error).__name__})")
        if self._size > MAX_REPLY_BYTES:
            self._break(f"the answer is larger than {MAX_REPLY_BYTES} bytes")

    def _keep(self) -> None:
        """Keep the body of one read with its time."""
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._reply is not None and body:
            self._reply.reads.append((self._now, body))
            self._size += len(body)

    def _break(self, reason: str) -> None:
        if self._reply is not None:
            self._now = time.monotonic_ns()
            self._reply.error = reason
            self._finish(keep=False)

    def _finish(self, keep: bool) -> None:
        reply, ended = self._reply, self._ended
        assert reply is not None and ended is not None
        reply.ended_ns = self.idle_since_ns = self._now
        self._reply = None
        self._chunked = False  # what comes unasked is heard at once
        if not keep:
            self.close()
        if not ended.done():
            ended.set_result(None)
