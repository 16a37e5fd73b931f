"""Mixtures of in-context learners on the full sets: the figures of docs/methods/moicl.md.

usage: python benchmarks/methods/moicl.py [--output runs/moicl] [--data sst2,boolq,...] [--perturb none,noise:0.5,...]
[--size full] [--model M] [--backend B] [--arg K=V]...

One run for each data set and each disturbance of the demonstrations. A run that is complete is not made again, so that
the command goes on where it was interrupted. Printed: accuracy of every method with its 95 % interval, and what a query
costs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kept_runs import kept_run

from moecap.tasks.moicl.datasets import DATA

COSTS = (
    "prompt_tokens_per_query",
    "new_tokens_per_query",
    "latency",
    "experts_activated",
    "experts_activated_by_queries",
    "negative_weights",
    "auc_disturbed",
)


def main() -> None:
    """Run what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/moicl"))
    parser.add_argument("--data", default=",".join(name for name in DATA if DATA[name].answers is None))
    parser.add_argument("--perturb", default="none,noise:0.5,ood:0.7,imbalance:0.9")
    parser.add_argument("--size", default="full")
    parser.add_argument("--model")
    parser.add_argument("--backend", default="transformers")
    parser.add_argument("--arg", action="append", default=[], help="one more argument of the task")
    arguments = parser.parse_args()
    for data in arguments.data.split(","):
        for perturb in arguments.perturb.split(","):
            folder = arguments.output / f"{data}-{perturb.replace(':', '-')}"
            asked = (f"size={arguments.size}", f"data={data}", f"perturb={perturb}", *arguments.arg)
            options: dict[str, Any] = {"backend": arguments.backend, "num_requests": 4}
            if arguments.model:
                options["model"] = arguments.model
            _show(kept_run(folder, "moicl", *asked, **options), f"{data}, {perturb}")


def _show(result: dict[str, Any], title: str) -> None:
    begin = "task.moicl_"
    metrics = {name.removeprefix(begin): m for name, m in result["metrics"].items() if name.startswith(begin)}
    print(
        f"\n## {title} ({result['model']['name']}, {result['backend']['name']}, {result['provenance']['started'][:10]})"
    )
    for name, metric in metrics.items():
        if name.startswith("accuracy_") and not name.startswith("accuracy_spread_"):
            label = name.removeprefix("accuracy_")
            gain, loss = metrics.get(f"gain_{label}"), metrics.get(f"nll_{label}")
            beside = "" if gain is None else f", {gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
            lost = "" if loss is None else f", loss {loss['value']:.3f}"
            print(f"{label:24} {metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f}){beside}{lost}")
    for kind in COSTS:
        found = {name.rpartition("_")[2]: m["value"] for name, m in metrics.items() if name.startswith(f"{kind}_k")}
        print(f"{kind:30}", {count: None if value is None else float(f"{value:.4g}") for count, value in found.items()})


if __name__ == "__main__":
    main()
