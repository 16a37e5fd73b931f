"""Exports of many rows: written to a file by a process of its own, and handed out as the file grows.

The rows of a large board take many seconds of processor time. A thread that spent them would make every other answer of
the service wait for the interpreter's lock; a process of low priority does not, and a slow reader holds a file and no
process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from moecap.errors import NotAvailableError
from moecap_leaderboard.database import existing_database
from moecap_leaderboard.exports import exported
from moecap_leaderboard.listing import Filters, all_items

__all__ = ["WrittenExport", "WrittenExports"]

_SPAWN = multiprocessing.get_context("spawn")

_KEPT_SECONDS = 60.0
"""How long a file is handed out to those who ask for the same: as long as a cache may keep an export."""
_MOST_SECONDS = 600.0
"""After so long the process that writes is ended."""
_MOST_WAITING = 4
"""Exports that are written or wait to be; one is written at a time."""
_MOST_OF_A_CLIENT = 2
"""Of those, how many one client has asked for."""
_NICE = 19
_LEVEL = 5
_PART = 1 << 17
_POLL_SECONDS = 0.05
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(slots=True)
class _Export:
    """A file that is being written.

    Attributes:
        path: Where it is.
        client: Who asked first.
        since: When it was asked for, in seconds of the monotonic clock.
        whole: Whether it is whole; ``None`` while it is being written.
    """

    path: Path
    client: str
    since: float = field(default_factory=time.monotonic)
    whole: bool | None = None


@dataclass(frozen=True, slots=True)
class WrittenExport:
    """The file of an export, open to one reader.

    Attributes:
        file: The file.
        compressed: Whether it is compressed with gzip; a form that is compressed itself is not.
    """

    file: BinaryIO
    compressed: bool
    _export: _Export

    async def parts(self, compressed: bool) -> AsyncIterator[bytes]:
        """The content, as it is written.

        Args:
            compressed: Whether as gzip.

        Raises:
            NotAvailableError: If the process that writes it has failed.
        """
        plain = zlib.decompressobj(_GZIP) if self.compressed and not compressed else None
        with self.file:
            while True:
                whole = self._export.whole  # asked before the file is read: what was written until then is in it
                if part := self.file.read(_PART):
                    yield plain.decompress(part) if plain else part
                elif whole:
                    return
                elif whole is None:
                    await asyncio.sleep(_POLL_SECONDS)
                else:
                    raise NotAvailableError("the export could not be written to its end")


class WrittenExports:
    """Exports that are being written, and those that were a moment ago.

    Args:
        database: URL of the database.
        folder: Where the files are; it goes with the service.
    """

    def __init__(self, database: str, folder: Path) -> None:
        self._database, self._folder = database, folder
        self._known: dict[Hashable, _Export] = {}
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._closed = threading.Event()

    def of(self, filters: Filters, sort: str, form: str, client: str) -> WrittenExport:
        """The export of these rows, which somebody may have asked for a moment ago.

        Args:
            filters: Which rows.
            sort: In which order.
            form: ``csv``, ``parquet`` or ``json``.
            client: Who asks.

        Raises:
            NotAvailableError: If too many wait, or too many of this client.
        """
        key = (filters, sort, form)
        with self._lock:
            for old in [name for name, one in self._known.items() if self._is_old(one)]:
                self._known.pop(old).path.unlink(missing_ok=True)  # who reads it has it open
            if key in self._known:
                return self._opened(self._known[key], form)
            waiting = [one.client for one in self._known.values() if one.whole is None]
            if len(waiting) >= _MOST_WAITING or waiting.count(client) >= _MOST_OF_A_CLIENT:
                whose = "of yours " if waiting.count(client) >= _MOST_OF_A_CLIENT else ""
                raise NotAvailableError(f"too many exports {whose}are being written; try again in a minute")
            path = self._folder / f"{uuid.uuid4().hex}.{form}"
            path.touch()
            export = _Export(path, client)
            threading.Thread(target=self._write, args=(export, filters, sort, form), daemon=True).start()
            self._known[key] = export  # which has somebody who writes it to its end
            return self._opened(export, form)

    def _opened(self, export: _Export, form: str) -> WrittenExport:
        return WrittenExport(export.path.open("rb"), form != "parquet", export)

    def _is_old(self, export: _Export) -> bool:
        return export.whole is not None and (not export.whole or time.monotonic() - export.since > _KEPT_SECONDS)

    def _write(self, export: _Export, filters: Filters, sort: str, form: str) -> None:
        with self._turn:
            process = _SPAWN.Process(
                target=write_export, args=(self._database, filters, sort, form, export.path), daemon=True
            )
            try:
                if not self._closed.is_set():
                    process.start()
                    end = time.monotonic() + _MOST_SECONDS
                    while process.is_alive() and time.monotonic() < end and not self._closed.is_set():
                        process.join(1.0)
                    process.kill()
                    process.join()
            finally:  # or those who read would wait for ever, where there is no memory for a process
                export.whole = process.exitcode == 0

    def close(self) -> None:
        """End the process that writes."""
        self._closed.set()
        with self._turn:
            pass


def write_export(database: str, filters: Filters, sort: str, form: str, path: Path) -> None:
    """Write an export to its end; the process fails where it does not come to it."""
    os.nice(_NICE)
    if hasattr(os, "sched_setscheduler"):  # Linux: only while nobody else wants the processor
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    parent = multiprocessing.parent_process()
    compressor = None if form == "parquet" else zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    store = existing_database(database)
    with path.open("wb", buffering=_PART) as file:
        for part in exported(all_items(store, filters, sort, as_json=form == "json"), form):
            if parent is not None and not parent.is_alive():
                raise SystemExit(1)
            file.write(compressor.compress(part) if compressor else part)
        if compressor:
            file.write(compressor.flush())
    store.close()
