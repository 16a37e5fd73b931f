"""Samples this process, the ones that it started, and its machine on a thread of its own while a run goes on."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import Any

from moecap.hardware.board_states import BoardStates
from moecap.hardware.energy_counter import EnergyCounter, EnergyReading
from moecap.hardware.host import usable_processors
from moecap.observations.recorder import Recorder

__all__ = ["Telemetry", "descendants", "processor_seconds"]

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
BOARDS_EVERY = 5
"""Samples to one look at the boards, whose driver takes longer to answer than the kernel."""
FAMILY_SECONDS = 2.0
"""How long a list of the started processes is used before they are looked for again."""


class Telemetry:
    """A context manager that samples until it is left.

    One sample takes about 0.07 ms of one processor on a machine with two, so ten a second take less than a thousandth
    of its time; the kernel writes a line for each processor into ``/proc/stat``, so it grows with their number.

    Args:
        recorder: Where the samples go.
        counter: The energy counter of the devices, or ``None`` where there is none; closed when this is left.
        boards: The states of the boards, or ``None`` where there are none to read; closed when this is left.
        interval: Seconds between samples.
    """

    def __init__(
        self,
        recorder: Recorder,
        counter: EnergyCounter | None = None,
        boards: BoardStates | None = None,
        interval: float = 0.1,
    ) -> None:
        self._recorder = recorder
        self._counter = counter
        self._boards = boards
        self._samples = 0
        self._interval = interval
        cpus, self._usable = usable_processors()
        self._names = [f"cpu{cpu}" for cpu in cpus]
        self._family: list[int] = []
        self._family_until = 0.0
        self._stop = threading.Event()
        self._sampling = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def __enter__(self) -> Telemetry:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for source in (self._counter, self._boards):
            if source is not None:
                source.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """One sample, and then none until it is left: what happens inside is no part of the engine's memory."""
        with self._sampling:
            self._sample()
            yield

    def _run(self) -> None:
        stopped = False
        while not stopped:
            with self._sampling:
                self._sample()
            stopped = self._stop.wait(self._interval)
        self._sample()

    def _sample(self) -> None:
        """Record one row of the telemetry schema."""
        if (now := time.monotonic()) >= self._family_until:
            self._family, self._family_until = descendants(os.getpid()), now + FAMILY_SECONDS
        started = [use for pid in self._family if (use := _use(pid)) is not None]
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE + sum(r for r, _ in started)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        seconds = processor_seconds(Path("/proc/stat").read_text())
        busy, steal = seconds["cpu"]
        own = sum(use.ru_utime + use.ru_stime for use in (usage, ended)) + sum(seconds for _, seconds in started)
        row: tuple[Any, ...] = (time.monotonic_ns(), resident, own, busy, os.getloadavg()[0], steal)
        allowed = [seconds[name] for name in self._names if name in seconds]
        known = len(allowed) == len(self._names)  # a container may be shown numbers that are not those of its mask
        shares = [sum(column) for column in zip(*allowed, strict=True)] if known else [None, None]
        energy = self._counter.read() if self._counter is not None else EnergyReading(None, None)
        self._recorder.telemetry((*row, len(self._names), self._usable, *shares, energy.watts, energy.joules))
        if self._boards is not None and self._samples % BOARDS_EVERY == 0:
            self._recorder.boards(time.monotonic_ns(), [astuple(state) for state in self._boards.read()])
        self._samples += 1


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs, as far as they still run."""
    found, waiting = [], [pid]
    while waiting:
        started: list[int] = []
        with contextlib.suppress(OSError):  # it, or one of its threads, has ended meanwhile
            for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
                started += [int(child) for child in children.read_text().split()]
        found += started
        waiting += started
    return found


def _use(pid: int) -> tuple[int, float] | None:
    """Resident bytes of a process, and the processor seconds that it and its ended children have used.

    ``None`` where it has ended: its time is then that of an ended child of the process that had started it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[21]) * PAGE, sum(map(int, fields[11:15])) / TICKS


def processor_seconds(stat: str) -> dict[str, tuple[float, float]]:
    """Seconds that processors were busy and that the hypervisor took from them, since the machine started.

    Args:
        stat: The content of ``/proc/stat``.

    Returns:
        Busy and stolen seconds of the whole machine under ``cpu`` and of each logical processor under ``cpu0`` and so
        on, as far as the kernel lists them.
    """
    seconds = {}
    for line in stat.splitlines():
        name, *ticks = line.split()
        if not name.startswith("cpu"):  # the processors come first
            break
        user, nice, system, _, _, irq, softirq, steal = (int(t) / TICKS for t in ticks[:8])
        seconds[name] = (user + nice + system + irq + softirq, steal)
    return seconds
