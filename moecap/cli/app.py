"""All commands by name. Each command's module is imported only when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import cyclopts

from moecap import __version__
from moecap.cli.output import Answers, remark
from moecap.errors import MoecapError, UnknownNameError
from moecap.plugins import COMMANDS, load_plugin, plugin_names

__all__ = ["build_app", "dispatch"]

OPTION_CUTOFF = 0.75
"""Least likeness of an option that is offered in place of an unknown one: --bogus is no slip for --cost."""

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
    "sweep": ("moecap.cli.sweep:sweep", "Run the product of lists of settings, resumably."),
    "search": ("moecap.cli.search:search", "Find the largest load at which service levels hold."),
    "recommend": ("moecap.cli.recommend:recommend", "Rank hardware and engines for a model by projected cost."),
    "validate": ("moecap.cli.validate:validate", "Error of the projection on published points."),
    "score": ("moecap.cli.score:score", "Score a file of predictions offline."),
    "compare": ("moecap.cli.compare:compare", "Difference of runs with intervals; exit status for CI."),
    "reproduce": ("moecap.cli.reproduce:reproduce", "Run a published result again and compare."),
    "import": ("moecap.cli.import_:import_results", "Turn another tool's results into a result."),
    "submit": ("moecap.cli.submit:submit", "Send a result to a leaderboard, after showing what leaves this machine."),
    "keys": ("moecap.cli.keys:app", "Signing keys: make one, list them, register one."),
    "worker": ("moecap.cli.worker:worker", "Run what a leaderboard has queued."),
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
        suppress_keyboard_interrupt=False,
    )
    elsewhere = plugin_names(COMMANDS)
    for name, (target, text) in COMMANDS_HERE.items():
        if name not in elsewhere:
            app.command(target, name=name, help=text)
    for name in elsewhere:
        app.command(load_plugin(COMMANDS, name), name=name)
    return app


def dispatch(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; an error that has one line says it on stderr."""
    try:
        outcome: Any = build_app()(
            arguments, console=Answers(), exit_on_error=False, print_error=False, result_action="return_value"
        )
    except (cyclopts.CycloptsError, MoecapError, UnicodeEncodeError) as error:
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
    assert isinstance(error, UnicodeEncodeError)
    return 1, f"this terminal cannot show {error.object[error.start]!a}; set PYTHONUTF8=1 or use --json"


def _usage_problem(error: cyclopts.CycloptsError) -> str:
    from pydantic import ValidationError

    from moecap.settings import first_problem

    if isinstance(error.__cause__, ValidationError):
        return first_problem(error.__cause__)
    if isinstance(error, cyclopts.UnknownCommandError) and error.unused_tokens:
        return _unknown_command(error, error.unused_tokens[0])
    if isinstance(error, cyclopts.UnknownOptionError):
        return _unknown_option(error)
    text = " ".join(str(error).split())
    return f"{text} See moecap --help."


def _unknown_command(error: cyclopts.UnknownCommandError, asked: str) -> str:
    within = " ".join(("moecap", *(error.command_chain or ())))
    if asked.startswith("-"):
        return f"no option {asked} in {within}; see {within} --help"
    known = [name for name in error.app or () if not name.startswith("-")]
    return str(UnknownNameError("command", asked, known, f"see {within} --help"))


def _unknown_option(error: cyclopts.UnknownOptionError) -> str:
    """Name the option, and one that differs from it in a few letters."""
    asked = error.token.keyword or error.token.value
    known = {name.lstrip("-"): name for argument in error.argument_collection for name in argument.names}
    near = get_close_matches(asked.lstrip("-"), known, n=1, cutoff=OPTION_CUTOFF)
    command = " ".join(("moecap", *(error.command_chain or ())))
    offer = f" (did you mean {known[near[0]]}?)" if near else ""
    return f"no option {asked} in {command}{offer}; see {command} --help"
