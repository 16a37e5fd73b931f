"""The neuron probe on six languages with five splits, by neurons and by experts: for docs/methods/neuron_probe.md.

usage: python benchmarks/methods/neuron_probe.py [--output runs/neuron_probe] [--size full] [--units neuron,expert]

One run a kind of unit. A run that is complete is not made again, so that the command goes on where it was interrupted.
Printed: the tables of the documentation. The paper's own data and sizes: benchmarks/methods/neuron_probe_gpu.yaml.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings

MEASURES = ("acc", "acc_random", "acc_all", "acc_majority", "nmi")
OVERLAPS = ("overlap", "overlap_same_language", "significant")


def main() -> None:
    """Run what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/neuron_probe"))
    parser.add_argument("--size", default="full")
    parser.add_argument("--units", default="neuron,expert")
    arguments = parser.parse_args()
    for unit in arguments.units.split(","):
        found = result(arguments.output / f"{arguments.size}-{unit}", arguments.size, unit)
        begin = "task.neuron_probe_"
        metrics = {name.removeprefix(begin): m for name, m in found["metrics"].items() if name.startswith(begin)}
        print(f"\n{unit}: {found['provenance']['seconds']['task.neuron_probe']:.0f} s")
        print_cells(metrics)
        print_overlaps(metrics)


def result(folder: Path, size: str, unit: str) -> dict[str, Any]:
    """The result of a run, which is made unless it is there and complete."""
    path = folder / "result.json"
    if not path.exists() or json.loads(path.read_text())["status"] != "complete":
        if folder.exists():
            folder.rename(folder.with_name(f"{folder.name}~{len(list(folder.parent.glob(folder.name + '~*'))) + 1}"))
        options = {
            "backend": "transformers",
            "task": ("neuron_probe",),
            "task_arg": (f"size={size}", f"unit={unit}"),
            "limit": 0,
            "num_requests": 8,
            "output": str(folder),
        }
        outcome = run(with_settings(options, ()), Reporter())
        if outcome.error is not None:
            raise SystemExit(outcome.problem)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def print_cells(metrics: dict[str, Any]) -> None:
    """One row a language and attribute."""
    print("| language and attribute | " + " | ".join(MEASURES) + " |")
    for name in metrics:
        if name.endswith("_acc"):
            cell = name.removesuffix("_acc")
            row = [metrics.get(f"{cell}_{measure}") for measure in MEASURES]
            print(f"| {cell.replace('_', ' ')} | {' | '.join(map(told, row))} |")


def print_overlaps(metrics: dict[str, Any]) -> None:
    """One row an attribute, and one of all."""
    print("| attribute | " + " | ".join(OVERLAPS) + " |")
    for name in metrics:
        if name.endswith("overlap"):
            begin = name.removesuffix("overlap")
            row = [metrics.get(f"{begin}{measure}") for measure in OVERLAPS]
            print(f"| {begin.rstrip('_') or 'all'} | {' | '.join(map(told, row))} |")
    print(f"chance: {told(metrics.get('overlap_chance'))}")


def told(metric: dict[str, Any] | None) -> str:
    """A metric with its interval."""
    if metric is None or metric["value"] is None:
        return ""
    if metric["low"] is None:
        return f"{metric['value']:.3f}"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"


if __name__ == "__main__":
    main()
