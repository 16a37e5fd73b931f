"""A run from its configuration to its directory."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from moecap.config import RunConfig
from moecap.errors import BadInputError, RunError, UsageError
from moecap.files import file_sha256
from moecap.interruption import interruptible
from moecap.result import Result
from moecap.runner.execution import Execution, Opener, execute, open_engine
from moecap.runner.plan import make_plan
from moecap.runner.planned import Plan
from moecap.runner.projection_flags import unmeasured_lines
from moecap.runner.reporter import Reporter
from moecap.runner.run_directory import make_directory, remove_directory
from moecap.runner.story import Status, Story, problem_line

__all__ = ["RunOutcome", "run"]

HASHED_WEIGHTS_BYTES = 8_000_000_000
"""Checkpoints up to this size get a digest in the result; larger ones would take longer to hash than to run."""

UNENDED = "the run did not end: it was killed, or the machine went down"
"""Reason in what a run stores before its end, which the last result replaces."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A finished run: its directory, its result, and the error that ended it, if any."""

    directory: Path
    result: Result
    error: BaseException | None

    @property
    def problem(self) -> str | None:
        """What ended the run, in one line with the places that the result leaves out."""
        return None if self.error is None else problem_line(self.error)


def run(config: RunConfig, reporter: Reporter, opener: Opener = open_engine) -> RunOutcome:
    """Run a configuration and leave a run directory, whatever happens once the engine is being opened.

    Args:
        config: What to do.
        reporter: Hears how far it is.
        opener: Gives the engine; its own by default.

    Returns:
        The outcome; a failure or an interruption is in it and in ``result.json``.

    Raises:
        UsageError: If nothing was started.
        RunError: If it cannot be stored.
        KeyboardInterrupt: If the user interrupted before anything was started.
    """
    with interruptible() as interruption:
        plan = make_plan(config, reporter.say)
        digest = None if plan.backend.attaches or plan.backend.projects else _weights_digest(plan)
        if plan.projection is not None and plan.unmeasured:
            reporter.warn("PROJECTED: NOTHING IS MEASURED", unmeasured_lines(plan.unmeasured, plan.projection))
        interruption.hold()
        directory, made = make_directory(plan.config.output, plan.model.id, plan.hardware.profile.id, plan.backend.name)
        story = Story(plan, directory, digest, datetime.now(UTC), time.monotonic())
        execution = Execution()

        def keep() -> None:
            story.store(execution, "failed", RunError(UNENDED))

        try:
            keep()
        except RunError:  # the engine was not opened
            with suppress(OSError):
                remove_directory(directory, made)
            raise
        status: Status = "complete"
        error: BaseException | None = None
        try:
            try:
                interruption.release()
                execute(plan, directory, execution, reporter, opener, keep)
            finally:
                interruption.hold()  # nothing disturbs what follows: the storing, and in the command line the report
        except KeyboardInterrupt as caught:
            status, error = "interrupted", caught
        except UsageError as caught:
            if not (execution.recorder.steps or execution.recorder.requests):
                remove_directory(directory, made)
                raise
            status, error = "failed", caught
        except Exception as caught:  # whatever an engine raises, what was observed is stored
            status, error = "failed", caught
        if interruption.raised:  # an engine may have made another error of it
            status, error = "interrupted", KeyboardInterrupt()
        if status == "interrupted":
            reporter.say("interrupted; storing what was measured")
        result = story.store(execution, status, error)
    return RunOutcome(directory, result, error)


def _weights_digest(plan: Plan) -> str | None:
    """SHA-256 of the weight file, or of the digests of several in order of their names.

    Raises:
        BadInputError: If the embedded model is not the one that was made.
    """
    import hashlib

    from moecap.models import embedded

    files = sorted(plan.checkpoint.glob("*.safetensors"))
    if not files or sum(f.stat().st_size for f in files) > HASHED_WEIGHTS_BYTES:
        return None
    digests = [file_sha256(f) for f in files]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    if plan.model.origin == "embedded" and digest != embedded.WEIGHTS_SHA256:
        raise BadInputError(f"the weights of {embedded.NAME} in the cache are damaged; moecap cache clean removes them")
    return digest
