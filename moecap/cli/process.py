"""A command from its arguments to its exit status: streams that may be closed or full, and signals."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from moecap.interruption import interruptible

__all__ = ["run_command"]

FAILED = 1
INTERRUPTED = 130


def run_command(arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: The words of the command; ``None`` for those of this process, which then ends with the command:
            from its end on SIGINT and SIGTERM are ignored.
    """
    with interruptible(last=arguments is None) as interruption:
        try:
            if arguments is None:
                _make_streams_safe()
            status = _answered(arguments)
            interruption.hold()
        except BaseException as error:
            interruption.hold()
            # an import that is interrupted may end in another error
            if not interruption.raised and not isinstance(error, KeyboardInterrupt):
                raise
            _remark("interrupted")
            # Python remembers where an interrupt ended a text that was executed (imports that make dataclasses do so)
            # and with -m it would end by SIGINT; executing any text makes it forget
            exec("")
            status = INTERRUPTED
    return INTERRUPTED if interruption.raised else status


def _answered(arguments: Sequence[str] | None) -> int:
    """Run the command and see to it that its answer has left this process."""
    if sys.stdout is None:
        _remark("stdout is closed, so that nothing can be answered; open it or send it to /dev/null")
        return FAILED
    from moecap.cli.app import dispatch

    status = 0
    try:
        status = dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout has gone: nothing more can be said
        _discard_answer()
    except OSError as error:
        _discard_answer()
        reason = error.strerror or str(error)
        if error.filename is None:
            _remark(f"the answer could not be written ({reason}); free some room or send it elsewhere")
        else:
            _remark(f"{error.filename} cannot be used ({reason}); check its place and your rights")
        status = FAILED
    return status


def _discard_answer() -> None:
    """Send what stdout still holds to nowhere, or the interpreter would try it once more and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _remark(text: str) -> None:
    from moecap.cli.output import remark

    remark(f"moecap: {text}")


def _make_streams_safe() -> None:
    """Occupy the descriptors of closed streams, which a data file would get, and let remarks go unheard."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    raw = _Unheard(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(raw), errors="backslashreplace", line_buffering=True)


class _Unheard(io.FileIO):
    """A stream to which work goes on writing after its reader has gone: what cannot be written is lost."""

    def write(self, data: Any, /) -> int:
        """Write, or do as if."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
