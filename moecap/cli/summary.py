"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from moecap.cli.output import Answers
from moecap.cli.table import show_table
from moecap.metrics.accuracy import JUDGE_FAILED, is_score
from moecap.metrics.value import Metric
from moecap.report.cap import cap_label, places
from moecap.report.figures import display, display_range, display_value
from moecap.report.headline import load_sentence
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
    count = f"{result.hardware.count} of " if result.hardware.count > 1 else ""
    head = Text(f"{result.model.name} on {count}{result.hardware.name}", style="bold")
    if result.kind == "projected":
        head = Text("PROJECTED, nothing was measured: ", style="bold yellow").append_text(head)
    if result.status != "complete":
        head.append(f"  {result.status}: {result.reason}", style="bold red")
    console.print(head)
    setting = f"{result.engine}, {result.model.weight_dtype}; {load_sentence(result)}"
    console.print(Text(setting, style="dim"))
    columns = ("utilisation", "S-MBU", "MBU", "S-MFU", "MFU", "steps", "time")
    show_table(console, columns, _utilisation(result), right=columns[1:])
    show_table(console, ("", "", "", ""), _metrics(result), right=(1, 2))
    if result.workload.task:
        console.print(_cap_point(result))
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


MEMORY = (
    ("memory.weights", "weights, over all devices"),
    ("memory.kv_cache", "room for KV caches"),
    ("memory.kv_cache_used_max", "most of it in use"),
)
"""Shown of a projection."""


def _utilisation(result: Result) -> Iterator[list[str]]:
    for phase in PHASES:
        time = result.metrics[f"{phase}.time"]
        if time.value is None:
            continue
        cells = [display_range(result.metrics[f"{phase}.{name}"]) for name in ("s_mbu", "mbu", "s_mfu", "mfu")]
        yield [phase, *cells, str(time.n), display(time)]


def _metrics(result: Result) -> Iterator[list[str | Text]]:
    scores = tuple((name, name.removeprefix("accuracy.")) for name in result.metrics if name.startswith("accuracy."))
    turns = result.metrics.get("session.turns_mean")
    sessions = SESSIONS if turns is not None and turns.value is not None else ()
    memory = MEMORY if "memory.weights" in result.metrics else ()
    for group, names in (*GROUPS.items(), ("Memory", memory), ("Sessions", sessions), ("Accuracy", scores)):
        if not names:
            continue
        yield [Text(group, style="bold")]
        for name, label in names:
            metric = result.metrics[name]
            if not name.startswith("accuracy.") or is_score(name):
                spread = result.metrics.get(f"{name}_stderr")
                remark = _remark(metric, None if spread is None else spread.value)
                yield [f"  {label}", display(metric), f"n {metric.n}" if metric.n else "", remark]
            elif metric.value and not name.endswith("_stderr"):
                judged = label.removesuffix(f"_{JUDGE_FAILED}")
                task, _, outcome = label.rpartition("_")
                told = (
                    ("without a verdict, no score", judged) if judged != label else (f"{outcome}, which is wrong", task)
                )
                yield [f"    of it {told[0]}", display(metric), f"n {metric.n}", Text(told[1], style="dim")]


def _cap_point(result: Result) -> Text:
    """Cost, accuracy and performance in one line, with the label, and whether they are of the same requests."""
    found = {place.axis.key: place for place in places(result.metrics, result.workload.task)}
    cost, accuracy, performance = (display(found[key].metric) for key in ("cost", "accuracy", "performance"))
    label = cap_label(tuple(found.values()))
    same = ", all of the same requests" if result.tasks and all(task.in_load for task in result.tasks) else ""
    point = f"cost {cost} a million output tokens, accuracy {accuracy}, performance {performance} a device"
    return Text(f"CAP point: {point}{same}; {label.text or f'no label: {label.reason}'}", style="bold")


def _remark(metric: Metric, standard_error: float | None = None) -> Text:
    if metric.reason:
        return Text(metric.reason, style="dim")
    if metric.low is not None and metric.high is not None:
        spread = "" if standard_error is None else f", standard error {standard_error:.3f}"
        low, high = (display_value(end, metric.unit) for end in (metric.low, metric.high))
        if metric.basis == "prediction":
            return Text(f"80 % prediction: {low} to {high}", style="dim")
        repeats = f", {len(metric.repeats)} repeats" if metric.repeats else ""
        return Text(f"95 % interval {low} to {high}{spread}{repeats}", style="dim")
    return Text("")
