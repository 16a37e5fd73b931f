"""A leaderboard that answers by a script, to see what the client does with each answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local_server import Answer, LocalServer


@dataclass
class Call:
    """What came: method, path, headers and content."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes


@dataclass
class Board(LocalServer):
    """Answers each call with the next of ``script``: (status, headers, content), or closes the connection for None."""

    script: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Answer | None:
        self.calls.append(Call(method, target, dict(headers), content))
        return self.script.pop(0)
