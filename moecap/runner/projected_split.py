"""Over how many devices a projection splits its model: as asked, or the fewest that hold it."""

from __future__ import annotations

from collections.abc import Callable

from moecap.config import RunConfig
from moecap.errors import BadInputError, MoecapError, NotAvailableError
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.projection.capacity import most_sequences, room
from moecap.projection.deployment import Deployment
from moecap.projection.engine_settings import EngineSettings
from moecap.projection.offloading import layout_hint

__all__ = ["projected_split"]

MOST_DEVICES = 1024
"""Devices up to which a model is looked for a place."""

WASTE_TOKENS = 32
"""Tokens that the last, half-filled block of a sequence wastes at most."""


def projected_split(
    config: RunConfig,
    settings: EngineSettings,
    deploy: Callable[[Parallelism], Deployment],
    longest: int,
    say: Callable[[str], None],
) -> Parallelism:
    """Decide devices and ranks.

    Args:
        config: What was asked for.
        settings: The engine that is projected.
        deploy: The model on the devices with a split.
        longest: Tokens of the longest sequence, which has to find room.
        say: Told one line where the number of devices is not the user's.

    Raises:
        BadInputError: If the numbers do not fit together or the model does not allow the split.
        NotAvailableError: If the devices do not hold the model.
    """
    devices, ranks = config.num_gpus, config.tensor_parallel
    if config.layout is not None:  # what one accelerator does not hold lies elsewhere, as the user says
        if problem := _lacking(settings, deploy(ONE_DEVICE), longest):
            raise NotAvailableError(f"{problem}; move a class of tensors in the layout")
        return ONE_DEVICE
    host = deploy(ONE_DEVICE).hardware.kind == "host"
    if host and max(devices or 1, ranks or 1, settings.data) > 1:
        raise BadInputError("a host is projected as one device; leave num_gpus, tensor_parallel and data-parallel out")
    if devices is None and ranks is None and not host:
        return _fewest(settings, deploy, longest, say)
    devices = devices or (ranks or 1) * settings.data
    if devices % settings.data:
        raise BadInputError(f"data-parallel {settings.data} does not divide {devices} devices; give a divisor")
    split = settings.split(ranks or devices // settings.data)
    if split.devices != devices:
        raise BadInputError(
            f"--num-gpus {devices} is not --tensor-parallel {split.tensor} times data-parallel {split.data}; give "
            "numbers that multiply to it"
        )
    split.check(deploy(split).spec)
    if problem := _lacking(settings, deploy(split), longest):
        hint = layout_hint(deploy(split), longest) if split.devices == 1 else ""
        instead = f", or experts outside the device: --layout FILE with {hint}" if hint else ""
        more = "" if host else "more devices, "
        raise NotAvailableError(f"{problem}; take {more}a narrower --precision, or hardware with more memory{instead}")
    return split


def _fewest(
    settings: EngineSettings, deploy: Callable[[Parallelism], Deployment], longest: int, say: Callable[[str], None]
) -> Parallelism:
    """The fewest devices, a power of two, that hold the model with its longest sequence."""
    devices, problem = 1, ""
    while devices <= MOST_DEVICES:
        if devices % settings.data == 0:
            try:
                split = settings.split(devices // settings.data)
                deployment = deploy(split)
                split.check(deployment.spec)
                problem = _lacking(settings, deployment, longest)
                if not problem:
                    name = deployment.hardware.id
                    say(f"{devices} of {name}: the fewest that hold {deployment.spec.name} (--num-gpus)")
                    return split
            except MoecapError as error:
                problem = problem or str(error)
        devices *= 2
    problem = problem or f"data-parallel {settings.data} divides none; give a power of two, or --num-gpus"
    raise NotAvailableError(f"no power of two of devices up to {MOST_DEVICES} holds the model as it splits: {problem}")


def _lacking(settings: EngineSettings, deployment: Deployment, longest: int) -> str:
    """Why the devices do not hold the model with one sequence of the longest length; empty where they do."""
    if most_sequences(deployment, settings.limits, longest + WASTE_TOKENS, 0.0) >= 1.0:
        return ""
    found, spec = room(deployment, settings.limits), deployment.spec
    return (
        f"{spec.name} needs {found.weights / 1e9:.1f} GB for weights in {spec.formats} and room for {longest} tokens, "
        f"and {deployment.devices} of {deployment.hardware.id} have {found.memory / 1e9:.1f} GB for both and buffers"
    )
