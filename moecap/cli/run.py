"""``moecap run``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from moecap.config import RunConfig

__all__ = ["run"]


def run(
    *,
    config: Path | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    layout: Path | None = None,
    json: bool = False,
    options: Annotated[RunConfig | None, Parameter(name="*")] = None,
) -> int:
    """Measure a model on hardware and leave a run directory with every observation, the result and a report.

    With no option it measures the embedded default model on this machine: 20 requests of 64 tokens in and 32 out at
    concurrency 4, and the accuracy on 50 ARC-Easy questions. Hardware that is not in this machine is projected, and
    each number says so (docs/projection.md); --measured refuses that.

    Args:
        config: YAML file with any of these options as keys; options on the command line override it.
        set_: Any key of the run configuration as KEY=VALUE, such as cost.usd_per_hour=2.5; may be repeated.
        layout: A YAML file that says which memory holds what, for an engine that offloads (docs/engines.md).
        json: Print the result as JSON on stdout.
        options: The run configuration.
    """
    from moecap.cli.asked import asked_values
    from moecap.cli.output import print_json, remark
    from moecap.cli.summary import print_summary
    from moecap.errors import BadInputError
    from moecap.report.page import write_report
    from moecap.runner.reporter import Reporter
    from moecap.runner.run import run as run_config
    from moecap.settings import with_settings

    outcome = run_config(with_settings(asked_values(config, options, layout), set_), Reporter())
    drawn = True
    try:
        report = f"report  {write_report(outcome.directory)}"
    except BadInputError as error:  # what was measured is said all the same
        report, drawn = f"moecap: {error}", False
    try:
        if json:
            print_json(outcome.result.model_dump(mode="json"))
        else:
            print_summary(outcome.result)
    finally:  # where stdout is full, what was measured is found all the same
        remark(f"result  {outcome.directory / 'result.json'}")
        remark(report)
    if isinstance(outcome.error, KeyboardInterrupt):
        return 130
    if outcome.error is not None:
        remark(f"moecap: the run failed: {outcome.problem}; what was observed until then is stored")
        return 1
    return 0 if drawn else 1
