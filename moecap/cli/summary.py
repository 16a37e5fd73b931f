"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from moecap.cli.output import Answers
from moecap.cli.table import show_table
from moecap.metrics.value import Metric
from moecap.report.figures import display, display_range
from moecap.result import Result

__all__ = ["print_summary"]

PHASES = ("prefill", "decode", "mixed", "score")
GROUPS: dict[str, tuple[tuple[str, str], ...]] = {
    "Speed": (
        ("ttft.p50", "time to first token, median"),
        ("tpot.p50", "time per output token, median"),
        ("itl.p50", "inter-token latency, median"),
        ("itl.p99", "inter-token latency, 99th percentile"),
        ("output_tokens_per_second", "output tokens a second"),
        ("requests_per_second", "requests a second"),
        ("failed_requests", "failed requests"),
        ("busy_fraction", "share of time in engine steps"),
    ),
    "Experts": (
        ("experts.distinct_mean", "distinct experts, a decode step and layer"),
        ("experts.distinct_expected_uniform", "the same if tokens chose uniformly"),
        ("experts.load_entropy", "evenness of the load (1 = even)"),
    ),
    "Cost": (
        ("cost_per_million_output_tokens", "a million output tokens, all-in"),
        ("cost_per_million_tokens", "a million tokens, 3 input : 1 output"),
        ("energy_per_output_token", "energy per output token"),
        ("peak_memory_bytes", "peak memory of the processes"),
    ),
}


def print_summary(result: Result) -> None:
    """Print a result's headline numbers, each with its unit, its n and its reason where it has no value."""
    console = Answers(120)
    console.print()
    head = Text(f"{result.model.name} on {result.hardware.name}", style="bold")
    if result.status != "complete":
        head.append(f"  {result.status}: {result.reason}", style="bold red")
    console.print(head)
    config = result.workload
    setting = (
        f"{result.backend.name} {result.backend.version}, {result.model.weight_dtype}; {config.num_requests} requests "
        f"{config.shape} {config.pace}"
    )
    console.print(Text(setting, style="dim"))
    columns = ("utilisation", "S-MBU", "MBU", "S-MFU", "MFU", "steps", "time")
    show_table(console, columns, _utilisation(result), right=columns[1:])
    show_table(console, ("", "", "", ""), _metrics(result), right=(1, 2))
    for flag in result.flags:
        style = "dim" if flag.level == "info" else "yellow"
        console.print(Text(f"{flag.level}: {flag.text}", style=style))


SESSIONS = (
    ("session.e2e.p50", "a whole session, median"),
    ("session.prefill_share", "share of its time up to first tokens"),
    ("session.decode_share", "share after first tokens"),
    ("session.tool_share", "share in tools and waits"),
    ("session.turns_mean", "turns"),
)
"""Shown where there are sessions."""


def _utilisation(result: Result) -> Iterator[list[str]]:
    for phase in PHASES:
        time = result.metrics[f"{phase}.time"]
        if time.value is None:
            continue
        cells = [display_range(result.metrics[f"{phase}.{name}"]) for name in ("s_mbu", "mbu", "s_mfu", "mfu")]
        yield [phase, *cells, str(time.n), display(time)]


def _metrics(result: Result) -> Iterator[list[str | Text]]:
    accuracy = tuple((name, name.removeprefix("accuracy.")) for name in result.metrics if name.startswith("accuracy."))
    turns = result.metrics.get("session.turns_mean")
    sessions = SESSIONS if turns is not None and turns.value is not None else ()
    for group, names in (*GROUPS.items(), ("Sessions", sessions), ("Accuracy", accuracy)):
        if not names:
            continue
        yield [Text(group, style="bold")]
        for name, label in names:
            metric = result.metrics[name]
            yield [f"  {label}", display(metric), f"n {metric.n}" if metric.n else "", _remark(metric)]


def _remark(metric: Metric) -> Text:
    if metric.reason:
        return Text(metric.reason, style="dim")
    if metric.low is not None and metric.high is not None:
        return Text(f"95 % interval {metric.low:.3f} to {metric.high:.3f}", style="dim")
    return Text("")
