"""Commands of the contract that this version does not have yet: their help is real, a call says so and exits 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NoReturn

from cyclopts import Parameter

from moecap.errors import NotBuiltError

__all__ = [
    "compare",
    "import_results",
    "keys",
    "reproduce",
    "search",
    "serve",
    "submit",
    "sweep",
    "worker",
]


def _refuse(command: str, instead: str) -> NoReturn:
    raise NotBuiltError(f"moecap {command} is not built yet; {instead}")


def sweep(
    file: Path,
    /,
    *,
    executor: Literal["local", "ray"] = "local",
    resume: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Run every combination of the lists in a YAML file, resumably, here or on a Ray cluster.

    Args:
        file: YAML whose lists multiply.
        executor: Where the runs happen.
        resume: Continue a sweep without repeating finished runs.
        dry_run: Show the plan with its estimated time and cost, and run nothing.
        json: Print JSON.
    """
    _refuse("sweep", "call moecap run once for each combination")


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


def reproduce(id: str, /, *, url: str, json: bool = False) -> None:
    """Run a published result again and say whether it lies within the stated margin.

    Args:
        id: Id of the result.
        url: The leaderboard.
        json: Print JSON.
    """
    _refuse("reproduce", "the report's provenance names the command that repeats a run")


def import_results(file: Path, /, *, json: bool = False) -> None:
    """Turn the output of vLLM bench, SGLang bench, AIPerf, GuideLLM or lm-eval into a result.

    Args:
        file: The other tool's output.
        json: Print JSON.
    """
    _refuse("import", "only moecap's own runs can be read")


def submit(run: Path, /, *, url: str, token: str | None = None, with_samples: bool = False, json: bool = False) -> None:
    """Send a signed result to a leaderboard, after showing what leaves this machine.

    Args:
        run: The run directory.
        url: The leaderboard.
        token: The key to submit with.
        with_samples: Send prompts and answers too.
        json: Print JSON.
    """
    _refuse("submit", "there is no leaderboard to send to")


def keys(action: Annotated[Literal["new"], Parameter()], /, *, json: bool = False) -> None:
    """Make a signing key.

    Args:
        action: new makes a key.
        json: Print JSON.
    """
    _refuse("keys", "results are identified by their SHA-256 and not signed")


def serve(
    *,
    db: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    demo: bool = False,
    snapshot: Path | None = None,
) -> None:
    """Serve the leaderboard: pages and REST API.

    Args:
        db: URL of the database.
        host: Address to listen on.
        port: Port to listen on.
        demo: Fill an empty store with example results.
        snapshot: Write a snapshot of the store to this file and end.
    """
    _refuse("serve", "moecap report shows a run as one HTML file")


def worker(*, url: str, once: bool = False) -> None:
    """Take queued evaluation requests from a leaderboard, run and submit them.

    Args:
        url: The leaderboard.
        once: Take one and end.
    """
    _refuse("worker", "there is no leaderboard to work for")
