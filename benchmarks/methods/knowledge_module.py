"""Knowledge modules of QASPER's papers by objective: the figures of docs/methods/knowledge_module.md.

usage: python benchmarks/methods/knowledge_module.py [--output runs/knowledge_module] [--documents 90] [--objectives
sdcd,ddcd,lm,pit] [--extractor] [--steps 48] [--model M]

One run an objective, over the papers with the most questions for their length first; the first 90 all fit the embedded
model's 8,192 tokens, later ones do not. A run that is complete is not made again, so that the command goes on where it
was interrupted. Printed: the tables of the documentation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kept_runs import kept_run

from moecap.tasks.knowledge_module.parameters import OBJECTIVES
from moecap.tasks.knowledge_module.questions import SETTINGS

COLUMNS = ("accuracy", "gold_nats", "prompt_tokens", "query_seconds", "query_experts")
COSTS = (
    "kl_train_before",
    "kl_train_after",
    "kl_held_out_before",
    "kl_held_out_after",
    "hidden_held_out_before",
    "hidden_held_out_after",
    "loss_train_before",
    "loss_train_after",
    "writing_seconds",
    "training_seconds",
    "adapter_bytes",
    "expert_adapter_parameters",
    "kv_bytes",
    "break_even_queries_rag",
    "break_even_queries_icl",
)


def main() -> None:
    """Run what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/knowledge_module"))
    parser.add_argument("--documents", default="90", help="all needs a model of 32k")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--extractor", action="store_true", help="train one on papers that are not asked about")
    parser.add_argument("--steps", default="48")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    for objective in arguments.objectives.split(","):
        asked = [f"documents={arguments.documents}", f"objective={objective}", f"steps={arguments.steps}"]
        asked += ["extractor=fixed"] * arguments.extractor
        model = {"model": arguments.model} if arguments.model else {}
        found = kept_run(arguments.output / "-".join(asked).replace("=", "-"), "knowledge_module", *asked, **model)
        print_table(objective, found)


def print_table(objective: str, found: dict[str, Any]) -> None:
    """The settings, and what the modules cost."""
    metrics = found["metrics"]
    seconds = found["provenance"]["seconds"]["task.knowledge_module"]
    print(f"\n{objective}: {found['tasks'][0]['items']} questions, {seconds:.0f} s, {found['model']['id']}")
    print(f"| setting | {' | '.join(COLUMNS)} |")
    for name, setting in SETTINGS.items():
        if f"task.knowledge_module_accuracy_{name}" in metrics:
            cells = [told(metrics.get(f"task.knowledge_module_{column}_{name}")) for column in COLUMNS]
            print(f"| {setting.title} | {' | '.join(cells)} |")
    for name in COSTS:
        if f"task.knowledge_module_{name}" in metrics:
            print(f"{name}: {told(metrics[f'task.knowledge_module_{name}'])}")


def told(metric: dict[str, Any] | None) -> str:
    """A value with its interval, or why there is none."""
    if metric is None:
        return ""
    if metric["value"] is None:
        return str(metric["reason"])
    ends = "" if metric["low"] is None else f" ({metric['low']:.3g} to {metric['high']:.3g})"
    return f"{metric['value']:.4g}{ends}"


if __name__ == "__main__":
    main()
