"""``moecap serve``: the leaderboard as a process."""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moecap_leaderboard.service import Service
    from moecap_leaderboard.settings import Settings

__all__ = ["serve"]

_LAST_SECONDS = 10
"""How long answers that are under way may take when the service ends."""

_NEW_OBJECTS = 20_000
"""After so many new objects that may be part of cycles they are looked at; a list of rows is some thousands."""

_M_ARENA_MAX = -8
"""What ``malloc.h`` calls the number of arenas."""

_TURN_SECONDS = 0.001
"""How long a thread may hold the interpreter while others wait. A driver lets go of it at each row and must wait for it
anew: behind threads that compute, the interpreter's own 5 ms a turn make an answer of fifty rows take a good while."""


def serve(
    *,
    db: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    demo: bool = False,
    snapshot: Path | None = None,
    check: bool = False,
) -> int:
    """Serve the leaderboard: its pages and the REST API.

    Args:
        db: URL of the database, sqlite:///FILE or postgresql://HOST/NAME; DATABASE_URL or a file of SQLite by default.
        host: Address to listen on.
        port: Port to listen on.
        demo: Fill an empty store with runs of this project, figures of others and projections.
        snapshot: Write a copy of the SQLite database to this file and end.
        check: Say whether the store is whole, and end; the service may run meanwhile.
    """
    from moecap.errors import NotAvailableError

    try:
        from moecap_leaderboard.service import Service
        from moecap_leaderboard.settings import Settings
    except ModuleNotFoundError as error:
        raise NotAvailableError(f'moecap serve needs {error.name}; pip install "moecap[leaderboard]"') from None

    settings = Settings.from_environment(db)
    if snapshot is not None:
        return _copy(settings, snapshot)
    if check:
        return _check(settings)
    service = Service.open(settings)
    try:
        with _temporary_files_in(service.blobs.work):
            return _serve(service, host, port, demo)
    finally:  # the application does it too, unless it is ended by force
        service.close()


def _serve(service: Service, host: str, port: int, demo: bool) -> int:
    """Serve until a signal ends it."""
    from moecap.cli.output import remark
    from moecap.errors import NotAvailableError

    try:
        import uvicorn

        from moecap_leaderboard.app import create_app
        from moecap_leaderboard.connections import BoundedProtocol
    except ModuleNotFoundError as error:
        raise NotAvailableError(f'moecap serve needs {error.name}; pip install "moecap[leaderboard]"') from None
    from moecap_leaderboard.administration import first_key
    from moecap_leaderboard.demo import fill_empty

    service.examiners.start()
    if key := first_key(service):
        remark(f"the key of this leaderboard's administrator, shown once: {key}")
    if demo:
        added = fill_empty(service)
        counts = "the store is not empty and stays as it is" if added is None else _words(added)
        remark(f"demo: {counts}")
    sys.setswitchinterval(_TURN_SECONDS)
    listening = _listening(host, port)
    remark(f"moecap leaderboard on {_url(listening)}; its API under /api/v1, described at /docs")
    config = uvicorn.Config(
        create_app(service),
        http=BoundedProtocol,
        limit_concurrency=service.settings.limits.connections,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    _spare_collections()
    _use_few_arenas()
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def _spare_collections() -> None:
    """Let the collector of cycles pass over what lasts as long as the process: code, descriptions, the pages.

    These are some hundred thousand objects, and all threads stand still while they are looked at: 0.4 s, again and
    again, since a list of rows is thousands of new ones.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def _use_few_arenas() -> None:
    """Let all threads share two arenas of memory (of glibc): what each keeps free of one of its own adds up."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let temporary files of this process, its libraries and its examiners go with the folder."""
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before[1]
        if before[0] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[0]


def _copy(settings: Settings, target: Path) -> int:
    """Write a copy of the database."""
    from moecap.cli.output import remark
    from moecap_leaderboard.database import existing_database
    from moecap_leaderboard.snapshot import write_snapshot

    with closing(existing_database(settings.database)) as database:
        write_snapshot(database, target)
    remark(f"the database is copied to {target}; the observation files are in {settings.observations}")
    return 0


def _check(settings: Settings) -> int:
    """Say whether the store is whole, and return the exit status."""
    from moecap.cli.output import print_line, remark
    from moecap_leaderboard.database import existing_database
    from moecap_leaderboard.integrity import check_store

    with closing(existing_database(settings.database)) as database:
        found = check_store(database, settings.observations)
    for problem in found.problems:
        print_line(problem)
    if found.problems:
        remark(f"moecap: the store is not whole: {len(found.problems)} problems")
        return 1
    states = ", ".join(f"{count} {state}" for state, count in sorted(found.submissions.items())) or "no submission yet"
    print_line(f"ok: {states}; {found.files} files of {found.bytes} bytes")
    if found.unnamed:
        print_line(f"{found.unnamed} more files are of no submission: left by what was never acknowledged")
    return 0


def _listening(host: str, port: int) -> socket.socket:
    """A socket on which connections wait from now on.

    Raises:
        NotAvailableError: If the address is taken or not of this machine.
    """
    from moecap.errors import NotAvailableError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NotAvailableError(
            f"cannot listen on {host} port {port} ({reason}); give another --host or --port"
        ) from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _words(added: dict[str, int]) -> str:
    return ", ".join(f"{count} rows {kind}" for kind, count in added.items())
