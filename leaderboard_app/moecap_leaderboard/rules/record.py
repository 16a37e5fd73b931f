"""Rules that rest on what the leaderboard knows: keys, tombstones and the results that are reproduced."""

from __future__ import annotations

from collections.abc import Mapping

from moecap.errors import MoecapError
from moecap.metrics.value import Metric
from moecap.publishing.margin import compare_runs
from moecap.result import Result
from moecap_leaderboard.rules.rule import Finding, failed, flagged, passed, skipped

__all__ = ["RECORD_RULES", "reproduction", "signature", "standing"]

RECORD_RULES = {
    "signature": "A signature is valid; it counts where its key is registered by the submitter.",
    "standing": "Neither the result nor its observations were invalidated, nor are they another owner's.",
    "reproduction": "A repeated run is of another owner, the same configuration, and within the margins.",
}


def signature(result: Result, owner_of: Mapping[str, str], owner: str) -> Finding:
    """Whether the result is signed by its submitter.

    Args:
        result: The result.
        owner_of: Owners of the registered keys that are not revoked.
        owner: Who submits.
    """
    if result.signature is None:
        return skipped("it is not signed")
    from moecap.publishing.signing import signer

    try:
        key = signer(result)
    except MoecapError as error:
        return failed(str(error))
    if owner_of.get(str(key)) != owner:
        return flagged(f"the key {key} that signed it is not registered by {owner}: the signature does not count")
    return passed(f"by {key}")


def standing(barred: str | None) -> Finding:
    """Whether the result may stand.

    Args:
        barred: Why it may not: it was invalidated, or was sent before; ``None`` where it may.
    """
    return passed() if barred is None else failed(barred)


def reproduction(
    original: Mapping[str, Metric] | None,
    repeated: Mapping[str, Metric],
    *,
    same_owner: bool,
    same_configuration: bool,
) -> Finding:
    """Whether a submission reproduces the result that it names.

    Args:
        original: The metrics of the published result that it names; ``None`` where there is no such.
        repeated: Its own metrics.
        same_owner: Whether the owners are one.
        same_configuration: Whether model, hardware, engine and workload are the same.
    """
    if original is None:
        return failed("the result that it repeats is not published here")
    if same_owner:
        return flagged("it is of the same owner and does not count")
    if not same_configuration:
        return flagged("model, hardware, engine or workload is another: it does not count")
    compared = compare_runs(original, repeated)
    outside = [c for c in compared if not c.within]
    if not compared:
        return flagged("the two share no metric that has a margin")
    if outside:
        texts = ", ".join(f"{c.metric} {c.repeated:.4g} against {c.original:.4g}" for c in outside)
        return flagged(f"outside of the margin: {texts}")
    return passed(f"{', '.join(c.metric for c in compared)} within the margins")
