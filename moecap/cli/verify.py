"""``moecap verify``: recompute a result."""

from __future__ import annotations

from pathlib import Path

__all__ = ["verify"]


def verify(run: Path | None = None, /, *, url: str | None = None, id: str | None = None, json: bool = False) -> int:
    """Check every file of a run directory and recompute every number of its result from the observations.

    Args:
        run: The run directory.
        url: A leaderboard whose result is to be checked. (not built yet)
        id: Id of that result. (not built yet)
        json: Print JSON.
    """
    from moecap.cli.output import print_json, print_table
    from moecap.errors import BadInputError, NotBuiltError
    from moecap.verification import verify_run

    if url is not None or id is not None:
        raise NotBuiltError("moecap verify --url is not built yet; download the run directory and verify that")
    if run is None:
        raise BadInputError("moecap verify needs a run directory, such as runs/20260101T000000Z-...")
    outcome = verify_run(run)
    if json:
        differences = [
            {"metric": d.metric, "stored": d.stored, "recomputed": d.recomputed} for d in outcome.differences
        ]
        answer = {"ok": outcome.ok, "differences": differences, "corrupt": list(outcome.corrupt)}
        print_json(answer | {"problem": outcome.problem or None})
    elif outcome.ok:
        print(f"ok: {outcome.checked} metrics recomputed from the observations, all equal")  # noqa: T201
    else:
        for name in outcome.corrupt:
            print(f"corrupt: {name} is missing, changed or unreadable")  # noqa: T201
        if outcome.problem:
            print(f"the metrics cannot be recomputed: {outcome.problem}")  # noqa: T201
        if outcome.differences:
            rows = [(d.metric, repr(d.stored), repr(d.recomputed)) for d in outcome.differences]
            print_table(("metric", "stored", "recomputed"), rows)
    return 0 if outcome.ok else 1
