"""The memories of a declared layout: what a step of each phase takes from each, and which one binds."""

from __future__ import annotations

from moecap.metrics.memory_layout import TIERS, TierName
from moecap.metrics.tier_utilisation import TIER_PHASES, binding_tier
from moecap.metrics.tiers import tier_peak
from moecap.metrics.value import Metric, absent
from moecap.report.figures import NO_VALUE, with_prefix
from moecap.report.markup import Child, Html, data_table
from moecap.report.section import metric_value
from moecap.result import Result

__all__ = ["tier_table"]

MEMORIES: dict[TierName, str] = {
    "hbm": "accelerator (hbm)",
    "link": "link to the host",
    "dram": "host's memory (dram)",
    "ssd": "drives (ssd)",
}


def tier_table(result: Result) -> Html | None:
    """The table; ``None`` where no layout was declared or no step of the load has known bytes."""
    layout, metrics = result.workload.layout, result.metrics
    if layout is None:
        return None

    def get(name: str, unit: str) -> Metric:
        return metrics.get(name, absent(unit, "not in this result"))

    rows: list[tuple[Child, ...]] = []
    for phase in TIER_PHASES[:-1]:
        least, binding = get(f"{phase}.least_step_time", "s"), binding_tier(phase, metrics)
        for name in TIERS:
            amount = get(f"{phase}.tier.{name}.bytes_per_step", "B")
            if not amount.value:
                continue
            peak, source = tier_peak(name, layout, result.hardware.profile)
            key = f"{phase}.tier.{name}.utilisation"
            binds = metric_value(f"{phase}.least_step_time", least) if name == binding else ""
            rows.append(
                (
                    phase,
                    MEMORIES[name],
                    metric_value(f"{phase}.tier.{name}.bytes_per_step", amount),
                    NO_VALUE if peak is None else with_prefix(peak, "B/s"),
                    metric_value(key, get(key, "1"), reason=False),
                    binds,
                    source,
                )
            )
    if not rows:
        return None
    heads = (
        "Phase",
        "Memory",
        "Bytes a step",
        "Peak",
        "Utilisation",
        "Binds: a step's least time",
        "Source of the peak",
    )
    caption = "What a step takes from each memory of the layout that the user declared; it was not observed"
    return data_table(caption, heads, rows, numeric=(2, 3, 4, 5), class_="tiers")
