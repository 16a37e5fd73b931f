"""Samples this process and its machine on a thread of its own while a run goes on."""

from __future__ import annotations

import os
import resource
import threading
import time
from pathlib import Path
from types import TracebackType

from moecap.observations.recorder import Recorder

__all__ = ["Telemetry"]

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


class Telemetry:
    """A context manager that samples until it is left.

    Args:
        recorder: Where the samples go.
        interval: Seconds between samples.
    """

    def __init__(self, recorder: Recorder, interval: float = 0.5) -> None:
        self._recorder = recorder
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def __enter__(self) -> Telemetry:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._recorder.telemetry(_sample())
            if self._stop.wait(self._interval):
                self._recorder.telemetry(_sample())
                return


def _sample() -> tuple[int, int, float, float, float, float, None, None]:
    """One row of the telemetry schema; a bare host has no power and no energy counter."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    usage = resource.getrusage(resource.RUSAGE_SELF)
    user, nice, system, _, _, irq, softirq, steal = (
        int(ticks) / TICKS for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    own = usage.ru_utime + usage.ru_stime
    everybody = user + nice + system + irq + softirq
    return (time.monotonic_ns(), resident, own, everybody, os.getloadavg()[0], steal, None, None)
