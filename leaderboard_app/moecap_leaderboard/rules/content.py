"""Rules on what was sent: whole, unchanged, and every number following from the observations."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

import moecap
from moecap.metrics.repeats import repeat_values, whole_repeats
from moecap.observations.repeats import repeat_numbers
from moecap.result import Result
from moecap.verification.statements import Difference
from moecap_leaderboard.metrics import HEADLINES
from moecap_leaderboard.rules.rule import Evidence, Finding, Rule, failed, flagged, passed, skipped

__all__ = ["CONTENT_RULES"]

CLOCK_SLACK = timedelta(minutes=10)
"""How far ahead of the server the clock of a submitter may be."""

SECONDS_ROUNDED = 2.0
"""Start and end of a run are whole seconds."""

COUNT_TOLERANCE = 0.01

_NAMED = 3
_SCORED = ("accuracy", "task")
_SECRET = "a key or password"
_NOTHING = "no observations came"
_UNREADABLE = "the observations cannot be read"
_TIMES = ["sent_ns", "first_token_ns", "last_token_ns", "ended_ns"]


def _identity(evidence: Evidence) -> Finding:
    result = evidence.result
    try:
        found = result.canonical_id()
    except ValueError as error:
        return failed(f"the result holds what canonical JSON cannot ({error})")
    if found != result.id:
        return failed(
            f"the id is {result.id[:12]!r}… and its content gives {found[:12]!r}…: it was changed after the run"
        )
    return passed()


def _completed(evidence: Evidence) -> Finding:
    result = evidence.result
    return passed() if result.status == "complete" else failed(f"the run is {result.status} ({result.reason})")


def _files(evidence: Evidence) -> Finding:
    if evidence.partial is None:
        return skipped(_NOTHING) if evidence.result.kind == "imported" else failed(_NOTHING)
    if evidence.missing:
        return failed(f"{', '.join(evidence.missing)} did not come; only {_may_stay()} may stay at home")
    if evidence.surplus:
        return failed(f"{', '.join(evidence.surplus)} came and the result does not name it")
    corrupt = [name for name in evidence.partial.verification.corrupt if name in evidence.sent]
    if corrupt:
        problem = evidence.partial.verification.problem
        return failed(f"{', '.join(corrupt)} is changed or unreadable" + (f": {problem}" if problem else ""))
    return passed(f"without {', '.join(evidence.withheld)}" if evidence.withheld else "")


def _may_stay() -> str:
    from moecap.publishing.withholding import WITHHOLDABLE

    return ", ".join(WITHHOLDABLE)


def _recomputation(evidence: Evidence) -> Finding:
    if evidence.partial is None:
        return skipped(_NOTHING)
    found = evidence.partial.verification
    if found.problem:
        return failed(f"the metrics cannot be recomputed: {found.problem}")
    new = _of_another_version(evidence)
    left_out = sorted(set(found.recomputed) - set(evidence.result.metrics) - new)
    known = {d.metric for d in found.differences}
    differences = (
        *(d for d in found.differences if d.metric not in new),
        *(Difference(name, None, found.recomputed[name].value) for name in left_out if name not in known),
    )
    if differences:
        first = differences[0]
        return failed(
            f"{len(differences)} statements do not follow, {first.metric} first: stated {first.stored}, "
            f"recomputed {first.recomputed}",
            differences,
        )
    if baseless := _baseless(evidence.result, evidence.partial.not_recomputed):
        return failed(baseless)
    aside, equal = len(evidence.partial.not_recomputed), found.checked - len(new)
    remarks = [f"{equal} metrics equal"]
    if aside:
        remarks.append(f"{aside} not recomputed")
    if new:
        remarks.append(f"{len(new)} that its version of moecap does not give")
    return passed(", ".join(remarks))


def _baseless(result: Result, stated: Collection[str]) -> str:
    """What of the scores that are published as stated cannot be: of a task that did not run, or no share of 1."""
    tasks = tuple(
        f"{kind}.{name}" for name in (*result.workload.task, *(t.name for t in result.tasks)) for kind in _SCORED
    )
    for name in stated:
        value = result.metrics[name].value
        if not name.startswith(tasks):
            return f"{name} is stated and no task of that name ran"
        if name.startswith("accuracy.") and value is not None and not 0 <= value <= 1:
            return f"{name} is {value:g} and a score lies between 0 and 1"
    return ""


def _of_another_version(evidence: Evidence) -> set[str]:
    """Metrics that this version of moecap gives and another, of the run, did not; none if it was the same version.

    Headlines are not among them: whoever claims another version could leave out those that look bad.
    """
    if evidence.partial is None or evidence.result.provenance.moecap == moecap.__version__:
        return set()
    given = {*evidence.result.metrics, *(headline.name for headline in HEADLINES)}
    return set(evidence.partial.verification.recomputed) - given


def _clock(evidence: Evidence) -> Finding:
    provenance = evidence.result.provenance
    started, finished = (_moment(time) for time in (provenance.started, provenance.finished))
    if started is None or finished is None:
        return failed("start or end of the run is no time with its zone")
    if finished > datetime.now(UTC) + CLOCK_SLACK:
        return failed(f"the run ends in the future, at {provenance.finished}")
    if evidence.observations is None:
        return skipped(_UNREADABLE)
    problem = _order_problem(evidence.observations.requests)
    if problem or evidence.result.kind != "measured":
        return failed(problem) if problem else passed()
    lasted, observed = (finished - started).total_seconds(), _observed_seconds(evidence.observations.requests)
    if observed > lasted + SECONDS_ROUNDED:
        return failed(f"the requests span {observed:.1f} s of a run that lasted {lasted:.0f} s")
    return passed()


def _moment(text: str) -> datetime | None:
    """The time that a text says with its zone; ``None`` where it says none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _order_problem(requests: pd.DataFrame) -> str:
    """The first request whose times do not follow one another; empty where all do."""
    times = requests[_TIMES].to_numpy(np.float64)
    latest = np.maximum.accumulate(np.where(np.isnan(times), -np.inf, times), axis=1)
    backwards = (times[:, 1:] < latest[:, :-1]).any(axis=1)
    if backwards.any():
        return f"a time of request {requests['request'].to_numpy()[backwards][0]} is before the one that it follows"
    early = requests["sent_ns"] < requests["scheduled_ns"]
    return f"request {requests.loc[early, 'request'].iloc[0]} was sent before its time" if early.any() else ""


