"""Remarks on a projection: that nothing was measured, how far off it may be, and what it rests on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from moecap.config import TASKS_AS_LOAD, RunConfig
from moecap.metrics.value import Metric
from moecap.observations.reader import Observations
from moecap.projection.coefficients import generation
from moecap.projection.known_errors import KnownErrors
from moecap.projection.record import ProjectionRecord
from moecap.result import Flag, HardwareRecord, ModelRecord
from moecap.runner.flags import few_requests_flags, profile_flags
from moecap.runner.layout_flags import layout_flags
from moecap.runner.served_flags import queue_flags

__all__ = ["projection_flags", "unmeasured_lines"]

DEVICES_OF_A_SERVER = 8
"""Devices that share fast links where the profile names no larger domain."""

TESTED_VENDOR = "NVIDIA"
"""Whose chips the published results are of."""

QUOTED = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "output_throughput": "output throughput",
    "energy_per_output_token": "energy of a token",
}
"""Quantities whose errors are told."""


def projection_flags(
    workload: RunConfig,
    model: ModelRecord,
    hardware: HardwareRecord,
    record: ProjectionRecord,
    metrics: dict[str, Metric],
    observations: Observations,
) -> Iterator[Flag]:
    """The flags of a run that projects; a pure function of what its directory holds, so that anyone can derive them.

    Args:
        workload: The configuration, as the result states it.
        model: The model.
        hardware: The hardware.
        record: What the projection rests on.
        metrics: The run's metrics.
        observations: The simulated load.
    """
    yield Flag(
        name="projected",
        level="warning",
        text="Nothing was measured: every number is computed by a model of the engine on the hardware. Low and high "
        f"are an 80 % prediction interval and no confidence interval. {_error_sentence(record.known)}",
    )
    yield Flag(name="projection_basis", level="info", text=_basis(record, hardware))
    if model.is_moe:
        yield Flag(name="projected_routing", level="info", text=f"Routing of the experts: {record.routing_source}.")
    else:
        yield Flag(name="dense", level="info", text="The model is dense: S-MBU equals MBU and S-MFU equals MFU.")
    if workload.natural_end or workload.dataset == TASKS_AS_LOAD:
        yield Flag(
            name="answers_at_most",
            level="warning",
            text="Where answers would end is not known: each is taken at the most tokens that it may have.",
        )
    if metrics["energy_per_output_token"].value is not None:
        yield Flag(
            name="energy_scope",
            level="info",
            text="Energy is that of the accelerator boards by a model of their power; the host is not in it.",
        )
    requests = observations.requests
    again = int((requests["recomputed_tokens"].fillna(0) > 0).sum())
    if again:
        yield Flag(
            name="preempted",
            level="warning",
            text=f"{again} of {len(requests)} requests lose their place in the KV cache and are fed again: it is too "
            "small for this load.",
        )
    servers = _one_server(hardware)
    if record.split.devices > servers:
        yield Flag(
            name="one_server",
            level="warning",
            text=f"{record.split.devices} devices are more than the {servers} that share fast links: the network "
            "between servers is not in the projection, which is too fast by what it costs.",
        )
    if untested := _untested(workload, hardware, requests):
        yield Flag(
            name="interval_untested",
            level="info",
            text="The interval was tested on fixed numbers in flight and on queued loads of single requests, on chips "
            f"of {TESTED_VENDOR}; it was not for {', '.join(untested)}.",
        )
    yield from layout_flags(workload.layout, metrics)
    yield from profile_flags(hardware)
    yield from few_requests_flags(workload, requests)
    if workload.load == "open":
        yield from queue_flags(requests)


def unmeasured_lines(because: str, record: ProjectionRecord) -> tuple[str, ...]:
    """What the user of a projection is told before its numbers.

    Args:
        because: Why nothing is measured.
        record: What the projection rests on.
    """
    return (
        f"{because[:1].upper()}{because[1:]}: every number that follows is computed, none is measured.",
        _error_sentence(record.known),
        "moecap run --measured refuses to project; docs/projection.md says what this rests on.",
    )


def _error_sentence(known: KnownErrors | None) -> str:
    """How far off the projection was on published results that it was not fitted on."""
    if known is None:
        return "It was not tested on published results since its coefficients were fitted."
    told = [
        f"{words} {100 * error.median_abs_error:.0f} % ({error.n} values, {100 * error.interval_coverage:.0f} % of "
        "them inside the interval)"
        for name, words in QUOTED.items()
        if (error := known.quantities.get(name)) is not None
    ]
    return f"Median error on published results that it was not fitted on, {known.date}: {', '.join(told)}."


def _untested(workload: RunConfig, hardware: HardwareRecord, requests: pd.DataFrame) -> list[str]:
    """What of a run no published result was like."""
    cases = {
        "arrivals at a rate or of a trace": workload.load == "open",
        "sessions": bool(requests["session"].notna().any()),
        "prefix caches": workload.allow_prefix_cache,
        "layouts": workload.layout is not None,
        f"chips of {hardware.profile.vendor}": hardware.profile.vendor != TESTED_VENDOR,
    }
    return [case for case, given in cases.items() if given]


def _one_server(hardware: HardwareRecord) -> int:
    """Devices of one kind that share fast links."""
    link = hardware.profile.interconnect
    domain = re.search(r"(\d+)-GPU domain", link.technology) if link is not None else None
    return int(domain[1]) if domain is not None else DEVICES_OF_A_SERVER


def _basis(record: ProjectionRecord, hardware: HardwareRecord) -> str:
    """Whether engine and chip are among those that were fitted."""
    coefficients = record.coefficients
    fit, kind = coefficients.fit, generation(hardware.profile)
    engine = f"the costs of {record.engine} were fitted"
    if kind in coefficients.generations:
        chip = f"so were chips of its generation ({kind})"
    else:
        known = " and ".join(coefficients.generations)
        chip = f"no chip of its generation ({kind}) was: what holds for {known} is taken to hold, with wider intervals"
    return f"Efficiencies and costs are fitted on {fit.rows} {fit.source} ({fit.date}): {engine}, {chip}."
