"""The first page: a question with choices in it, and the answer with what it rests on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields

from moecap.models.registry import packaged_models
from moecap.report.markup import Html, element, join, paragraph
from moecap_leaderboard.pages.answer import answer_block
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.form import Choice, answered, form, form_block, select
from moecap_leaderboard.pages.links import page_url
from moecap_leaderboard.pages.look import html_block, page_head
from moecap_leaderboard.pages.projections import packaged_name
from moecap_leaderboard.pages.question import Question, choices, in_scope, read_question
from moecap_leaderboard.pages.row_sets import MOST_ROWS, model_rows
from moecap_leaderboard.pages.url_state import Query

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build"]

TITLE = "moecap: which model, engine and hardware?"
PATH = "/"
IN_NAVIGATION = True

_SIZE = re.compile(r"\d+(?:x\d+)?B-?(?:A\d+B)?", re.IGNORECASE)

_LABELS = {
    "model": "Model",
    "shape": "Lengths of prompts and answers",
    "at": "Requests at once",
    "hw": "Hardware",
    "gpus": "Number of devices",
    "care": "What matters most",
    "then": "What matters next",
    "tpot": "Most time for an output token",
    "by": "Which rows answer",
}


def build(context: PageContext) -> None:
    """Build it inside its route."""
    html_block(page_head("Which model, on which engine and hardware?"))
    sentence = form_block()
    answer = html_block(id="answer")
    answered(context, sentence, [sentence, answer], lambda query: _answer(context, query))


def _answer(context: PageContext, query: Query) -> Sequence[str]:
    options = context.options()
    models = [*options.model, *_projectable(options.model)]
    given = {field.name: query.first(field.name) for field in fields(Question)}
    if "then" in query:  # nothing at all may be chosen
        given["then"] = query.first("then", "none")
    question = read_question(given, models)
    items = model_rows(context, question.model)
    form_markup = _sentence(question, models, options.model, choices(items, question, options.hardware_names))
    parts = [_asked(options.model), answer_block(items, question)]
    if MOST_ROWS in Counter(item["kind"] for item in items).values():
        text = f"Of the rows of this model the newest {MOST_ROWS:,} of each kind are looked at."
        parts.append(paragraph(text, class_="missing"))
    if not in_scope(items, question) and (kin := _kin(question, options.model)):
        parts.insert(1, kin)
    return str(form_markup), str(join(*parts))


def _kin(question: Question, model: dict[str, int]) -> Html | None:
    """Other models of the same size, such as ``30B-A3B``, where the board has none of what is asked."""
    size = _SIZE.search(question.model)
    kin = [name for name in model if size and size[0].lower() in name.lower() and name != question.model]
    if not kin:
        return None
    links = [element("a", name, href=page_url("/", **{**asdict(question), "model": name})) for name in kin]
    return element("p", "Of the same size on the board: ", *(join(link, " ") for link in links), class_="onward kin")


def _projectable(model: dict[str, int]) -> list[str]:
    """Hub ids of packaged models of which the board has no row."""
    known = {packaged_name(name) for name in model}
    return [packaged.hub_id for packaged in packaged_models() if packaged.name not in known]


def _sentence(
    question: Question, models: Sequence[str], counts: dict[str, int], found: dict[str, list[Choice]]
) -> Html:
    names = [Choice(m, f"{m.rpartition('/')[2]} ({counts[m]})") if m in counts else _unmeasured(m) for m in models] or [
        Choice("", "no model yet")
    ]
    found = {"model": names, **found}

    def field(name: str) -> Html:
        return select(name, _LABELS[name], found[name], getattr(question, name), bare=True)

    first = Question(model=models[0] if models else "")
    return form(
        element(
            "p",
            *("I serve ", field("model"), " for ", field("shape"), " at ", field("at"), " at once on "),
            *(field("hw"), " with ", field("gpus"), "; I care most about ", field("care"), ", then ", field("then")),
            *(", with ", field("tpot"), " for a token. Let rows answer that are ", field("by")),
            class_="question",
        ),
        defaults={name: [value] for name, value in asdict(first).items()},
        label="Your question",
        class_="asking",
    )


def _unmeasured(model: str) -> Choice:
    return Choice(model, model.rpartition("/")[2], "no result yet, projected only")


def _asked(model: dict[str, int]) -> Html:
    """Questions that others come with, as links; of models that the board has rows of."""
    mixtral = next((name for name in model if "mixtral" in name.lower()), "mixtral")
    asked = (
        ("The cheapest way to serve Mixtral at 50 ms a token", page_url("/", model=mixtral, tpot="50")),
        (
            "Which engine is faster on an H100 for Qwen3-30B-A3B, and by how much",
            page_url("/", model="Qwen3-30B-A3B", hw="h100-sxm", care="speed"),
        ),
    )
    links = [element("a", text, href=address) for text, address in asked]
    return element("p", "Asked often: ", *(join(link, " ") for link in links), class_="onward asked")
