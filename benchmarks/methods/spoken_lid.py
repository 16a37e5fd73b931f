"""Spoken language identification on all experiments, five seeds: for docs/methods/spoken_lid.md.

usage: python benchmarks/methods/spoken_lid.py [--output runs/spoken_lid] [--experiments one_voice,letters] [--seeds 5]

One run an experiment. A run that is complete is not made again, so that the command goes on where it was interrupted.
Recorded speech: apt-get install klettres-data tuxpaint-stamps-default asterisk-core-sounds-{en,es,fr,it,ru}-wav.
Printed: the tables of the documentation. Lists of the paper's size: benchmarks/methods/spoken_lid_gpu.yaml.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kept_runs import kept_run, told

from moecap.tasks.spoken_lid.settings import CHAT, CLASSIFIERS, RECORDED, SYNTHETIC

MEASURES = ("accuracy", "macro_f1", "known_speakers_accuracy", "new_speakers_accuracy", "gap", "train_seconds")
CONFOUND = ("training_largest_language", "training_speaker_tells_language", "training_domain_tells_language")


def main() -> None:
    """Run what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/spoken_lid"))
    parser.add_argument("--experiments", default=",".join((*SYNTHETIC, *RECORDED)))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for experiment in arguments.experiments.split(","):
        found = kept_run(
            arguments.output / experiment,
            "spoken_lid",
            "size=full",
            f"experiments={experiment}",
            f"seeds={arguments.seeds}",
        )
        seconds = found["provenance"]["seconds"]["task.spoken_lid"]
        print(f"\n{experiment}: {seconds:.0f} s, {arguments.seeds} seeds")
        print_measures(f"task.spoken_lid_{experiment}", found["metrics"])


def print_measures(begin: str, metrics: dict[str, Any]) -> None:
    """The confound, then one row a classifier with its domains at the end."""
    print("confound: " + ", ".join(f"{name} {told(metrics.get(f'{begin}_{name}'))}" for name in CONFOUND))
    domains = list(
        dict.fromkeys(
            name.removeprefix(f"{begin}_{classifier}_")
            for name in metrics
            for classifier in CLASSIFIERS
            if name.startswith(f"{begin}_{classifier}_domain_")
        )
    )
    print("| classifier | " + " | ".join((*MEASURES, *domains)) + " |")
    for classifier in CLASSIFIERS:
        row = [metrics.get(f"{begin}_{classifier}_{measure}") for measure in (*MEASURES, *domains)]
        if classifier != CHAT and any(row):
            print(f"| {classifier} | {' | '.join(map(told, row))} |")


if __name__ == "__main__":
    main()
