"""Asking for a model to be evaluated, and what became of what others asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from pydantic import ValidationError

from moecap.config import RunConfig
from moecap.hardware.registry import list_profiles
from moecap.models.registry import EMBEDDED, short_names
from moecap.plugins import BACKENDS, TASKS, plugin_names
from moecap.report.markup import Html, folded, paragraph
from moecap.settings import first_problem
from moecap_leaderboard.api.requests import Wish
from moecap_leaderboard.pages.admission import admitted, guarded
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.events import on, on_open
from moecap_leaderboard.pages.look import html_block, page_head
from moecap_leaderboard.pages.naming import engine_name
from moecap_leaderboard.pages.queue_table import asked, queue_tables
from moecap_leaderboard.pages.submit import token_box
from moecap_leaderboard.pages.url_state import query_from
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.service import Service

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build", "wished_config"]

TITLE = "Queue"
PATH = "/queue"
IN_NAVIGATION = True

_LEAD = (
    "Ask for a model to be evaluated. A worker with the hardware takes the request, runs it, and its result is a row."
)
_TAKEN = (
    "A worker (moecap worker) takes the oldest request that its machine can serve, by a lease that it renews while it "
    "runs. A lease that expires gives the request back; after three attempts it has failed. A request sets the model "
    "and its load and nothing else: no path, no server, no argument of an engine. Every other setting is as moecap run "
    "has it by default."
)
_DEFAULT = RunConfig()
_NUMBERS = (
    {"input_len": "Tokens of each prompt", "output_len": "Tokens of each answer"},
    {"concurrency": "Requests at once", "num_requests": "Requests in all"},
)
_ENGINES = ("vllm", "sglang", "llamacpp", "transformers")


def build(context: PageContext) -> None:
    """The page."""
    html_block(page_head(TITLE, _LEAD))
    with gr.Row(elem_classes="doing"):
        with gr.Column(elem_classes="ask"):
            fields = _fields()
            note = gr.Textbox(label="Note for the worker (optional)", max_length=1000)
            token = token_box("submit")
            ask = gr.Button("Ask for it", variant="primary", elem_id="ask")
            html_block(folded("Who takes a request", paragraph(_TAKEN), class_="how"))
        with gr.Column(elem_classes="answer"):
            said = html_block("", id="asked")
            tables = html_block("", id="queue")
    on(ask.click, _asked(context.service, list(fields)), [*fields.values(), note, token], [said, tables])

    def opened(request: gr.Request) -> tuple[str, Any]:
        model = query_from(request).first("model")
        return queue_tables(context.service), model or gr.skip()

    on_open(opened, None, [tables, fields["model"]])


def _fields() -> dict[str, Any]:
    """The keys of the run configuration that the form sets."""
    models = [EMBEDDED, *(name for name in short_names() if name != EMBEDDED)]
    hardware = [("any that the worker has", "auto"), *((profile.name, profile.id) for profile in list_profiles())]
    engines = [("any", "auto")]
    engines += [(engine_name(name), name) for name in plugin_names(BACKENDS) if name in _ENGINES]
    devices = [("as few as hold it", 0), *((str(count), count) for count in (1, 2, 4, 8, 16, 32, 64))]
    fields: dict[str, Any] = {
        "model": gr.Dropdown(
            models, value=models[0], allow_custom_value=True, label="Model: a short name or a hub id", elem_id="model"
        )
    }
    with gr.Row():
        fields["hw"] = gr.Dropdown(hardware, value="auto", label="Hardware")
        fields["num_gpus"] = gr.Dropdown(devices, value=0, label="Devices")
    with gr.Row():
        fields["backend"] = gr.Dropdown(engines, value="auto", label="Engine")
        fields["precision"] = gr.Textbox("auto", label="Number format", max_length=40)
    fields["task"] = gr.Dropdown(
        plugin_names(TASKS), value=[], multiselect=True, label="Tasks; none measures speed alone"
    )
    for pair in _NUMBERS:
        with gr.Row():
            for name, label in pair.items():
                fields[name] = gr.Number(getattr(_DEFAULT, name), label=label, precision=0, minimum=1)
    return fields


def wished_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The run configuration that a form asks for: the model, the tasks, and what is not as by default.

    Args:
        values: What the form holds, by the keys of the run configuration.
    """
    config = {name: value for name, value in values.items() if value and value != getattr(_DEFAULT, name)}
    return config | {"model": values["model"] or "", "task": list(values["task"] or ["none"])}


def _asked(service: Service, names: list[str]) -> Callable[..., tuple[Html, Html]]:
    def ask(request: gr.Request, *values: Any) -> tuple[Html, Html]:
        *fields, note, token = values

        def answer() -> Html:
            caller = admitted(service, token, "submit", request)
            try:
                wish = Wish(config=wished_config(dict(zip(names, fields, strict=True))), note=note.strip() or None)
            except ValidationError as error:
                raise ProblemError("bad-request", first_problem(error)) from None
            return asked(service.requests.add(wish.config, wish.note, caller.owner))

        return guarded(answer)[0], queue_tables(service)

    return ask
