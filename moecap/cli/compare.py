"""``moecap compare``: what differs between results, with intervals, and an exit status for CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moecap.comparison.comparison import Comparison

__all__ = ["compare"]


def compare(
    a: Path,
    b: Path,
    /,
    *others: Annotated[Path, Parameter(name="b")],
    fail_on: tuple[str, ...] = (),
    all: bool = False,
    force: bool = False,
    output: Path | None = None,
    json: bool = False,
) -> int:
    """Say what differs between runs, and whether it is more than noise.

    Intervals are over repeats where both have three or more, else from within each run by resampling blocks of its
    time; scores of the same questions are compared question by question.

    Args:
        a: Run directory or result file of the baseline.
        b: Run directory or result file to hold against it.
        others: More of them, each held against the baseline.
        fail_on: Exit 1 if a metric is worse by more than this, such as tpot:5%; may be repeated.
        all: Show every metric and not only the headline ones.
        force: Compare what is not comparable too: other loads, other tokenizers, measured with projected.
        output: Write the comparison to this file as one HTML page that needs no network.
        json: Print JSON.
    """
    from moecap.cli.output import print_json, print_line
    from moecap.comparison.comparison import compare_runs

    found = compare_runs(a, [b, *others], fail_on, force=force)
    failed = any(one.failed for one in found)
    if output is not None:
        from moecap.comparison.page import write_comparison_page

        write_comparison_page(found, output)
    if json:
        first = found[0].a
        print_json(
            {
                "a": {"path": first.name, "id": first.id, "title": first.title},
                "comparisons": [one.content() for one in found],
                "ok": not failed,
                "html": None if output is None else str(output),
            }
        )
    else:
        _print(found, every=all)
        if output is not None:
            print_line(f"html  {output}")
    return 1 if failed else 0


def _print(found: Sequence[Comparison], *, every: bool) -> None:
    from moecap.cli.output import print_line, print_table, remark
    from moecap.comparison.comparable import what_differs
    from moecap.comparison.wording import between, headlines, said, sentence
    from moecap.report.figures import display

    for number, one in enumerate(found):
        if number:
            print_line("")
        print_line(f"A  {one.a.title}, {one.a.about.get('engine', 'engine not stated')} ({one.a.name})")
        print_line(f"B  {one.b.title}, {one.b.about.get('engine', 'engine not stated')} ({one.b.name})")
        for text in one.obstacles:
            remark(f"not comparable: {text}")
        for text in one.remarks:
            remark(f"note: {text}")
        lines = list(one.lines) if every else headlines(one.lines)
        print_table(
            ("metric", "A", "B", "B against A, 95 % interval", "verdict"),
            [(line.name, display(line.a), display(line.b), between(line), said(line)) for line in lines],
            right=("A", "B"),
        )
        unlike = what_differs(one.a.about, one.b.about)
        if unlike:
            print_table(("differs", "A", "B"), [(name, x, y) for name, (x, y) in unlike.items()])
        print_line(sentence(one))
        for check in one.checks:
            print_line(f"{'FAILED' if check.failed else 'ok'}  {check.text}")
