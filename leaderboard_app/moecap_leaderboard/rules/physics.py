"""Rules on what the hardware and the model allow.

On an accelerator the bound is the datasheet's, and more than 5 % above it is refused. On a host it is flagged, since
its caches can serve a small model and its peak was probed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moecap.errors import MoecapError
from moecap.metrics.summary import RunFacts, hardware_peaks
from moecap.models.accounting import cache_bytes, checkpoint_bytes, decode_step_bytes
from moecap.models.products import format_names
from moecap.models.step import linear_flops_per_token, lm_head_flops
from moecap_leaderboard.rules.rule import Evidence, Finding, Rule, failed, flagged, passed, skipped

__all__ = ["PHYSICS_RULES", "SLACK"]

Times = npt.NDArray[np.float64]

SLACK = 1.05
"""Largest multiple of a datasheet's figure that is not refused."""

_PHASES = ("prefill", "decode", "mixed", "all", "score")
_UNKNOWN = "the model or the hardware cannot be read"
_ELSEWHERE = "weights lie in several memories by a declared layout"


def _beyond(evidence: Evidence, detail: str) -> Finding:
    return failed(detail) if evidence.on_accelerator else flagged(f"{detail} (a host's caches can serve a small model)")


def _utilisation(evidence: Evidence) -> Finding:
    names = [f"{phase}.{name}" for phase in _PHASES for name in ("s_mbu", "s_mbu_paper", "s_mfu")]
    names += [name for name in evidence.result.metrics if ".tier." in name and name.endswith(".utilisation")]
    values = {name: evidence.value(name) for name in names}
    above = {name: value for name, value in values.items() if value is not None and value > SLACK}
    if above:
        return _beyond(evidence, ", ".join(f"{name} is {value:.2f}" for name, value in above.items()) + " of the peak")
    return passed() if any(value is not None for value in values.values()) else skipped("no utilisation is stated")


def _roofline(evidence: Evidence) -> Finding:
    facts, observations, rate = evidence.facts, evidence.observations, evidence.value("output_tokens_per_second")
    if facts is None or observations is None or rate is None:
        return skipped(_UNKNOWN if facts is None or observations is None else "no rate of tokens is stated")
    if facts.layout is not None:
        return skipped(_ELSEWHERE)
    load = observations.requests[observations.requests["stage"] == "load"]
    sequences = _most_in_flight(
        load["sent_ns"].to_numpy(float), load["ended_ns"].fillna(load["sent_ns"]).to_numpy(float)
    )
    sequences *= int(load["choices"].fillna(1).max()) if len(load) else 1
    try:
        memory, arithmetic = _most_tokens(facts, max(sequences, 1))
    except MoecapError as error:
        return skipped(str(error))
    found = passed() if memory or arithmetic else skipped("no peak of the hardware is known")
    if memory is not None and rate > SLACK * memory:
        detail = f"{rate:.4g} tokens/s of {sequences} sequences are more than the {memory:.4g} that their reads allow"
        # a server of somebody else may speculate, and then gives several tokens a pass
        found = flagged(f"{detail} one token a pass") if facts.attached else _beyond(evidence, detail)
    elif arithmetic is not None and rate > SLACK * arithmetic:
        found = _beyond(evidence, f"{rate:.4g} tokens/s are more than the {arithmetic:.4g} that the FLOPs allow")
    return found


def _most_in_flight(sent: Times, ended: Times) -> int:
    """The most requests at one moment."""
    if not len(sent):
        return 0
    times = np.concatenate([ended, sent])  # at the same moment one ends before another is sent
    change = np.concatenate([np.full(len(ended), -1), np.ones(len(sent), np.int64)])
    return int(np.cumsum(change[np.argsort(times, kind="stable")]).max())


