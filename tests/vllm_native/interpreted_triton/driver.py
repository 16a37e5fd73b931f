"""The device that Triton asks for: the processor, one of them."""

from typing import Any, NoReturn

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase


class ProcessorDriver(DriverBase):
    """Says that the processor is device 0 and has no streams."""

    def __init__(self) -> None:
        """No helpers are built, as no kernel is launched."""

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cpu", 0, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cpu

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        """There is one."""

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_device_capability(self, device: int | None = None) -> tuple[int, int]:
        return 0, 0

    def get_benchmarker(self) -> NoReturn:
        raise RuntimeError("times of interpreted kernels mean nothing")
