"""Neurosymbolic diffusion on all experiments that need no published data, ten seeds: for docs/methods/nesydm.md.

usage: python benchmarks/methods/nesydm.py [--output runs/nesydm] [--experiments addition,half] [--seeds 10]

One run an experiment. A run that is complete is not made again, so that the command goes on where it was interrupted.
Printed: the tables of the documentation. The paper's own data and sizes: benchmarks/methods/nesydm_gpu.yaml.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
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
        found = result(arguments.output / experiment, experiment, arguments.seeds)
        seconds = found["provenance"]["seconds"]["task.nesydm"]
        print(f"\n{experiment}: {seconds:.0f} s, {arguments.seeds} seeds")
        print_measures(experiment, found["metrics"])


def result(folder: Path, experiment: str, seeds: int) -> dict[str, Any]:
    """The result of a run, which is made unless it is there and complete."""
    path = folder / "result.json"
    if not path.exists() or json.loads(path.read_text())["status"] != "complete":
        if folder.exists():
            folder.rename(folder.with_name(f"{folder.name}~{len(list(folder.parent.glob(folder.name + '~*'))) + 1}"))
        options = {
            "backend": "transformers",
            "task": ("nesydm",),
            "task_arg": ("size=full", f"experiments={experiment}", f"seeds={seeds}"),
            "limit": 0,
            "num_requests": 8,
            "output": str(folder),
        }
        outcome = run(with_settings(options, ()), Reporter())
        if outcome.error is not None:
            raise SystemExit(outcome.problem)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def print_measures(experiment: str, metrics: dict[str, Any]) -> None:
    """One row a predictor and split."""
    print("| predictor | " + " | ".join(MEASURES) + " |")
    for predictor in PREDICTORS:
        for split in ("", "_ood"):
            row = [metrics.get(f"task.nesydm_{experiment}_{predictor}{split}_{measure}") for measure in MEASURES]
            if any(row):
                print(f"| {predictor}{split} | {' | '.join(map(told, row))} |")


def told(metric: dict[str, Any] | None) -> str:
    """A metric with its interval."""
    if metric is None or metric["value"] is None:
        return ""
    if metric["low"] is None:
        return f"{metric['value']:.3f}"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"


if __name__ == "__main__":
    main()
