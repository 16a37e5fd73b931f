"""Connections that must go on: uvicorn waits without end for headers, for bodies that nobody reads and for readers."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedProtocol"]


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that closes a connection whose requests are late or large, or whose answers are not taken.

    Attributes:
        head_seconds: How long a request line and its headers may take, from the connection or from their own first
            byte; and how long a body may go on after its answer, which did not wait for it.
        head_bytes: How large they may be, give or take one read.
        answer_seconds: How long a client may take over what the buffers hold of an answer, some ten kB.
    """

    head_seconds: ClassVar[float] = 20.0
    head_bytes: ClassVar[int] = 65_536
    answer_seconds: ClassVar[float] = 60.0

    _awaited: asyncio.TimerHandle | None = None
    _taken: asyncio.TimerHandle | None = None
    _head: int = 0
    _in_body: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that goes on and on is refused."""
        self._head += len(data)
        super().data_received(data)
        large = self._head > self.head_bytes and not self._in_body
        if self._awaited is not None and large and not self.transport.is_closing():
            self._have_head()
            self.send_400_response("The request's headers are too large.")

    def on_message_begin(self) -> None:
        """Wait for the headers of a request."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Wait no longer: a body that is read has bounds of its own."""
        self._have_head()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait no longer for a body."""
        self._in_body = False
        self._have_head()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of a body that was answered before it was whole, or for the answer to be taken."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_taking()
        elif self._in_body and self.cycle.response_complete:
            self._await_head()

    def pause_writing(self) -> None:
        """Wait for the client to take what it was sent."""
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        """Wait no longer for the client to take it."""
        super().resume_writing()
        self._have_taken()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has no more requests; what it does not take of the last answer is given up."""
        super().timeout_keep_alive_handler()
        self._await_taking()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._have_head()
        super().connection_lost(exc)
        self._have_taken()

    def _await_head(self) -> None:
        self._have_head()
        self._head = 0
        self._awaited = self.loop.call_later(self.head_seconds, self._too_late)

    def _have_head(self) -> None:
        if self._awaited is not None:
            self._awaited.cancel()
            self._awaited = None

    def _await_taking(self) -> None:
        self._have_taken()
        self._taken = self.loop.call_later(self.answer_seconds, self.transport.abort)

    def _have_taken(self) -> None:
        if self._taken is not None:
            self._taken.cancel()
            self._taken = None

    def _too_late(self) -> None:
        self._awaited = None
        self.transport.close()
        self._await_taking()
