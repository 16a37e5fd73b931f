"""Groundedness of word classes on all captions that can be installed: the figures of docs/methods/groundedness.md.

usage: python benchmarks/methods/groundedness.py [--output runs/groundedness] [--stamps DIR] [--limit 0] [--model M]

Two runs: the captions of digits, and the stamps of Tux Paint in English, German and Dutch (`apt-get install
tuxpaint-stamps-default`, or their folder with --stamps). A run that is complete is not made again, so that the command
goes on where it was interrupted. Printed: the tables of the documentation.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kept_runs import kept_run, told

from moecap.tasks.groundedness.measures import DIGIT_KEYS
from moecap.tasks.groundedness.words import CLASSES

LANGUAGES = ("en", "de", "nl")

DIGITS = 50
"""Captions of digits that the language model is asked about."""


def main() -> None:
    """Run what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/groundedness"))
    parser.add_argument("--stamps", type=Path)
    parser.add_argument("--limit", type=int, default=0, help="captions of stamps at most; 0 for all")
    parser.add_argument("--model")
    parser.add_argument("--backend", default="transformers")
    arguments = parser.parse_args()
    common: dict[str, Any] = {"backend": arguments.backend}
    if arguments.model:
        common["model"] = arguments.model
    digits = kept_run(arguments.output / "digits", "groundedness", **common, limit=DIGITS)
    if arguments.stamps:
        common["data"] = str(arguments.stamps)
    captions = kept_run(arguments.output / "stamps", "groundedness", "size=full", **common, limit=arguments.limit)
    for name, found in (("digits", digits), ("stamps", captions)):
        items, seconds = found["tasks"][0]["items"], found["provenance"]["seconds"]["task.groundedness"]
        print(f"\n{name}: {items} captions, {seconds:.0f} s, {found['backend']['name']}, {found['model']['id']}")
        print_classes(found["metrics"], LANGUAGES if name == "stamps" else ("en",))
    print_digits(digits["metrics"])


def print_classes(metrics: dict[str, Any], languages: tuple[str, ...]) -> None:
    """One row a class, and the experts of each."""
    print("| class | n | nats | another's | blank | own over another's | " + " | ".join(languages) + " |")
    for name in (*(c.lower() for c in CLASSES), "open_minus_closed", "sentence"):
        own = metrics.get(f"task.groundedness_{name}")
        if own is None or own["value"] is None:
            continue
        others = [told(metrics.get(f"task.groundedness_{name}{end}")) for end in ("_shuffled", "_blank", "_net")]
        spoken = [metrics.get(f"task.groundedness_{language}_{name}") for language in languages]
        n = " + ".join(str(m["n"]) if m else "0" for m in spoken) if any(spoken) else str(own["n"])
        print(f"| {name} | {n} | {told(own)} | {' | '.join(others)} | {' | '.join(map(told, spoken))} |")
    for name in ("kendall_tau", "weighted_tau", "spearman", "types", "corrected", "words_without_tokens"):
        print(f"{name}: {told(metrics.get(f'task.groundedness_{name}'))}")
    print("| class | divergence, bits | chance by word | chance by type | entropy |")
    for name in (c.lower() for c in CLASSES):
        own = metrics.get(f"task.groundedness_experts_{name}")
        if own is not None:
            ends = [
                told(metrics[f"task.groundedness_experts_{name}_{end}"])
                for end in ("chance_by_word", "chance_by_type", "entropy")
            ]
            print(f"| {name} | {told(own)} | {' | '.join(ends)} |")


def print_digits(metrics: dict[str, Any]) -> None:
    """Measured, closed form and controls of the captions of digits."""
    print("\n| | measured | closed form | shuffled | black | mean picture |")
    for key in DIGIT_KEYS:
        ends = ("", "_closed_form", "_shuffled", "_black", "_mean")
        print(f"| {key} | {' | '.join(told(metrics[f'task.groundedness_digits_{key}{end}']) for end in ends)} |")


if __name__ == "__main__":
    main()