def _observed_seconds(requests: pd.DataFrame) -> float:
    """Seconds from the first sending to the last time of any request."""
    if not len(requests):
        return 0.0
    return float(np.nanmax(requests[_TIMES].to_numpy(np.float64)) - requests["sent_ns"].min()) * 1e-9


def _counts(evidence: Evidence) -> Finding:
    if evidence.observations is None:
        return skipped(_UNREADABLE)
    requests = evidence.observations.requests
    load = requests[requests["stage"] == "load"]
    more = load["output_tokens"].fillna(0) > load["output_tokens_asked"]
    if more.any():
        return failed(f"request {load.loc[more, 'request'].iloc[0]} has more answer tokens than it asked for")
    unended = (load["status"] == "completed") & (load["ended_ns"].isna() | load["output_tokens"].isna())
    if unended.any():
        return failed(f"request {load.loc[unended, 'request'].iloc[0]} is completed without an end or without tokens")
    repeats = _repeats(evidence, load)
    unserved = sum(int((part["status"] != "completed").sum()) for part in repeats)
    if evidence.value("failed_requests") not in (None, unserved):
        return failed(f"{evidence.value('failed_requests')} failed requests are stated and {unserved} did not complete")
    name = "output_tokens_per_second_whole_run"
    rates = repeat_values(evidence.result.metrics, name) or (evidence.value(name),) * len(repeats)
    findings = [_whole_rate(part, rate) for part, rate in zip(repeats, rates, strict=False)]
    return next((found for found in findings if found != passed()), passed())


def _repeats(evidence: Evidence, load: pd.DataFrame) -> list[pd.DataFrame]:
    """The requests of each repeat whose numbers count."""
    workload = evidence.result.workload
    if workload.repeats == 1:
        return [load]
    number = repeat_numbers(load)
    return [load[number == n] for n in whole_repeats(load, workload.num_requests) or (0,)]


def _whole_rate(load: pd.DataFrame, rate: float | None) -> Finding:
    """The stated rate over the whole run against the tokens and times of its requests."""
    if rate is None or not len(load) or (load["status"] != "completed").any():
        return passed()
    seconds = (float(load["ended_ns"].max()) - float(load["sent_ns"].min())) * 1e-9
    tokens = float(load["output_tokens"].sum())
    if rate * seconds < tokens * (1 - COUNT_TOLERANCE) or rate * float(_span(load)) > tokens * (1 + COUNT_TOLERANCE):
        return failed(f"{rate:.4g} tokens/s over {seconds:.4g} s are not the {tokens:.0f} tokens of all answers")
    return passed()


def _span(load: pd.DataFrame) -> float:
    """Seconds from the first sending to the last token."""
    return float(load["last_token_ns"].max() - load["sent_ns"].min()) * 1e-9


def _disclosure(evidence: Evidence) -> Finding:
    if not evidence.private:
        return passed()
    told = "; ".join(f"{found.file} holds {found.what} ({found.shown})" for found in evidence.private[:_NAMED])
    secret = any(found.what == _SECRET for found in evidence.private)
    return failed(f"{told}; take it out and run again") if secret else flagged(told)


CONTENT_RULES = (
    Rule("identity", "The id is the SHA-256 of the result's canonical JSON.", _identity),
    Rule("completed", "The run is complete.", _completed),
    Rule("files", "Every file that the result names came with the digest that it states, and no other.", _files),
    Rule("recomputation", "Every metric, flag and statement follows from the observations.", _recomputation),
    Rule("clock", "Times run forwards, lie within the run, and are not in the future.", _clock),
    Rule("counts", "Requests, tokens and rates add up.", _counts),
    Rule("disclosure", "What came holds no key and no password, and no place or address of a machine.", _disclosure),
)
