"""What moecap projects for the question of the first page, beside what the board holds; nothing in it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from moecap.errors import MoecapError
from moecap.hardware.registry import list_profiles, load_profile, packaged_id
from moecap.models.registry import packaged_models
from moecap.projection.recommendation import Offer
from moecap.report.figures import TIMES
from moecap_leaderboard.pages.naming import engine_name, hardware_name
from moecap_leaderboard.pages.question import ANY, Question

__all__ = ["LENGTHS", "Projection", "offer_name", "packaged_name", "projected"]

LENGTHS = {
    ANY: (1024, 256),
    "short-short": (1024, 256),
    "long-short": (8192, 1024),
    "short-long": (1024, 8192),
    "long-long": (8192, 8192),
}
"""Tokens of a prompt and of an answer that stand for each shape of load."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Offers for a question.

    Attributes:
        offers: Rents first, the cheapest first.
        model: Id of the model that was projected; empty where there is none.
        lengths: Tokens of a prompt and of an answer.
        reason: Why there is no offer; empty where there is one.
        command: The command that gives the same.
    """

    offers: tuple[Offer, ...]
    model: str
    lengths: tuple[int, int]
    reason: str
    command: str


@lru_cache(4096)
def packaged_name(model: str) -> str | None:
    """The short name of the packaged configuration of a row's model, found without a network, if there is one.

    A row may leave out the organisation and an ending such as ``-Instruct``.
    """
    short = model.rsplit("/", maxsplit=1)[-1].lower()
    known = packaged_models()
    for packaged in known:
        if short in (packaged.name, *packaged.names, packaged.hub_id.rsplit("/", maxsplit=1)[-1].lower()):
            return packaged.name
    longer = [p.name for p in known if p.hub_id.rsplit("/", maxsplit=1)[-1].lower().startswith(f"{short}-")]
    return longer[0] if len(longer) == 1 else None


def projected(question: Question) -> Projection:
    """Offers that meet the bound of a question, each at the load that makes it cheapest.

    The number of requests in flight that is asked for is not kept: an offer says its own.
    """
    name, lengths = packaged_name(question.model), LENGTHS[question.shape]
    if name is None:
        reason = f"moecap has no configuration of {question.model or 'a model'} in its package"
        return Projection((), "", lengths, reason, "")
    hardware = packaged_id(question.hw) if question.hw != ANY else None
    if question.hw != ANY and hardware is None:
        return Projection((), name, lengths, f"{question.hw} is no packaged profile", "")
    words = ["moecap recommend --model", name, *(("--hw", hardware) if hardware else ())]
    words += ["--input-len", str(lengths[0]), "--output-len", str(lengths[1])]
    words += ["--slo", f"tpot={question.tpot}ms"] if question.tpot else []
    command = " ".join(words)
    found = _offers(name, hardware, *lengths, question.bound)
    if isinstance(found, str):
        return Projection((), name, lengths, found, command)
    most = None if question.gpus == ANY else int(question.gpus)
    kept = tuple(offer for offer in found if most is None or offer.devices <= most)
    reason = "" if kept else "no hardware with a known price keeps within the bound"
    return Projection(kept, name, lengths, reason, command)


def offer_name(offer: Offer) -> str:
    """Hardware and engine of an offer."""
    return f"{offer.devices} {TIMES} {hardware_name(offer.hardware, offer.hardware)}, {engine_name(offer.engine)}"


@lru_cache(maxsize=512)
def _offers(
    model: str, hardware: str | None, input_tokens: int, output_tokens: int, bound: float | None
) -> tuple[Offer, ...] | str:
    from moecap.models.registry import load_model
    from moecap.projection.coefficients import calibrated
    from moecap.projection.recommendation import offers

    try:
        spec, _ = load_model(model)
        if input_tokens + output_tokens > spec.max_context:
            return f"{input_tokens + output_tokens:,} tokens are more than its context of {spec.max_context:,}"
        profiles = [load_profile(hardware)] if hardware else list_profiles()
        found, _ = offers(
            spec,
            profiles,
            calibrated(),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            levels={} if bound is None else {"tpot": bound},
        )
    except MoecapError as error:
        return str(error)
    return tuple(found)
