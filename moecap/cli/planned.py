"""Commands of the contract that this version does not have yet: their help is real, a call says so and exits 2."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from moecap.errors import NotBuiltError

__all__ = [
    "compare",
    "import_results",
    "search",
]


def _refuse(command: str, instead: str) -> NoReturn:
    raise NotBuiltError(f"moecap {command} is not built yet; {instead}")


def search(*, slo: str, json: bool = False) -> None:
    """Find the highest load that meets service levels.

    Args:
        slo: Service levels, such as ttft=2s,tpot=80ms.
        json: Print JSON.
    """
    _refuse("search", "call moecap run with rising --concurrency and read ttft and tpot")


def compare(a: Path, b: Path, /, *, fail_on: tuple[str, ...] = (), json: bool = False) -> None:
    """Difference of two runs, with intervals; an exit status for CI.

    Args:
        a: Run directory of the baseline.
        b: Run directory to compare with it.
        fail_on: Exit 1 if a metric is worse by more than this, such as tpot:5%; may be repeated.
        json: Print JSON.
    """
    _refuse("compare", "moecap report A B shows two runs side by side")


def import_results(file: Path, /, *, json: bool = False) -> None:
    """Turn the output of vLLM bench, SGLang bench, AIPerf, GuideLLM or lm-eval into a result.

    Args:
        file: The other tool's output.
        json: Print JSON.
    """
    _refuse("import", "only moecap's own runs can be read")
