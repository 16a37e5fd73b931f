"""ImageCoDe's variants on crops of photographs with ten seeds: for docs/methods/imagecode.md.

usage: python benchmarks/methods/imagecode.py [--output runs/imagecode] [--train 300,1000,3000] [--seeds 10]

One run for each number of sets to learn from. A run that is complete is not made again, so that the command goes on
where it was interrupted. Printed: tables as in the documentation. The released data: imagecode_gpu.yaml, beside this.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.imagecode.variants import VARIANTS

MEASURES = ("accuracy", "accuracy_video", "accuracy_static", "mrr", "train_seconds")


def main() -> None:
    """Run what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/imagecode"))
    parser.add_argument("--train", default="300,1000,3000")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    for train in arguments.train.split(","):
        found = result(arguments.output / train, train, arguments.seeds)
        seconds = found["provenance"]["seconds"]["task.imagecode"]
        print(f"\n{train} sets to learn from: {seconds:.0f} s, {arguments.seeds} seeds")
        print_measures(found["metrics"])


def result(folder: Path, train: str, seeds: int) -> dict[str, Any]:
    """The result of a run, which is made unless it is there and complete."""
    path = folder / "result.json"
    if not path.exists() or json.loads(path.read_text())["status"] != "complete":
        if folder.exists():
            folder.rename(folder.with_name(f"{folder.name}~{len(list(folder.parent.glob(folder.name + '~*'))) + 1}"))
        options = {
            "backend": "transformers",
            "task": ("imagecode",),
            "task_arg": ("size=full", f"train={train}", f"seeds={seeds}"),
            "limit": 0,
            "num_requests": 8,
            "output": str(folder),
        }
        outcome = run(with_settings(options, ()), Reporter())
        if outcome.error is not None:
            raise SystemExit(outcome.problem)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def print_measures(metrics: dict[str, Any]) -> None:
    """One row a variant."""
    print("| variant | " + " | ".join(MEASURES) + " |")
    for variant in VARIANTS:
        row = [metrics.get(f"task.imagecode_{variant}_{measure}") for measure in MEASURES]
        if any(row):
            print(f"| {variant} | {' | '.join(map(told, row))} |")


def told(metric: dict[str, Any] | None) -> str:
    """A metric with its interval."""
    if metric is None or metric["value"] is None:
        return ""
    if metric["low"] is None:
        return f"{metric['value']:.3f}"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"


if __name__ == "__main__":
    main()