def _most_tokens(facts: RunFacts, sequences: int) -> tuple[float | None, float | None]:
    """Output tokens a second at which memory and arithmetic bind; a pass reads at least k experts of each layer."""
    spec, peaks = facts.spec, hardware_peaks(facts)
    fewest = min((layer.top_k for layer in spec.moe_layers if not layer.zero_experts), default=0)
    memory = arithmetic = None
    if peaks.bandwidth is not None:
        read = decode_step_bytes(spec, batch=sequences, context=1, experts=fewest, parallelism=facts.parallelism)
        memory = sequences * peaks.bandwidth / read.total
    rates = [peaks.flops.get(name) for name in format_names(spec, facts.compute_dtype)]
    if known := [rate for rate in rates if rate is not None]:
        arithmetic = max(known) / (linear_flops_per_token(spec) + lm_head_flops(spec))
    return memory, arithmetic


def _energy(evidence: Evidence) -> Finding:
    hardware = evidence.result.hardware
    joules, rate = evidence.value("energy_per_output_token"), evidence.value("output_tokens_per_second")
    power = evidence.value("energy.mean_power")
    if hardware.profile.tdp_watts is None or (joules is None and power is None):
        return skipped("no energy is stated" if joules is None and power is None else "no design power is known")
    most = SLACK * hardware.profile.tdp_watts * hardware.count
    if power is not None and power > most:
        return failed(f"a mean power of {power:.4g} W is more than {most:.4g} W, the design power and 5 %")
    if joules is not None and rate is not None and joules * rate > most:
        return failed(
            f"{joules:.4g} J/token at {rate:.4g} tokens/s are more than {most:.4g} W, the design power and 5 %"
        )
    return passed()


def _routing(evidence: Evidence) -> Finding:
    facts, observations = evidence.facts, evidence.observations
    if facts is None or observations is None:
        return skipped(_UNKNOWN)
    layers, steps = facts.spec.moe_layers, observations.steps
    distinct = steps.distinct_experts
    if not layers or not len(steps) or not len(distinct.values):
        return skipped("no step says its experts")
    if not (distinct.lengths() == len(layers)).all():
        return failed(f"a step has not one count of experts for each of {len(layers)} MoE layers")
    counts, tokens = distinct.values.reshape(len(steps), len(layers)), steps.tokens()[:, None]
    top_k = np.array([layer.top_k for layer in layers])
    fewest = np.where([layer.zero_experts > 0 for layer in layers], 0, top_k)
    most = np.minimum(tokens * top_k, np.array([layer.experts for layer in layers]))
    wrong = (counts < fewest) | (counts > most)
    if wrong.any():
        step, layer = np.argwhere(wrong)[0]
        return failed(
            f"step {step} of {tokens[step, 0]} tokens has {counts[step, layer]} distinct experts in MoE layer {layer}; "
            f"{fewest[layer]} to {most[step, layer]} are possible"
        )
    return passed()


def _memory(evidence: Evidence) -> Finding:
    facts, observations = evidence.facts, evidence.observations
    if facts is None or observations is None:
        return skipped(_UNKNOWN)
    if facts.layout is not None:
        return skipped(_ELSEWHERE)
    if facts.profile.memory_bytes is None:
        return skipped("the memory of the hardware is not known")
    requests = observations.requests
    asked = requests["input_tokens"].fillna(requests["input_tokens_asked"]) + requests["output_tokens"].fillna(0)
    context = int(asked.max()) if len(asked) else 1
    try:
        held = checkpoint_bytes(facts.spec, facts.parallelism)
        needed = held + cache_bytes(facts.spec, max(context, 1), facts.parallelism)
    except MoecapError as error:
        return skipped(str(error))
    room = facts.profile.memory_bytes * facts.devices
    if needed > room:
        detail = f"weights and one sequence take {needed / 1e9:.1f} GB and the devices have {room / 1e9:.1f} GB"
        return failed(detail) if evidence.on_accelerator else flagged(f"{detail} (a host can read weights from a file)")
    return passed()


PHYSICS_RULES = (
    Rule("utilisation", "No utilisation is above 1.05 of the peak.", _utilisation),
    Rule("roofline", "Tokens a second lie under the roofline, read from the requests alone.", _roofline),
    Rule("energy", "The energy is no more than 1.05 of the design power for the time.", _energy),
    Rule("routing", "Distinct experts lie between k and what the tokens of a step can select.", _routing),
    Rule("memory", "Weights and the longest sequence fit the memory of the devices.", _memory),
)
