"""Neurosymbolic diffusion on all experiments that need no published data, ten seeds: for docs/methods/nesydm.md.

usage: python benchmarks/methods/nesydm.py [--output runs/nesydm] [--experiments addition,half] [--seeds 10]

One run an experiment. A run that is complete is not made again, so that the command goes on where it was interrupted.
Printed: the tables of the documentation. The paper's own data and sizes: benchmarks/methods/nesydm_gpu.yaml.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kept_runs import kept_run, told

from moecap.tasks.nesydm.training import PREDICTORS

MEASURES = ("acc_y", "acc_y_pmm", "acc_y_tmp", "acc_y_mmp", "acc_c", "ece_c", "train_seconds")


def main() -> None:
    """Run what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/nesydm"))
    parser.add_argument("--experiments", default="addition,xor,half,even_odd")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    for experiment in arguments.experiments.split(","):
        found = kept_run(
            arguments.output / experiment,
            "nesydm",
            "size=full",
            f"experiments={experiment}",
            f"seeds={arguments.seeds}",
        )
        seconds = found["provenance"]["seconds"]["task.nesydm"]
        print(f"\n{experiment}: {seconds:.0f} s, {arguments.seeds} seeds")
        print_measures(experiment, found["metrics"])


def print_measures(experiment: str, metrics: dict[str, Any]) -> None:
    """One row a predictor and split."""
    print("| predictor | " + " | ".join(MEASURES) + " |")
    for predictor in PREDICTORS:
        for split in ("", "_ood"):
            row = [metrics.get(f"task.nesydm_{experiment}_{predictor}{split}_{measure}") for measure in MEASURES]
            if any(row):
                print(f"| {predictor}{split} | {' | '.join(map(told, row))} |")


if __name__ == "__main__":
    main()
