"""``moecap import``: another tool's output as a result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ["import_results"]


def import_results(
    file: Path,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")] = "auto",
    model: str | None = None,
    hw: str | None = None,
    num_gpus: int | None = None,
    engine: str | None = None,
    precision: str | None = None,
    output: Path | None = None,
    json: bool = False,
) -> None:
    """Turn the output of another benchmark into a result of kind imported.

    Times of single requests become observations, from which latency and throughput are computed anew; what the file
    lacks is null with the reason. What you say of the model and so on counts where the file says nothing.

    Args:
        file: The other tool's output.
        from_: Which tool: auto, vllm, sglang, aiperf, guidellm, inference-perf, lm-eval or moe-cap.
        model: Id of the model.
        hw: Name of one device.
        num_gpus: Number of devices.
        engine: Name of the engine.
        precision: Number format of the weights.
        output: The run directory; of several results the folder of theirs. By default runs/imported-TOOL-DIGEST.
        json: Print JSON.
    """
    from moecap.cli.output import print_json, print_line, print_table
    from moecap.errors import BadInputError
    from moecap.importing.run import Given, import_file
    from moecap.report.figures import display

    if num_gpus is not None and num_gpus < 1:
        raise BadInputError(f"--num-gpus {num_gpus}: not a number of devices; give 1 or more, or leave it out")
    made = import_file(file, from_, Given(model, hw, num_gpus, engine, precision), output)
    if json:
        print_json([{"directory": str(place)} | result.model_dump(mode="json") for place, result in made])
        return
    for place, result in made:
        print_line(f"{result.title}; {result.engine}")
        rows = [
            (name, display(m), "recomputed" if name in result.recomputed else "as stated")
            for name, m in result.metrics.items()
            if m.value is not None
        ]
        print_table(("metric", "value", "how"), rows, right=("value",))
        for flag in result.flags:
            print_line(f"{flag.level}: {flag.text}")
        if result.missing:
            print_line(f"not known: {', '.join(result.missing)}")
        print_line(f"run directory  {place}")
