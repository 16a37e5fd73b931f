"""Over how many devices and ranks a run splits its model: as asked, or over the fewest devices that hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moecap.backend import Backend
from moecap.config import RunConfig
from moecap.errors import BadInputError, NotAvailableError
from moecap.hardware.resolve import ResolvedHardware
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.spec import ModelSpec
from moecap.plugins import BACKENDS, load_plugin, plugin_names
from moecap.runner.memory import MemoryNeed

__all__ = ["Split", "choose_split"]

MOST_DEVICES = 1024
"""Devices up to which a server's model is looked for a place."""


@dataclass(frozen=True, slots=True)
class Split:
    """Devices and ranks of a run; on a host, which is one device, all ranks share it."""

    devices: int
    parallelism: Parallelism

    def in_force(self, config: RunConfig) -> RunConfig:
        """The configuration with these numbers, where more than one device or rank does the work."""
        ranks = self.parallelism.tensor
        if ranks == 1:
            return config
        devices = {"num_gpus": self.devices} if self.devices > 1 else {}
        return config.model_copy(update={**devices, "tensor_parallel": ranks})


def choose_split(
    config: RunConfig,
    backend: type[Backend],
    hardware: ResolvedHardware,
    spec: ModelSpec,
    need: Callable[[Parallelism], MemoryNeed],
    say: Callable[[str], None],
) -> Split:
    """Decide devices and ranks.

    Args:
        config: What was asked for.
        backend: The backend.
        hardware: The hardware.
        spec: The model.
        need: The memory that the run needs with a split.
        say: Told one line where the number of devices is not the user's.

    Raises:
        NotAvailableError: If the backend cannot split a model, or no number of devices holds it.
        BadInputError: If the numbers do not fit together or the model does not allow the split.
    """
    if config.layout is not None:  # what one accelerator does not hold lies elsewhere, as the user says
        return Split(1, ONE_DEVICE)
    asked, ranks = config.num_gpus, config.tensor_parallel
    if (asked or 1) > 1 or (ranks or 1) > 1:
        _refuse_whole(backend, ranks or asked or 1)
    if hardware.profile.kind == "host" and (asked or 1) == 1:
        split = Split(1, Parallelism(tensor=ranks or 1))
    elif asked is None and ranks is None:
        return _fewest(backend, hardware, spec, need, say)
    else:
        devices, ranks = asked or ranks or 1, ranks or asked or 1
        if devices != ranks:
            raise BadInputError(
                f"--num-gpus {devices} and --tensor-parallel {ranks}: a run counts one group of tensor-parallel ranks, "
                f"each on a device of its own; give the same number, or one of the two"
            )
        if not backend.attaches and devices > hardware.available:
            raise NotAvailableError(
                f"{devices} devices were asked for and this machine has {hardware.available} of {hardware.profile.id}; "
                "ask for as many at most"
            )
        split = Split(devices, Parallelism(tensor=ranks))
    split.parallelism.check(spec)
    return split


def _refuse_whole(backend: type[Backend], ranks: int) -> None:
    """Refuse a split for a backend that runs on one device, naming those that would do."""
    if "tensor" in backend.parallel:
        return
    able = [name for name in plugin_names(BACKENDS) if "tensor" in load_plugin(BACKENDS, name).parallel]
    would = f"backends that split one: {', '.join(able)}" if able else "no installed backend splits one"
    raise NotAvailableError(f"backend {backend.name!r} does not split a model over {ranks} ranks; {would}")


def _fewest(
    backend: type[Backend],
    hardware: ResolvedHardware,
    spec: ModelSpec,
    need: Callable[[Parallelism], MemoryNeed],
    say: Callable[[str], None],
) -> Split:
    """The fewest devices, a power of two, that hold the model with its load; of a server they are the user's to say."""
    memory, profile = hardware.profile.memory_bytes, hardware.profile
    if memory is None or "tensor" not in backend.parallel:
        return Split(1, ONE_DEVICE)
    devices, most = 1, MOST_DEVICES if backend.attaches else hardware.available
    while devices <= most:
        parallelism = Parallelism(tensor=devices)
        if _allows(parallelism, spec) and need(parallelism).of_a_device <= memory:
            break
        devices *= 2
    else:
        return Split(1, ONE_DEVICE)  # the check of the memory says what one device lacks
    if backend.attaches and devices > 1:
        raise BadInputError(
            f"{spec.name} does not fit in one {profile.id}: say with --num-gpus how many the server has "
            f"({devices} is the fewest that hold it)"
        )
    if not backend.attaches:
        say(f"{devices} of {hardware.available} {profile.id}: the fewest that hold {spec.name} (--num-gpus)")
    return Split(devices, parallelism)


def _allows(parallelism: Parallelism, spec: ModelSpec) -> bool:
    try:
        parallelism.check(spec)
    except (BadInputError, NotAvailableError):
        return False
    return True
