"""What NVML says of boards beside their energy: clocks, memory, temperature, and what holds the clocks down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from moecap.hardware.nvidia import import_nvml, open_boards

__all__ = ["BRAKE", "HEAT", "POWER_CAP", "BoardState", "BoardStates", "open_board_states"]

POWER_CAP = 0x4
"""Bit of the reasons for lower clocks (``nvmlClocksEventReasonSwPowerCap``): the board is at its power limit."""

HEAT = 0x20 | 0x40
"""Bits of a slowdown by heat, by the driver's software or the board's hardware."""

BRAKE = 0x8 | 0x80
"""Bits of a slowdown by the hardware itself: great heat, too much power, or a supply that asks for less."""


@dataclass(frozen=True, slots=True)
class BoardState:
    """One board at one time; ``None`` for what its driver does not tell.

    Attributes:
        board: Its number among the boards of the run, from 0.
        sm_clock_mhz: Clock of the multiprocessors.
        memory_clock_mhz: Clock of the memory.
        utilisation: Share of the last sampling period of the driver in which a kernel ran; it says nothing of how
            much of the board that kernel used.
        memory_used_bytes: Memory in use, by every process.
        temperature_celsius: Temperature of the chip.
        slowdown_reasons: Bits of ``nvmlDeviceGetCurrentClocksEventReasons``.
    """

    board: int
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    utilisation: float | None
    memory_used_bytes: int | None
    temperature_celsius: int | None
    slowdown_reasons: int | None


class BoardStates:
    """Reads the state of boards until it is closed.

    Args:
        nvml: A module with pynvml's functions, initialised.
        handles: The boards.
    """

    def __init__(self, nvml: Any, handles: list[Any]) -> None:
        self._nvml = nvml
        self._handles = handles
        names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        self._reasons = [getattr(nvml, name) for name in names if hasattr(nvml, name)]
        """The question by its name since driver 535, and by the one before, where the module has them."""

    def read(self) -> list[BoardState]:
        """The state of each board now."""
        nvml = self._nvml
        return [
            BoardState(
                board=board,
                sm_clock_mhz=self._clock(nvml.NVML_CLOCK_SM, handle),
                memory_clock_mhz=self._ask(
                    lambda h: nvml.nvmlDeviceGetClockInfo(h, nvml.NVML_CLOCK_MEM), handle=handle
                ),
                utilisation=self._ask(lambda h: nvml.nvmlDeviceGetUtilizationRates(h).gpu / 100, handle=handle),
                memory_used_bytes=self._ask(lambda h: nvml.nvmlDeviceGetMemoryInfo(h).used, handle=handle),
                temperature_celsius=self._ask(
                    lambda h: nvml.nvmlDeviceGetTemperature(h, nvml.NVML_TEMPERATURE_GPU), handle=handle
                ),
                slowdown_reasons=self._ask(*self._reasons, handle=handle),
            )
            for board, handle in enumerate(self._handles)
        ]

    def close(self) -> None:
        """Shut NVML down once for the start that was made for this reader."""
        self._nvml.nvmlShutdown()

    def _clock(self, kind: int, handle: Any) -> Any | None:
        return self._ask(lambda h: self._nvml.nvmlDeviceGetClockInfo(h, kind), handle=handle)

    def _ask(self, *questions: Callable[[Any], Any], handle: Any) -> Any | None:
        """The first answer that the driver gives."""
        for question in questions:
            with suppress(self._nvml.NVMLError):
                return question(handle)
        return None


def open_board_states(count: int, nvml: Any | None = None) -> BoardStates | None:
    """The states of the boards that a run uses, or ``None`` where NVML cannot tell them.

    Args:
        count: Number of boards: the first so many that processes see.
        nvml: A module with pynvml's functions; by default pynvml itself.
    """
    nvml = import_nvml() if nvml is None else nvml
    handles = None if nvml is None else open_boards(nvml, count)
    return None if handles is None else BoardStates(nvml, handles)
