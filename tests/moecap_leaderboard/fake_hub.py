"""As much of the hub's HTTP interface as a dataset repository needs: one repository, whose files are in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "t" * 34


@dataclass
class FakeHub:
    """The hub. A repository that is None is not there yet."""

    repository: str
    files: dict[str, bytes] | None = None
    private: bool = True
    commits: list[list[str]] = field(default_factory=list)
    broken: bool = False

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, data = hub._answer(self.command, self.path, self.headers, content)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        for method in ("GET", "POST", "HEAD"):
            setattr(Handler, f"do_{method}", Handler.answer)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def _head(self) -> str:
        return hashlib.sha1(json.dumps(self.commits).encode()).hexdigest()

    def _answer(self, method: str, target: str, headers: Any, content: bytes) -> tuple[int, dict[str, str], bytes]:
        path, api = unquote(urlsplit(target).path), f"/api/datasets/{self.repository}"
        if self.broken or headers.get("Authorization") != f"Bearer {TOKEN}":
            return 400 if self.broken else 401, {"X-Error-Message": "out of order, or not for you"}, b"{}"
        if path == "/api/repos/create":
            return self._create(json.loads(content))
        if self.files is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if path.startswith(api):
            return 200, {}, json.dumps(self._dataset(path.removeprefix(api), content)).encode()
        name = path.partition(f"/datasets/{self.repository}/resolve/")[2].partition("/")[2]
        if name not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        data = self.files[name]
        return 200, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": self._head}, data

    def _create(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        assert asked["type"] == "dataset"
        assert asked.get("private") or asked.get("visibility") == "private"
        there, self.files = self.files is not None, self.files or {}
        return 409 if there else 200, {}, json.dumps({"url": f"{self.url}/datasets/{self.repository}"}).encode()

    def _dataset(self, route: str, content: bytes) -> Any:
        assert self.files is not None
        if route.startswith("/tree/"):
            return [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in self.files.items()]
        if route.startswith("/preupload/"):
            asked = json.loads(content)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
        if route.startswith("/commit/"):
            lines = [json.loads(line) for line in content.splitlines()]
            added = [line["value"] for line in lines if line["key"] == "file"]
            self.files.update({value["path"]: base64.b64decode(value["content"]) for value in added})
            self.commits.append([value["path"] for value in added])
            url = f"{self.url}/datasets/{self.repository}/commit/{self._head}"
            return {"commitUrl": url, "commitOid": self._head, "success": True}
        siblings = [{"rfilename": name} for name in self.files]
        return {"id": self.repository, "private": self.private, "sha": self._head, "siblings": siblings}
