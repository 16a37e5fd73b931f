"""``moecap reproduce``: run a published result again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from moecap.client import Leaderboard, Submission
    from moecap.publishing.margin import Comparison

__all__ = ["reproduce"]


def reproduce(
    id: str,
    /,
    *,
    url: str,
    token: str | None = None,
    model: str | None = None,
    hw: str | None = None,
    endpoint: str | None = None,
    dataset: str | None = None,
    texts: str | None = None,
    data: Path | None = None,
    with_arguments: bool = False,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    output: Path | None = None,
    submit: bool = False,
    key: str | None = None,
    allow: tuple[str, ...] = (),
    json: bool = False,
) -> int:
    """Run a published result again on this machine and say whether it lies within the stated margin.

    The configuration is the result's own. What it names and does not hold, such as a local model, you give. Exit status
    0 where every metric that has a margin lies within it, else 1.

    Args:
        id: Id of the result.
        url: The leaderboard, such as https://HOST.
        token: Your key to it, for --submit; MOECAP_TOKEN is safer, which no other user sees.
        model: Where the model lies here, if the result's was a local folder.
        hw: A profile file, if the result's hardware was one.
        endpoint: Your server, if the result's ran already.
        dataset: The file of the data set, if the result's was one.
        texts: The file of the texts, if the result's was one.
        data: Folder with data sets in their published formats, in place of the cache.
        with_arguments: Take over the result's arguments for engine and tasks, which its author chose: read them first.
        set_: Any other key of the run configuration as KEY=VALUE; may be repeated.
        output: The run directory.
        submit: Send the new result too, as one that repeats this one.
        key: Name of the signing key for --submit; default: the one that is named default, if there is one.
        allow: With --submit, a text that looks private and may go all the same; may be repeated.
        json: Print JSON.
    """
    from moecap.cli.board import open_board
    from moecap.cli.output import print_json, print_line, print_table, remark
    from moecap.errors import BadInputError, RunError
    from moecap.publishing.margin import compare_runs
    from moecap.publishing.published import asked_result, differing, repeating_config
    from moecap.report.page import write_report
    from moecap.runner.reporter import Reporter
    from moecap.runner.reproduction import reproduction_command
    from moecap.runner.run import run

    given = {"model": model, "hw": hw, "endpoint": endpoint, "dataset": dataset, "texts": texts, "data": data}
    own: dict[str, Any] = {name: value for name, value in {**given, "output": output}.items() if value is not None}
    with open_board(url, token, needed_for="moecap reproduce --submit" if submit else "") as board:
        original = asked_result(board, id)
        config = repeating_config(original, own, set_, arguments=with_arguments)
        remark(f"repeating: {reproduction_command(config)}")
        outcome = run(config, Reporter())
        write_report(outcome.directory)
        remark(f"result  {outcome.directory / 'result.json'}")
        if isinstance(outcome.error, KeyboardInterrupt):
            return 130
        if outcome.error is not None:
            raise RunError(f"the run failed: {outcome.problem}; what was observed until then is stored")
        if others := differing(original, outcome.result):
            raise BadInputError(f"this is no repetition: {'; '.join(others)}; give what the result was measured with")
        compared = compare_runs(original.metrics, outcome.result.metrics)
        within = bool(compared) and all(comparison.within for comparison in compared)
        if not json:
            columns = ("metric", "original", "repeated", "difference", "margin", "within")
            print_table(columns, map(_row, compared))
            print_line(_verdict(compared, within))
        submission = _submitted(board, outcome.directory, id, key, allow) if submit else None
    if json:
        answer = {"within": within, "original": id, "repeated": outcome.result.id}
        stored = None if submission is None else submission.model_dump(mode="json")
        print_json({**answer, "metrics": [asdict(comparison) for comparison in compared], "submission": stored})
    elif submission is not None:
        print_line(f"submitted: {submission.state} as {submission.result}")
    return 0 if within else 1


def _submitted(board: Leaderboard, run: Path, original: str, key: str | None, allow: tuple[str, ...]) -> Submission:
    """Send the new result as one that repeats the original, after showing what leaves this machine."""
    from moecap.cli.output import remark
    from moecap.cli.submit import manifest_lines, signing_key
    from moecap.publishing.submission import prepare

    with TemporaryDirectory(prefix="moecap-") as folder:
        package = prepare(run, Path(folder), key=signing_key(key), allowed=allow)
        for line in manifest_lines(package.manifest, board.url):
            remark(line)
        return board.submit(package.result, package.observations, original)


def _row(found: Comparison) -> tuple[str, ...]:
    change = f"{found.repeated / found.original - 1:+.1%}" if found.original else "-"
    margin = "95 % intervals overlap" if found.margin is None else f"{found.margin:.0%}"
    return (
        found.metric,
        f"{found.original:.4g}",
        f"{found.repeated:.4g}",
        change,
        margin,
        "yes" if found.within else "no",
    )


def _verdict(compared: tuple[Comparison, ...], within: bool) -> str:
    if not compared:
        return "not reproduced: the two results share no metric that has a margin"
    outside = [found.metric for found in compared if not found.within]
    return "reproduced: every metric lies within its margin" if within else f"not reproduced: {', '.join(outside)}"
