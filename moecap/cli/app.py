"""All commands by name. Each command's module is imported only when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import cyclopts

from moecap import __version__
from moecap.cli.output import remark
from moecap.errors import MoecapError, UnknownNameError
from moecap.plugins import COMMANDS, load_plugin, plugin_names

__all__ = ["build_app", "dispatch"]

INTERRUPTED = 130

COMMANDS_HERE: dict[str, tuple[str, str]] = {
    "run": ("moecap.cli.run:run", "Measure a model on hardware: cost, accuracy, performance. The main job."),
    "report": ("moecap.cli.report:report", "Make the report of a run: CAP radar, roofline, experts, tables."),
    "verify": ("moecap.cli.verify:verify", "Recompute every number of a result from its observations."),
    "models": ("moecap.cli.models:app", "Model accounting: parameters, KV bytes, FLOPs, bytes of a step."),
    "hw": ("moecap.cli.hw:app", "Hardware profiles; what this machine is; measured peaks of this machine."),
    "backends": ("moecap.cli.backends:app", "Which serving systems can be driven, and what each needs."),
    "tasks": ("moecap.cli.tasks:app", "Which accuracy tasks there are, and what each needs."),
    "data": ("moecap.cli.data:app", "Data sets: list them, fetch one into the cache."),
    "cache": ("moecap.cli.cache:app", "Models, data sets and probes in the cache."),
    "doctor": ("moecap.cli.doctor:doctor", "What is wrong with this installation, and the remedy."),
    "schema": ("moecap.cli.schema:schema", "JSON Schema of result, run-config and hardware files."),
    "sweep": ("moecap.cli.planned:sweep", "Run the product of lists of settings. (not built yet)"),
    "search": ("moecap.cli.planned:search", "Find the highest load that meets service levels. (not built yet)"),
    "recommend": ("moecap.cli.planned:recommend", "Rank hardware, engines and parallelism by cost. (not built yet)"),
    "validate": ("moecap.cli.planned:validate", "Error of the projection on published points. (not built yet)"),
    "score": ("moecap.cli.planned:score", "Score a file of predictions offline. (not built yet)"),
    "compare": ("moecap.cli.planned:compare", "Difference of two runs with intervals. (not built yet)"),
    "reproduce": ("moecap.cli.planned:reproduce", "Run a published result again. (not built yet)"),
    "import": ("moecap.cli.planned:import_results", "Turn another tool's results into a result. (not built yet)"),
    "submit": ("moecap.cli.planned:submit", "Send a result to a leaderboard. (not built yet)"),
    "keys": ("moecap.cli.planned:keys", "Signing keys. (not built yet)"),
    "serve": ("moecap.cli.planned:serve", "The leaderboard: pages and REST API. (not built yet)"),
    "worker": ("moecap.cli.planned:worker", "Run what a leaderboard has queued. (not built yet)"),
}


def build_app() -> cyclopts.App:
    """The whole command line; a command of another package takes the place of one that is not built here."""
    app = cyclopts.App(
        name="moecap",
        help="Which model, on which engine, on which hardware: what accuracy, at what speed, at what cost? "
        "For Mixture-of-Experts language models.",
        version=__version__,
        help_format="plaintext",
        default_parameter=cyclopts.Parameter(negative=()),
    )
    elsewhere = plugin_names(COMMANDS)
    for name, (target, text) in COMMANDS_HERE.items():
        if name not in elsewhere:
            app.command(target, name=name, help=text)
    for name in elsewhere:
        app.command(load_plugin(COMMANDS, name), name=name)
    return app


def dispatch(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    try:
        outcome: Any = build_app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except BrokenPipeError:  # the reader of stdout has gone: nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        remark("moecap: interrupted")
        return INTERRUPTED
    except (cyclopts.CycloptsError, MoecapError, OSError, UnicodeEncodeError) as error:
        status, text = _problem(error)
        remark(f"moecap: {text}")
        return status
    return outcome if isinstance(outcome, int) else 0


def _problem(error: Exception) -> tuple[int, str]:
    """Exit status and one line for an error."""
    if isinstance(error, MoecapError):
        return error.exit_status, str(error)
    if isinstance(error, cyclopts.CycloptsError):
        return 2, _usage_problem(error)
    if isinstance(error, UnicodeEncodeError):
        return 1, f"this terminal cannot show {error.object[error.start]!a}; set PYTHONUTF8=1 or use --json"
    assert isinstance(error, OSError)  # what remains: stdout or a file could not be written
    return 1, f"{error.filename or 'the output'} could not be written ({error.strerror})"


def _usage_problem(error: cyclopts.CycloptsError) -> str:
    from pydantic import ValidationError

    from moecap.config import first_problem

    if isinstance(error.__cause__, ValidationError):
        return first_problem(error.__cause__)
    if isinstance(error, cyclopts.UnknownCommandError) and error.unused_tokens:
        return str(UnknownNameError("command", error.unused_tokens[0], COMMANDS_HERE, "see moecap --help"))
    text = " ".join(str(error).split())
    return f"{text} See moecap --help."
