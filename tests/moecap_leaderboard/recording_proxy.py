"""A relay between a client and a server that keeps every byte of what the client sends."""

from __future__ import annotations

import contextlib
import socket
import threading
from email.parser import BytesParser
from typing import Any
from urllib.parse import urlsplit


class RecordingProxy:
    """Relays to the server at ``url``; its own ``url`` is where clients go."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 0)
        self.sent: list[bytearray] = []

    def __enter__(self) -> RecordingProxy:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            kept = bytearray()
            self.sent.append(kept)
            threading.Thread(target=_relay, args=(client, server, kept), daemon=True).start()
            threading.Thread(target=_relay, args=(server, client, None), daemon=True).start()

    def parts(self) -> dict[str, bytes]:
        """The parts of the one multipart body that was sent, by name."""
        (request,) = [bytes(kept) for kept in self.sent if b"multipart/form-data" in kept]
        head, _, body = request.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            body = _unchunked(body)
        kind = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-type:"))
        message = BytesParser().parsebytes(kind + b"\r\n\r\n" + body)
        return {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
            for part in message.get_payload()
        }


def _relay(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
    with contextlib.suppress(OSError), source, target:
        while data := source.recv(1 << 16):
            if kept is not None:
                kept += data
            target.sendall(data)
        for end in (source, target):
            end.shutdown(socket.SHUT_RDWR)


def _unchunked(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole += body[:length]
        body = body[length + 2 :]
        if not length:
            break
    return bytes(whole)
