"""About: the method, its formulas, the rules of the board and the words, from the data that the service itself uses."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

from moecap.publishing.margin import MARGINS
from moecap.report.cap import cap_rule
from moecap.report.markup import Child, Html, data_table, element, join, paragraph
from moecap.report.section import glossary
from moecap_leaderboard.metrics import HEADLINES
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.look import html_block, page_head
from moecap_leaderboard.rules import RULES, STANDING_RULES
from moecap_leaderboard.states import TIER_TEXTS

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build"]

TITLE = "About"
PATH = "/about"
IN_NAVIGATION = True


class Prose(BaseModel):
    """The content of ``about.yaml``: paragraphs, formulas with what they say, and what the kinds of rows are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lead: str
    method: tuple[str, ...]
    formulas: dict[str, tuple[str, str]]
    kinds: dict[str, str]
    ranking: str
    rules: str


@cache
def prose() -> Prose:
    """The text of the page."""
    import yaml

    text = files("moecap_leaderboard.pages").joinpath("about.yaml").read_text(encoding="utf-8")
    return Prose.model_validate(yaml.safe_load(text))


def build(context: PageContext) -> None:
    """The page."""
    sections = {
        "method": ("Method", _method()),
        "formulas": ("Formulas", _formulas()),
        "label": ("PA, PC, CA", _label()),
        "metrics": ("Metrics", _metrics()),
        "kinds": ("Kinds and trust", _trust()),
        "rules": ("Rules of the board", _rules()),
        "glossary": ("Glossary", _terms(glossary())),
    }
    links = [element("a", title, href=f"{PATH}#{id}") for id, (title, _) in sections.items()]
    content = [
        element("section", element("h2", title), body, id=id, class_="about-section")
        for id, (title, body) in sections.items()
    ]
    html_block(
        join(
            page_head(TITLE, prose().lead),
            element("nav", *links, class_="contents", aria_label="On this page"),
            *content,
        )
    )


def _method() -> Html:
    return join(*(paragraph(*_with_code(text)) for text in prose().method))


def _with_code(text: str) -> list[Child]:
    """A text whose parts between backticks are code."""
    return [element("code", part) if number % 2 else part for number, part in enumerate(text.split("`"))]


def _formulas() -> Html:
    entries = [
        join(element("dt", name), element("dd", element("p", formula, class_="formula"), element("p", text)))
        for name, (formula, text) in prose().formulas.items()
    ]
    return element("dl", *entries, class_="terms")


def _label() -> Html:
    rule = cap_rule()
    axes = {axis.key: axis for axis in rule.axes}
    rows = [
        (
            axis.name,
            axis.metric,
            axis.unit,
            axis.from_text,
            axis.to_text,
            "linear" if axis.scale == "linear" else "logarithm",
        )
        for axis in rule.axes
    ]
    letters = ", ".join(f"{letter} {axes[key].name.lower()}" for letter, key in rule.label.axes.items())
    return join(
        paragraph(
            f"Of three axes ({letters}) each system is labelled by the two that remain when the lowest is taken away, "
            f"if that one lies at least {rule.label.margin} below the next. Cost is at the price at which rows are "
            f"compared. {rule.label.reason}"
        ),
        data_table(
            f"Axes of the radar, version {rule.version}: the centre is 0, the rim 1, whichever rows are shown",
            ("Axis", "Metric", "Unit", "Centre", "Rim", "Scale"),
            rows,
            numeric=(3, 4),
        ),
    )


def _metrics() -> Html:
    rows = [(element("code", headline.name), headline.unit, headline.better, headline.text) for headline in HEADLINES]
    return data_table(
        "Metrics by which rows are sorted, with their SI units", ("Metric", "Unit", "Better", "What"), rows
    )


def _trust() -> Html:
    margins = ", ".join(f"{name} {margin:.0%}" for name, margin in MARGINS.items())
    tiers = {name.replace("_", "-"): text for name, text in TIER_TEXTS.items()}
    return join(
        _terms(prose().kinds),
        element("h3", "Tiers, the least first"),
        _terms(tiers),
        paragraph(f"Margins of a reproduction: {margins}; of accuracies the 95 % intervals must overlap."),
        element("h3", "The main ranking"),
        paragraph(prose().ranking),
    )


def _rules() -> Html:
    rows = [(element("code", rule.id), rule.text) for rule in RULES]
    rows += [(element("code", name), text) for name, text in STANDING_RULES.items()]
    return join(
        paragraph(prose().rules),
        data_table("Rules that every submission is held to", ("Rule", "What must hold"), rows),
    )


def _terms(terms: dict[str, str]) -> Html:
    entries: list[Child] = [join(element("dt", term), element("dd", text)) for term, text in terms.items()]
    return element("dl", *entries, class_="terms")
