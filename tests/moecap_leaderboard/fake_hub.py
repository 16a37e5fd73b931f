"""As much of the hub's HTTP interface as a dataset repository needs: one repository, whose files are in memory."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from local_server import Answer, LocalServer

TOKEN = "hf_" + "t" * 34


@dataclass
class FakeHub(LocalServer):
    """The hub. A repository that is None is not there yet."""

    repository: str
    files: dict[str, bytes] | None = None
    private: bool = True
    commits: list[list[str]] = field(default_factory=list)
    broken: bool = False

    @property
    def _head(self) -> str:
        return hashlib.sha1(json.dumps(self.commits).encode()).hexdigest()

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Answer:
        path, api = unquote(urlsplit(target).path), f"/api/datasets/{self.repository}"
        if self.broken or headers.get("Authorization") != f"Bearer {TOKEN}":
            return 400 if self.broken else 401, {"X-Error-Message": "out of order, or not for you"}, {}
        if path == "/api/repos/create":
            return self._create(json.loads(content))
        if self.files is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, {}
        if path.startswith(api):
            return 200, {}, self._dataset(path.removeprefix(api), content)
        name = path.partition(f"/datasets/{self.repository}/resolve/")[2].partition("/")[2]
        if name not in self.files:
            return 404, {"X-Error-Code": "EntryNotFound"}, {}
        data = self.files[name]
        return 200, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": self._head}, data

    def _create(self, asked: dict[str, Any]) -> Answer:
        assert asked["type"] == "dataset"
        assert asked.get("private") or asked.get("visibility") == "private"
        there, self.files = self.files is not None, self.files or {}
        return 409 if there else 200, {}, {"url": f"{self.url}/datasets/{self.repository}"}

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
