"""ImageCoDe's variants on crops of photographs with ten seeds: for docs/methods/imagecode.md.

usage: python benchmarks/methods/imagecode.py [--output runs/imagecode] [--train 300,1000,3000] [--seeds 10]

One run for each number of sets to learn from. A run that is complete is not made again, so that the command goes on
where it was interrupted. Printed: tables as in the documentation. The released data: imagecode_gpu.yaml, beside this.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kept_runs import kept_run, told

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
        found = kept_run(
            arguments.output / train, "imagecode", "size=full", f"train={train}", f"seeds={arguments.seeds}"
        )
        seconds = found["provenance"]["seconds"]["task.imagecode"]
        print(f"\n{train} sets to learn from: {seconds:.0f} s, {arguments.seeds} seeds")
        print_measures(found["metrics"])


def print_measures(metrics: dict[str, Any]) -> None:
    """One row a variant."""
    print("| variant | " + " | ".join(MEASURES) + " |")
    for variant in VARIANTS:
        row = [metrics.get(f"task.imagecode_{variant}_{measure}") for measure in MEASURES]
        if any(row):
            print(f"| {variant} | {' | '.join(map(told, row))} |")


if __name__ == "__main__":
    main()
