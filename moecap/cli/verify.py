"""``moecap verify``: recompute a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moecap.importing.verification import ImportVerification
    from moecap.verification.recomputation import Verification

__all__ = ["verify"]


def verify(run: str | None = None, /, *, data: Path | None = None, url: str | None = None, json: bool = False) -> int:
    """Check every file of a result and recompute every number of it from the observations.

    Questions and right answers of its tasks are compared with the data sets that are on this machine; nothing is
    fetched. With --url the files come from a leaderboard, where its author may have kept some.

    Args:
        run: The run directory, or with --url the id of a published result.
        data: The folder that the run had as --data.
        url: The leaderboard whose result is to be checked, such as https://HOST.
        json: Print JSON.
    """
    from moecap.errors import BadInputError
    from moecap.importing.record import is_imported
    from moecap.importing.verification import verify_imported
    from moecap.verification.recomputation import verify_run

    if run is None:
        raise BadInputError(
            "moecap verify needs a run directory, such as runs/20260101T000000Z-..., or --url and the id of a result"
        )
    if url is None and is_imported(Path(run)):
        return _answer_imported(verify_imported(Path(run)), json)
    if url is None:
        return _answer(verify_run(Path(run), data), {}, json)
    from moecap.cli.board import open_board
    from moecap.publishing.published import check_published, fetched

    with open_board(url) as board, fetched(board, run) as (folder, result):
        checked = check_published(folder, result, data)
    published = {"not_recomputed": list(checked.partial.not_recomputed), "signed_by": checked.signed_by}
    return _answer(checked.partial.verification, published, json)


def _answer(outcome: Verification, published: dict[str, Any], json: bool) -> int:
    from moecap.cli.output import print_json, print_line, print_table

    if json:
        differences = [
            {"metric": d.metric, "stored": d.stored, "recomputed": d.recomputed} for d in outcome.differences
        ]
        answer = {"ok": outcome.ok, "differences": differences, "corrupt": list(outcome.corrupt)}
        print_json(answer | {"problem": outcome.problem or None, "not_checked": dict(outcome.unchecked)} | published)
    elif outcome.ok:
        print_line(f"ok: {outcome.checked} metrics recomputed from the observations, all equal")
    else:
        for name in outcome.corrupt:
            print_line(f"corrupt: {name} is missing, changed or unreadable")
        if outcome.problem:
            print_line(f"the metrics cannot be recomputed: {outcome.problem}")
        if outcome.differences:
            rows = [(d.metric, repr(d.stored), repr(d.recomputed)) for d in outcome.differences]
            print_table(("metric", "stored", "recomputed"), rows)
    if not json:
        for task, why in outcome.unchecked.items():
            print_line(f"not checked: questions and right answers of {task}, since {why}")
        for name in published.get("not_recomputed", ()):
            print_line(f"not recomputed: {name}, since what it rests on was not published")
        if published:
            print_line(f"signed by {published['signed_by']}" if published["signed_by"] else "not signed")
    return 0 if outcome.ok else 1


def _answer_imported(outcome: ImportVerification, json: bool) -> int:
    from moecap.cli.output import print_json, print_line, print_table

    if json:
        differences = [
            {"metric": d.metric, "stored": d.stored, "recomputed": d.recomputed} for d in outcome.differences
        ]
        answer = {"ok": outcome.ok, "differences": differences, "corrupt": list(outcome.corrupt)}
        print_json(answer | {"problem": outcome.problem or None, "not_recomputed": list(outcome.as_stated)})
        return 0 if outcome.ok else 1
    for name in outcome.corrupt:
        print_line(f"corrupt: {name} is missing, changed or unreadable")
    if outcome.differences:
        rows = [(d.metric, repr(d.stored), repr(d.recomputed)) for d in outcome.differences]
        print_table(("metric", "stored", "recomputed"), rows)
    if outcome.ok:
        print_line(f"ok: {outcome.checked} metrics recomputed from the imported observations, all equal")
    stated = f"{len(outcome.as_stated)} metrics are as the source states them"
    print_line(f"not recomputed: {stated}{f', since {outcome.problem}' if outcome.problem else ''}")
    return 0 if outcome.ok else 1
