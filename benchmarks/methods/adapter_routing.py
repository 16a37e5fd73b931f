"""Adapter routing on pairs of digits and on texts: the figures of docs/methods/adapter_routing.md.

usage: python benchmarks/methods/adapter_routing.py [--output runs/adapter_routing] [--seeds 3] [--texts full]

The digits are trained on beside no engine, with one thread, and judged by all their test images. With --texts SIZE the
texts follow, by a run of that size (or of its own arguments, --texts steps=24,shot_steps=5), which is not made again
where it is complete. Printed: the tables of the documentation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from kept_runs import kept_run

from moecap.tasks.adapter_routing.digit_network import DigitNetwork
from moecap.tasks.adapter_routing.digit_pairs import digit_pairs
from moecap.tasks.adapter_routing.experiment import Experiment
from moecap.tasks.adapter_routing.settings import read_settings
from moecap.tasks.adapter_routing.variants import ADAPTATIONS, VARIANTS
from moecap.tasks.method import method_metrics

TASK = "task.adapter_routing_"


def main() -> None:
    """Run both parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/adapter_routing"))
    parser.add_argument("--seeds", default="3")
    parser.add_argument("--texts", help="a size, or arguments parted by commas")
    parser.add_argument("--limit", type=int, default=0, help="test texts of each task at most; 0 for all")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings, started = read_settings({"seeds": arguments.seeds}), time.perf_counter()
    experiment = Experiment(settings, digit_pairs())
    for seed in range(settings.seeds):
        experiment.run(seed, DigitNetwork(seed))
    tables = {name: pd.DataFrame(columns) for name, columns in experiment.facts.columns.items()}
    metrics = method_metrics({"adapter_routing": tables}, None)
    print(f"\ndigits: {settings.seeds} seeds in {time.perf_counter() - started:.0f} s")
    print_tables({name: metric.model_dump() for name, metric in metrics.items()}, tables["scores"])
    if arguments.texts:
        asked = arguments.texts.split(",") if "=" in arguments.texts else [f"size={arguments.texts}"]
        options: dict[str, Any] = {"limit": arguments.limit}
        if arguments.model:
            options["model"] = arguments.model
        asked = ["data=glue", f"seeds={arguments.seeds}", *asked]
        result = kept_run(arguments.output / "texts", "adapter_routing", *asked, **options)
        print(f"\ntexts: {result['provenance']['seconds']['task.adapter_routing']:.0f} s, {result['model']['id']}")
        scores = pd.read_parquet(arguments.output / "texts" / "adapter_routing.scores.parquet")
        print_tables(result["metrics"], scores)


def print_tables(metrics: Mapping[str, Any], scores: pd.DataFrame) -> None:
    """Accuracies with those of each seed, then what the adapters are made of and how tasks share them."""
    print("| variant | training tasks |", " | ".join(ADAPTATIONS), "|")
    for variant in VARIANTS:
        cells = [_seeds(scores, "multitask", variant, "none")]
        cells += [_seeds(scores, "zero_shot" if how == "zero" else "few_shot", variant, how) for how in ADAPTATIONS]
        print(f"| {variant} |", " | ".join(cells), "|")
    names = ("adapter_parameters", "active_adapter_parameters", "routing_entropy", "task_cosine", "gradient_alignment")
    print("\n| variant |", " | ".join((*names, "forward_overhead")), "|")
    for variant in VARIANTS:
        found = [metrics.get(f"{TASK}{name}_{variant}", {}).get("value") for name in (*names, "forward_overhead")]
        print(f"| {variant} |", " | ".join("" if value is None else f"{value:.4g}" for value in found), "|")
    print("\nparameters that learn from the shots:")
    for name, metric in metrics.items():
        if name.startswith(f"{TASK}trained_parameters_"):
            print(f"  {name.removeprefix(f'{TASK}trained_parameters_')}: {metric['value']:.0f}")
    print(f"  a pass of the frozen model: {metrics[f'{TASK}forward_seconds_none']['value']:.3g} s")


def _seeds(scores: pd.DataFrame, stage: str, variant: str, adaptation: str) -> str:
    rows = scores[(scores.stage == stage) & (scores.variant == variant) & (scores.adaptation == adaptation)]
    if rows.empty:
        return ""
    sums = rows.groupby("seed")[["right", "n"]].sum()
    shares = sums["right"] / sums["n"]
    return f"{shares.mean():.3f} [{' '.join(f'{share:.3f}' for share in shares)}]"


if __name__ == "__main__":
    main()
