"""Runs a server in a process group of its own and ends all of it when the one who asked for it is gone.

What the server puts into the folder for temporary files (sockets between its processes, for the most part) lies in a
folder of its own, which goes with it.

``python -m moecap_backends.guardian COMMAND...``. Its standard input is a pipe that nobody writes to: it closes when
the parent ends, in whatever way, and then the whole group is terminated, and killed if it does not end in time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading

__all__ = ["main"]

GRACE_SECONDS = float(os.environ.get("MOECAP_GRACE_SECONDS", "15"))
"""Seconds between the request to end and the end by force."""


def main() -> int:
    """Run the command; the exit status is its own."""
    with tempfile.TemporaryDirectory(prefix="moecap-", ignore_cleanup_errors=True) as folder:
        return _run(sys.argv[1:], _variables(folder))


def _variables(folder: str) -> dict[str, str]:
    """This process's environment with another folder for temporary files; compiled kernels stay where they were."""
    kernels = f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}"
    return {"TORCHINDUCTOR_CACHE_DIR": kernels, **os.environ, "TMPDIR": folder}


def _run(command: list[str], variables: dict[str, str]) -> int:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env=variables)
    ended = threading.Event()

    def end_with_parent() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        _signal_group(server.pid, signal.SIGTERM)
        if not ended.wait(GRACE_SECONDS):
            _signal_group(server.pid, signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    watch = threading.Thread(target=end_with_parent, daemon=True)
    watch.start()
    status = server.wait()
    _signal_group(server.pid, signal.SIGTERM)  # what the server has left behind
    ended.set()
    _end_group(server.pid)
    return status if status >= 0 else 128 - status


def _end_group(group: int) -> None:
    for _ in range(50):
        if not _signal_group(group, 0):
            return
        threading.Event().wait(0.1)
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
