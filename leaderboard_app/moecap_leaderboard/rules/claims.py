"""Rules on names: what bears the name of hardware or of a model that is known here must be that."""

from __future__ import annotations

from functools import cache

from moecap.errors import MoecapError
from moecap.hardware.registry import load_profile, packaged_id
from moecap.models.accounting import count_parameters
from moecap.models.registry import PackagedModel, load_model, packaged_models
from moecap_leaderboard.prices import price_difference
from moecap_leaderboard.rules.rule import Evidence, Finding, Rule, failed, flagged, passed, skipped

__all__ = ["CLAIM_RULES"]


def _profile(evidence: Evidence) -> Finding:
    hardware = evidence.result.hardware
    profile = hardware.profile
    if hardware.source == "file":
        named = packaged_id(profile.id) or packaged_id(profile.name)
        return flagged(f"a profile file bears the name of {named}") if named else skipped("its profile is a file")
    if hardware.source == "probed" and (not profile.id.startswith("host-") or packaged_id(profile.name)):
        return failed(f"a probed host has an id that begins with host- and no name of known hardware, not {profile.id}")
    problems = [problem] if (problem := price_difference(evidence.result)) else []
    known = packaged_id(profile.id)
    if hardware.source == "packaged" and known is not None:
        here = load_profile(known)
        if profile.tdp_watts != here.tdp_watts:
            problems.append(f"its design power is {profile.tdp_watts} W and {here.tdp_watts} here")
        if profile.memory_bytes not in (here.memory_bytes, *here.memory_options_bytes):
            problems.append(f"its memory is {profile.memory_bytes} bytes and {here.memory_bytes} here")
    return flagged("; ".join(problems)) if problems else passed()


def _model(evidence: Evidence) -> Finding:
    model = evidence.result.model
    name = model.id.lower()
    found = _packaged().get(name) or _packaged().get(name.rpartition("/")[2])
    sizes = _sizes(found) if found else None
    if found is None or sizes is None:
        return skipped("no model of this name is packaged")
    if (model.total_params, model.active_params) == sizes:
        return passed()
    detail = (
        f"{model.id} has {model.total_params} parameters, {model.active_params} of them active, and {found.hub_id} has "
        f"{sizes[0]} and {sizes[1]}"
    )
    return failed(f"{detail}; name it otherwise") if name == found.hub_id.lower() else flagged(detail)


@cache
def _packaged() -> dict[str, PackagedModel]:
    """The packaged models by their ids on the hub, and by the last parts of these."""
    models = packaged_models()
    return {m.hub_id.rpartition("/")[2].lower(): m for m in models} | {m.hub_id.lower(): m for m in models}


@cache
def _sizes(packaged: PackagedModel) -> tuple[int, int] | None:
    """Total and active parameters; ``None`` of a configuration that cannot be read."""
    try:
        count = count_parameters(load_model(packaged.name)[0])
    except MoecapError:
        return None
    return count.total, count.active


CLAIM_RULES = (
    Rule("profile", "Rent, memory and design power of known hardware are those that are known here.", _profile),
    Rule("model", "A model that bears the name of a packaged one has its parameters.", _model),
)
