"""AIConfigurator's answers for published rows of served loads, for ``projection_baselines.py``.

    python -m venv A; A/bin/pip install aiconfigurator==0.12.0
    A/bin/python benchmarks/aiconfigurator_answers.py POINTS.json ANSWERS.json

Runs in an environment of its own, without this package. Asked for are TPOT and TTFT of the rows of InferenceMAX that
name a load: the tool's aggregated mode at its newest data of the engine, the row's split, lengths at the mean that
InferenceMAX draws (0.9 of the nominal ones) and a batch of the row's concurrency. The tool's tables of kernels were
measured on these chips, and with newer engines than the rows. Rows that it refuses are left out and counted. An answer
takes seconds and is written at once, those for rows marked ``validation`` first, so that it may be stopped early.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from aiconfigurator.cli.api import EstimateResult, cli_estimate

SYSTEMS = {"h200-sxm": "h200_sxm", "b200-sxm": "b200_sxm", "h100-sxm": "h100_sxm"}
MODELS = {"gpt-oss-120b": "openai/gpt-oss-120b", "MiniMax-M2.5": "MiniMaxAI/MiniMax-M2.5"}
MODELS |= {"Qwen3-235B-A22B-FP8": "Qwen/Qwen3-235B-A22B-FP8"}


def main() -> None:
    """Ask for every row and write what was answered."""
    logging.disable(logging.WARNING)
    rows = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["points"]
    answers: dict[str, float] = {}
    refused: Counter[str] = Counter()
    known: dict[tuple[Any, ...], EstimateResult | str] = {}
    for row in sorted(rows, key=lambda row: row.get("split") != "validation"):
        if row.get("group") != "inferencemax" or row["metric"] not in ("tpot", "ttft"):
            continue
        split = {name: int(n) for name, n in re.findall(r"(moeTP|TP|EP)(\d+)", row["parallel"])}
        scale = 0.9 if "RANDOM_RANGE_RATIO" in str(row.get("note")) and row.get("date") else 1.0
        lengths = round(row["isl"] * scale), round(row["osl"] * scale)
        key: tuple[Any, ...] = (
            row["model"].split("/")[-1],
            row["hw_id"],
            row["engine"].split(" ")[0],
            lengths,
            row["concurrency"],
        )
        key += (split["TP"], split["moeTP"], split["EP"])
        if key not in known:
            known[key] = ask(*key)
        found = known[key]
        if isinstance(found, str):
            refused[found] += 1
        else:
            answers[row["id"]] = float(getattr(found, row["metric"]))
            Path(sys.argv[2]).write_text(json.dumps(answers), encoding="utf-8")
    print(f"{len(answers)} answers")
    for reason, count in refused.most_common():
        print(f"{count} refused: {reason}")


def ask(
    model: str,
    system: str,
    engine: str,
    lengths: tuple[int, int],
    concurrency: float,
    tensor: int,
    experts_tensor: int,
    experts: int,
) -> EstimateResult | str:
    """One answer, or the reason why there is none."""
    if experts_tensor * experts != tensor:
        return "the row's split of experts is not that of its ranks"
    try:
        return cli_estimate(
            MODELS[model],
            SYSTEMS[system],
            backend_name=engine,
            isl=lengths[0],
            osl=lengths[1],
            batch_size=int(concurrency),
            tp_size=tensor,
            moe_tp_size=experts_tensor,
            moe_ep_size=experts,
        )
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}"


if __name__ == "__main__":
    main()
