"""What a run runs on: the hardware, and the engine that measures it there or the projection that stands for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moecap.backend import Backend
from moecap.config import RunConfig
from moecap.data.cache import cache_root
from moecap.errors import BadInputError, NotAvailableError
from moecap.hardware.resolve import ResolvedHardware, resolve_hardware
from moecap.load.connection import Target
from moecap.models.registry import ModelRef
from moecap.plugins import BACKENDS, load_plugin, plugin_names

__all__ = ["Choice", "choose"]

ENGINES = ("vllm", "sglang", "transformers")
"""Engines that moecap chooses from by itself, the best for serving first."""

PROJECTION = "projected"
"""The backend that computes what hardware and engines that are not here would do."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Where a server on this machine is reached."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Hardware and backend of a run.

    Attributes:
        hardware: The devices and their peaks.
        backend: The backend's class.
        because: Why nothing is measured; empty where something is.
    """

    hardware: ResolvedHardware
    backend: type[Backend]
    because: str = ""


def choose(config: RunConfig, model: ModelRef, say: Callable[[str], None]) -> Choice:
    """Decide hardware and backend: what the user named, else the best engine that is here, else the projection.

    Args:
        config: What was asked for.
        model: The model.
        say: Told one line before this host is probed.

    Raises:
        BadInputError: If what was asked for does not fit together.
        NotAvailableError: If nothing can be measured and projecting is refused.
    """
    asked = _asked_backend(config)
    hardware = _resolved(config, say)
    elsewhere = "" if hardware.is_local or config.endpoint is not None else _elsewhere(config, hardware)
    if asked is not None:
        if asked.projects:
            return Choice(hardware, asked, elsewhere or "a projection was asked for with --backend")
        if elsewhere:
            raise NotAvailableError(
                f"{elsewhere}, so backend {asked.name!r} can measure nothing on it; leave --backend out to project, or "
                "measure this machine with --hw auto"
            )
        return Choice(hardware, asked)
    if elsewhere:
        return Choice(hardware, _projection(config, elsewhere), elsewhere)
    found = _best_engine(model, hardware)
    return found if isinstance(found, Choice) else Choice(hardware, _projection(config, found), found)


def _asked_backend(config: RunConfig) -> type[Backend] | None:
    """The backend that the user named, or that an endpoint means; ``None`` where moecap is to choose."""
    name = config.backend
    if name == "auto":
        if config.endpoint is None:
            return None
        name = "openai"
    chosen: type[Backend] = load_plugin(BACKENDS, name)
    if chosen.projects and config.measured:
        raise BadInputError(f"backend {name!r} measures nothing and --measured refuses that; leave one of the two out")
    if chosen.attaches and config.endpoint is None:
        raise BadInputError(f"backend {name!r} measures a server that runs already; give its URL with --endpoint")
    if config.endpoint is not None and not chosen.attaches:
        does = "measures no server" if chosen.projects else "starts its own engine"
        raise BadInputError(f"backend {name!r} {does}; leave --endpoint out, or take --backend openai")
    if reason := chosen.unavailable():
        raise NotAvailableError(f"backend {name!r}: {reason}")
    return chosen


def _resolved(config: RunConfig, say: Callable[[str], None]) -> ResolvedHardware:
    """The hardware that was asked for; of a server elsewhere the user has to name it."""
    if config.endpoint is not None and config.hw == "auto" and Target.parse(config.endpoint).host not in LOOPBACK:
        raise BadInputError(
            "--endpoint is on another machine: name its hardware with --hw (moecap hw list shows the names)"
        )
    return resolve_hardware(config.hw, count=config.num_gpus, cache_dir=cache_root(), progress=say)


def _elsewhere(config: RunConfig, hardware: ResolvedHardware) -> str:
    """What is the case where the hardware is not this machine's."""
    profile = hardware.profile
    asked = config.hw if config.hw.lower() == profile.id else f"{config.hw} ({profile.id})"
    if hardware.available:
        return f"{hardware.count} of {asked} were asked for and this machine has {hardware.available}"
    return f"{asked} is not in this machine"


def _best_engine(model: ModelRef, hardware: ResolvedHardware) -> Choice | str:
    """The first engine that is installed, or why none is; the embedded model on a host runs in process."""
    order = ENGINES if hardware.profile.kind != "host" or model.origin != "embedded" else ENGINES[::-1]
    names, reasons = plugin_names(BACKENDS), []
    for name in [n for n in order if n in names]:
        candidate: type[Backend] = load_plugin(BACKENDS, name)
        reason = candidate.unavailable()
        if reason is None:
            return Choice(hardware, candidate)
        reasons.append(f"{name}: {reason}")
    return f"no engine can run here ({'; '.join(reasons) or 'none is installed'})"


def _projection(config: RunConfig, because: str) -> type[Backend]:
    """The backend that projects, unless the user refuses that.

    Raises:
        NotAvailableError: If nothing can be measured and the run is to measure.
    """
    if config.measured:
        raise NotAvailableError(
            f"{because}, so nothing can be measured, and --measured refuses to project; run this where it can be "
            "measured, or leave --measured out"
        )
    projection: type[Backend] = load_plugin(BACKENDS, PROJECTION)
    return projection
