"""Events of pages: answered at once, without Gradio's queue, and absent from its description of an API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

__all__ = ["on", "on_open"]


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
