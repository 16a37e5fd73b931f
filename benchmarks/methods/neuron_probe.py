"""The neuron probe on six languages with five splits, by neurons and by experts: for docs/methods/neuron_probe.md.

usage: python benchmarks/methods/neuron_probe.py [--output runs/neuron_probe] [--size full] [--units neuron,expert]

One run a kind of unit. A run that is complete is not made again, so that the command goes on where it was interrupted.
Printed: the tables of the documentation. The paper's own data and sizes: benchmarks/methods/neuron_probe_gpu.yaml.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kept_runs import kept_run, told

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
        found = kept_run(
            arguments.output / f"{arguments.size}-{unit}", "neuron_probe", f"size={arguments.size}", f"unit={unit}"
        )
        begin = "task.neuron_probe_"
        metrics = {name.removeprefix(begin): m for name, m in found["metrics"].items() if name.startswith(begin)}
        print(f"\n{unit}: {found['provenance']['seconds']['task.neuron_probe']:.0f} s")
        print_cells(metrics)
        print_overlaps(metrics)


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


if __name__ == "__main__":
    main()
