"""A small server that speaks the part of the Hugging Face hub's interface by which data sets are fetched."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

Files = Mapping[str, bytes]


def commit_of(files: Files) -> str:
    """A commit for the content of a repository: forty hexadecimal digits."""
    digest = hashlib.sha1()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name])
    return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_arguments: object) -> None:
        """Nothing on stderr."""

    def _reply(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _missing(self, code: str) -> None:
        self._reply(404, b"{}", {"X-Error-Code": code, "X-Error-Message": "not here"})

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.seen.append(f"{self.command} /{path}")
        api = path.startswith("api/")
        if not path.removeprefix("api/").startswith("datasets/"):
            return self._reply(404 if path else 200, b"", {})
        owner, name, *rest = path.removeprefix("api/").removeprefix("datasets/").split("/")
        revisions = self.server.repositories.get(f"{owner}/{name}")
        if revisions is None:
            return self._missing("RepoNotFound")
        revision = rest[1] if len(rest) > 1 else "main"
        files = next((f for r, f in revisions.items() if revision in (r, commit_of(f))), None)
        if files is None:
            return self._missing("RevisionNotFound")
        if api:
            described = self._described(f"{owner}/{name}", rest, files)
            return self._reply(200, described, {"Content-Type": "application/json"})
        place = "/".join(rest[2:])
        if place not in files:
            return self._missing("EntryNotFound")
        etag = hashlib.sha1(files[place]).hexdigest()
        return self._reply(200, files[place], {"X-Repo-Commit": commit_of(files), "ETag": f'"{etag}"'})

    def _described(self, repository: str, rest: list[str], files: Files) -> bytes:
        if rest[:1] == ["tree"]:
            under = "".join(f"{part}/" for part in rest[2:])
            recursive = "recursive=true" in self.path.lower()
            inside = [name.removeprefix(under) for name in sorted({*files, *_folders(files)}) if name.startswith(under)]
            shown = [under + name for name in inside if recursive or "/" not in name]
            return json.dumps([self._entry(name, files) for name in shown]).encode()
        if rest[:1] == ["paths-info"]:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
            known = {*files, *_folders(files)}
            return json.dumps([self._entry(name, files) for name in asked if name in known]).encode()
        siblings = [{"rfilename": name} for name in sorted(files)]
        about = {"id": repository, "sha": commit_of(files), "private": False, "tags": [], "downloads": 0, "likes": 0}
        return json.dumps(about | {"siblings": siblings}).encode()

    def _entry(self, name: str, files: Files) -> dict[str, object]:
        if name not in files:
            return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest()}
        return {"type": "file", "path": name, "size": len(files[name]), "oid": hashlib.sha1(files[name]).hexdigest()}

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815  (names of the library)


def _folders(files: Files) -> set[str]:
    return {str(folder) for name in files for folder in PurePosixPath(name).parents} - {"."}


class _Server(ThreadingHTTPServer):
    def __init__(self, repositories: Mapping[str, Mapping[str, Files]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.seen: list[str] = []


@contextmanager
def running_hub(repositories: Mapping[str, Mapping[str, Files]]) -> Iterator[tuple[str, list[str]]]:
    """A hub with these data sets, the files of each branch or tag; gives its URL and what it was asked."""
    server = _Server(repositories)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
