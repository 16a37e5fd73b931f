"""Events of pages: answered at once, without Gradio's queue, and absent from its description of an API."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

__all__ = ["logging_failures", "on", "on_open"]

_LOG = logging.getLogger(__name__)


def logging_failures(process: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Gradio's answering of events with one line in the log for what fails, where Gradio prints a traceback.

    Anyone can let an event fail, with a value that its component does not take. The line has the kind of the error and
    where it was raised, and nothing of what was sent, which may be a key.

    Args:
        process: ``gr.Blocks.process_api``.
    """

    async def answered(*given: Any, **named: Any) -> Any:
        try:
            return await process(*given, **named)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-3:]]
            _LOG.error("an event of a page failed: %s at %s", type(error).__name__, " > ".join(places))
            raise gr.Error("the server failed", visible=False, print_exception=False) from None

    return answered


def on(
    trigger: Any,
    answer: Callable[..., Any] | None,
    inputs: Sequence[Any] | Any | None = None,
    outputs: Sequence[Any] | Any | None = None,
    *,
    js: str | None = None,
    every: bool = False,
) -> None:
    """Let a function answer an event.

    Args:
        trigger: An event of a component (``box.change``), or several.
        answer: From the values of the inputs to those of the outputs; null where the script does it all.
        inputs: Components that are read.
        outputs: Components that are written.
        js: A script that runs in the browser before the function.
        every: Whether an event that comes before the last one has been answered is answered too, and not passed over.
    """
    gr.on(
        trigger,
        answer,
        inputs,
        outputs,
        js=js,
        queue=False,
        api_visibility="private",
        show_progress="hidden",
        trigger_mode="multiple" if every else None,
    )


def on_open(answer: Callable[..., Any], inputs: Sequence[Any] | Any | None, outputs: Sequence[Any] | Any) -> None:
    """Let a function fill the page that is being built when it is opened.

    Args:
        answer: From the values of the inputs (and a ``gr.Request``, if it takes one) to those of the outputs.
        inputs: Components that are read.
        outputs: Components that are written.
    """
    blocks = gr.context.Context.root_block
    assert blocks is not None, "pages are built inside gr.Blocks"
    on(blocks.load, answer, inputs, outputs)
