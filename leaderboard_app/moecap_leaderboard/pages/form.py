"""Controls of a page as one plain form: read from the address, answered as they change, written back into the address.

The controls are the browser's own, so that they read as part of a sentence, work with the keyboard and are announced by
screen readers. What the server renders is the state; the script sends changes one at a time, of several that came
meanwhile the last one, and keeps the address at what is shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from moecap.report.markup import Child, Html, element, join
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.events import on, on_open
from moecap_leaderboard.pages.look import html_block, loading
from moecap_leaderboard.pages.url_state import Query, query_from

__all__ = ["Choice", "answered", "chips", "form", "form_block", "select", "slider"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that a control can take.

    Attributes:
        value: As it stands in the address.
        label: As a reader sees it.
        group: Under which heading it stands; empty for none.
    """

    value: str
    label: str
    group: str = ""


_SCRIPT = """
const fields = () => [...element.querySelectorAll("[data-field]")];
const state = () => {
  const found = {};
  for (const field of fields())
    if (field.type !== "checkbox" || field.checked) (found[field.name] ||= []).push(field.value);
  return found;
};
let waiting = false, newer = null;
const send = () => {
  const now = state();
  if (waiting) { newer = now; return; }
  waiting = true;
  trigger("submit", now);
};
const apply = (values) => {
  for (const field of fields()) {
    const own = values[field.name] ?? [];
    if (field.type === "checkbox") field.checked = own.includes(field.value);
    else if (field.type !== "hidden" && own.length) field.value = own[0];
  }
};
const rendered = () => {
  waiting = false;
  if (newer) {  // the controls show again what the reader has set meanwhile
    const now = newer;
    newer = null;
    waiting = true;
    apply(now);
    trigger("submit", now);
    return;
  }
  const root = element.querySelector("form[data-defaults]");
  if (!root) return;
  for (const field of fields()) if (field.dataset.value !== undefined) field.value = field.dataset.value;
  for (const field of fields()) if (field.type === "checkbox") field.checked = field.hasAttribute("checked");
  const defaults = JSON.parse(root.dataset.defaults), query = new URLSearchParams();
  for (const [name, values] of Object.entries(state()))
    if (JSON.stringify(values) !== JSON.stringify(defaults[name] ?? [""]))
      for (const value of values) query.append(name, value);
  const text = query.toString();
  history.replaceState(null, "", location.pathname + (text ? "?" + text : ""));
};
element.addEventListener("submit", (event) => { event.preventDefault(); send(); });
element.addEventListener("change", send);
element.addEventListener("input", (event) => { if (event.target.type === "range") send(); });
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-drop], button[data-clear]");
  if (!button) return;
  const name = button.dataset.drop || button.dataset.clear;
  for (const field of fields())
    if (field.name === name && (button.dataset.clear || field.value === button.value)) field.remove();
  send();
});
watch("value", rendered);
"""


def form_block() -> Any:
    """The place of a form; its ``submit`` event carries what the controls hold."""
    return html_block(loading(), js=_SCRIPT)


def form(*children: Child, defaults: Mapping[str, Sequence[str]], label: str, class_: str = "controls") -> Html:
    """A form with its controls.

    Args:
        *children: Words and controls.
        defaults: Values of controls that are left out of the address.
        label: What it is for, for screen readers.
        class_: How it is laid out.
    """
    return element(
        "form",
        *children,
        class_=class_,
        aria_label=label,
        data_defaults=json.dumps({name: list(values) for name, values in defaults.items()}),
        data_rendered=time.time_ns(),
    )


def select(name: str, label: str, choices: Sequence[Choice], value: str, *, bare: bool = False) -> Html:
    """A choice of one.

    Args:
        name: Its parameter in the address.
        label: What is chosen.
        choices: In their order; those of a group stand together.
        value: The one that is chosen.
        bare: Whether the label is for screen readers alone.
    """
    groups = dict.fromkeys(choice.group for choice in choices)
    parts: list[Html] = []
    for group in groups:
        options = join(
            *(
                element("option", choice.label, value=choice.value, selected=choice.value == value)
                for choice in choices
                if choice.group == group
            )
        )
        parts.append(element("optgroup", options, label=group) if group else options)
    control = element(
        "select", *parts, name=name, data_field=True, data_value=value, aria_label=label if bare else None
    )
    return control if bare else element("label", element("span", label), control)


def slider(
    name: str, label: str, value: float, low: float, high: float, step: float, shown: str, *, defaults: str = ""
) -> Html:
    """A choice of a number, answered while it is moved.

    Args:
        name: Its parameter in the address.
        label: What is chosen.
        value: The number.
        low: The least.
        high: The most.
        step: Between two numbers.
        shown: The number as a reader sees it.
        defaults: Id of a list of marked numbers.
    """
    control = element(
        "input",
        type="range",
        name=name,
        min=f"{low:g}",
        max=f"{high:g}",
        step=f"{step:g}",
        value=f"{value:g}",
        data_field=True,
        data_value=f"{value:g}",
        aria_valuetext=shown,
        list=defaults or None,
    )
    return element("label", element("span", label), control, element("output", shown), class_="slider")


def chips(name: str, label: str, chosen: Sequence[tuple[str, Child]]) -> Html:
    """What is chosen of many, each with a button that drops it.

    Args:
        name: The parameter in the address, once for each.
        label: What they are.
        chosen: Values, and how a reader sees them.
    """
    items = [
        element(
            "li",
            element("input", type="hidden", name=name, value=value, data_field=True),
            text,
            element(
                "button",
                "\N{MULTIPLICATION SIGN}",
                type="button",
                value=value,
                data_drop=name,
                aria_label="Take away this one",
            ),
        )
        for value, text in chosen
    ]
    return element("ol", *items, class_="chips", aria_label=label)


def answered(
    context: PageContext | None, block: Any, places: Sequence[Any], answer: Callable[[Query], Sequence[Any]]
) -> None:
    """Answer a form when its page is opened and whenever a control changes.

    Args:
        context: Keeps what a page of a large board shows when it is opened; null where that has a bound on those who
            wait for it, and may be that it cannot be shown now.
        block: The form's place (:func:`form_block`).
        places: Components that the answer fills; the form itself is one of them where controls follow from others.
        answer: From what the address or the controls hold to the content of every place.
    """

    def opened(request: gr.Request) -> Sequence[Any]:
        query = query_from(request)
        if context is None:
            return answer(query)
        found = context.opened((*(place._id for place in places), query.pairs), lambda: answer(query))
        return [dict(part) if isinstance(part, dict) else part for part in found]  # Gradio takes an update apart

    def changed(event: gr.EventData) -> Sequence[Any]:
        sent: Mapping[str, Sequence[str]] = event._data
        return answer(Query({name: tuple(map(str, values)) for name, values in sent.items()}))

    on_open(opened, None, list(places))
    on(block.submit, changed, None, list(places), every=True)  # its script sends one after the other
