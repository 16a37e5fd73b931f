"""Readers of run directories and of other tools' files."""

from __future__ import annotations

import shutil
from pathlib import Path

from hostile.parser import IMPORTS, Parser, as_json, as_lines, below, npz, parquet, run_files


def results(run: Path) -> list[Parser]:
    from moecap.importing.record import is_imported, read_imported
    from moecap.importing.run import Given, import_file
    from moecap.importing.verification import verify_imported
    from moecap.observations.reader import read_observations
    from moecap.publishing.disclosure import find_private, machine_private
    from moecap.publishing.signing import signer
    from moecap.result import read_result
    from moecap.verification.recomputation import verify_run

    files = run_files(run)
    imported = run.with_name("imported")
    if not imported.exists():
        import_file(IMPORTS / "vllm-detailed.json", "auto", Given(), imported)

    def whole(path: Path) -> object:
        """As verify and submit do."""
        result = read_result(path.parent)
        signer(result)
        result.canonical_id()
        return verify_run(path.parent)

    def of_import(path: Path) -> object:
        is_imported(path.parent)
        read_imported(path.parent)
        return verify_imported(path.parent)

    def searched(path: Path) -> object:
        return find_private(path, machine_private())

    def observed(path: Path) -> object:
        return read_observations(path.parent)

    import numpy as np

    by_request = npz(
        experts=np.zeros((2, 32, 2), np.uint8),
        token_request=np.array([0, 0], np.int32),
        token_position=np.array([0, 1], np.int32),
        capture="synthetic",
    )
    table = parquet({"item": ["a", "b"], "score": [0.5, 1.0], "right": [True, False], "n": [1, 2]})
    samples = as_lines(
        {"task": "arc_easy", "id": "1", "prompt": "?", "answer": "A", "gold": 0, "scores": {"accuracy": 1}},
        {"task": "arc_easy", "id": "2", "prompt": "?", "answer": None, "gold": 1, "scores": {"accuracy": 0}},
    )
    found = [
        Parser("result", "run/result.json", whole, (files["result.json"].read_bytes(),), below("run", files)),
        Parser(
            "imported-result",
            "run/result.json",
            of_import,
            ((imported / "result.json").read_bytes(),),
            below("run", run_files(imported)),
        ),
        Parser("samples", "run/samples.jsonl", observed, (samples,), below("run", files)),
        Parser("verified-samples", "run/samples.jsonl", whole, (samples,), below("run", files)),
        Parser("searched-json", "run/environment.json", searched, (files["environment.json"].read_bytes(),)),
        Parser("searched-lines", "run/samples.jsonl", searched, (samples,)),
        Parser("routing", "run/routing.npz", observed, (by_request,), below("run", files), text=False),
        Parser("searched-arrays", "run/routing.npz", searched, (by_request,), text=False),
        Parser(
            "searched-table", "run/requests.parquet", searched, (files["requests.parquet"].read_bytes(),), text=False
        ),
        Parser("task-table", "run/moicl.items.parquet", observed, (table,), below("run", files), text=False),
    ]
    found += [
        Parser(
            f"table-{name.partition('.')[0]}",
            f"run/{name}",
            observed,
            (path.read_bytes(),),
            below("run", files),
            text=False,
        )
        for name, path in files.items()
        if name.endswith(".parquet")
    ]
    return found


def imports() -> list[Parser]:
    from moecap.importing.run import Given, import_file

    def read(path: Path) -> object:
        place = path.parent / "made"
        try:
            return import_file(path, "auto", Given(), place)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    moe_cap = {
        "model_config": {"model_name": "m", "precision": "bf16"},
        "performance": {"e2e_s": 2.0, "ttft": 0.1, "tpot": 0.02, "request/s": 1.5},
        "expert_activation": {"avg_expert_activation_decode": 3.5},
        "quality": {"attempted": 10, "acc": 0.5, "total": 10},
    }
    names = {
        "vllm": ("vllm.json", "vllm-detailed.json", "vllm-summary.json"),
        "sglang": ("sglang.jsonl", "sglang-detailed.jsonl", "sglang.jsonl"),
        "guidellm": ("guidellm.json", "guidellm.json"),
        "lm-eval": ("lm-eval.json", "lm-eval.json"),
        "inference-perf": ("stage.json", "stage_0_lifecycle_metrics.json"),
    }
    found = [
        Parser(f"import-{name}", file, read, tuple((IMPORTS / other).read_bytes() for other in examples))
        for name, (file, *examples) in names.items()
    ]
    summary, records = (IMPORTS / "aiperf" / n for n in ("profile_export_aiperf.json", "profile_export.jsonl"))
    found += [
        Parser("import-aiperf", summary.name, read, (summary.read_bytes(),), {records.name: records}),
        Parser(
            "import-aiperf-records",
            records.name,
            lambda path: read(path.with_name(summary.name)),
            (records.read_bytes(),),
            {summary.name: summary},
        ),
        Parser(
            "import-moe-cap",
            "metrics_gsm8k_2025.json",
            read,
            (as_json(moe_cap),),
            {"metadata_gsm8k_2025.json": as_json(moe_cap)},
        ),
    ]
    return found
