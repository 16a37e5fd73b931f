"""The leaderboard as a process of its own, as an administrator starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from moecap.client import Leaderboard
from moecap.errors import LeaderboardError

APP = Path(__file__).parents[2] / "leaderboard_app" / "app.py"
ADMIN = f"moecap_0123456789abcdef_{'s' * 43}"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass
class ServiceProcess:
    """``leaderboard_app/app.py`` on a free port, with its store in a folder."""

    data: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> ServiceProcess:
        self.data.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = self.data / "service.log"
        own = {
            "PORT": str(port),
            "MOECAP_LEADERBOARD_DATA": str(self.data),
            "MOECAP_ADMIN_KEY": ADMIN,
            "MOECAP_EXAMINERS": "1",
        }
        kept = {k: v for k, v in os.environ.items() if k != "DATABASE_URL" and not k.startswith(("HF_", "MOECAP_HUB"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(APP)], env=kept | own | self.environment, stdout=log, stderr=log
            )
        try:
            self._wait()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def _wait(self) -> None:
        with Leaderboard(self.url) as board:
            for _ in range(600):
                assert self.process.poll() is None, self.log.read_text()
                try:
                    board.schema()
                    return
                except LeaderboardError:
                    time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def board(self, token: str | None = ADMIN) -> Leaderboard:
        """A client; of the administrator, if nothing else is said."""
        return Leaderboard(self.url, token)

    def token(self, owner: str, *scopes: str) -> str:
        """A new key."""
        with self.board() as board:
            key = board.new_key(owner, scopes).key
        assert key is not None
        return key

    def stop(self) -> int:
        """End it as Docker would, and give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.stop()
