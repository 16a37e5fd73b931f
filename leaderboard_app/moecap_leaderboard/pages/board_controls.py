"""The leaderboard's controls: one plain form whose fields bear the names of the address's parameters."""

from __future__ import annotations

from collections.abc import Mapping

from moecap.report.markup import Child, Html, element, join
from moecap_leaderboard.facets import Spread
from moecap_leaderboard.pages.board_columns import COLUMNS, default_columns
from moecap_leaderboard.pages.board_query import BOARD, DEFAULT_SORT, BoardQuery
from moecap_leaderboard.pages.look import engine_mark
from moecap_leaderboard.states import TIERS

__all__ = ["KINDS", "chips", "controls", "counts_of"]

KINDS = ("measured", "projected", "imported", "all")

_FACETS = {
    "family": "Model family",
    "model": "Model",
    "hardware": "Hardware",
    "engine": "Engine",
    "precision": "Precision",
    "task": "Task",
}
_LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_TIERS = {
    "self_reported": "any",
    "signed": "signed or more",
    "recomputed": "recomputed or more",
    "reproduced": "reproduced",
}


def controls(query: BoardQuery, known: Spread, spread: Spread, names: Mapping[str, str]) -> Html:
    """The form.

    Args:
        query: The state that it shows.
        known: Every value that any row has.
        spread: Rows of each value under the other filters.
        names: Names of hardware by id.
    """
    asked = query.asked
    hidden = element("input", type="hidden", name="sort", value=asked.sort, data_default=DEFAULT_SORT)
    search = element(
        "input", type="search", name="q", value=asked.q or "", id="board-search", placeholder="Search", maxlength=100,
        autocomplete="off", aria_label="Search models, hardware and engines",
    )  # fmt: skip
    folds = [
        _facet(name, title, query, known.get(name, {}), spread.get(name, {}), names)
        for name, title in _FACETS.items()
        if known.get(name)
    ]
    return element(
        "form",
        hidden,
        element("div", search, _kinds(query, spread["kind"]), class_="bar-row"),
        element("div", *folds, _load(query), _trust(query), _columns(query), class_="facets"),
        id="board-form",
        action=BOARD,
        role="search",
        aria_label="Filters of the leaderboard",
    )


def counts_of(spread: Spread) -> dict[str, int]:
    """Rows by ``facet=value``, for the script that keeps the numbers in the form."""
    found = {f"{facet}={value}": count for facet, values in spread.items() for value, count in values.items()}
    return found | {"kind=all": sum(spread["kind"].values())}


def _kinds(query: BoardQuery, counts: Mapping[str, int]) -> Html:
    options: list[Html] = []
    for kind in KINDS:
        count = sum(counts.values()) if kind == "all" else counts.get(kind, 0)
        field = element(
            "input", type="radio", name="kind", value=kind, checked=query.asked.kind == kind,
            data_default="measured",
        )  # fmt: skip
        options.append(element("label", field, element("span", kind, _count(f"kind={kind}", count))))
    return element("fieldset", element("legend", "Kind", class_="sr"), *options, class_="segments")


def _count(key: str, count: int) -> Html:
    return element("small", f"{count:,}", data_count=key)


def _fold(title: str, chosen: int, *content: Child, class_: str | None = None) -> Html:
    mark = element("span", str(chosen) if chosen else "", class_="chosen")
    return element(
        "details",
        element("summary", title, mark),
        element("div", *content, class_="fold"),
        class_=f"facet {class_ or ''}".strip(),
        name="board-facet",
    )


def _facet(
    name: str,
    title: str,
    query: BoardQuery,
    known: Mapping[str, int],
    counts: Mapping[str, int],
    names: Mapping[str, str],
) -> Html:
    chosen = getattr(query.asked, name)
    values = list(dict.fromkeys((*counts, *known, *chosen)))
    options: list[Html] = []
    for value in values:
        count, checked = counts.get(value, 0), value in chosen
        field = element("input", type="checkbox", name=name, value=value, checked=checked)
        label = join(engine_mark(value), value) if name == "engine" else _label(name, value, names)
        hidden = not count and not checked
        options.append(element("label", field, element("span", label), _count(f"{name}={value}", count), hidden=hidden))
    legend = element("legend", title, class_="sr")
    return _fold(title, len(chosen), element("fieldset", legend, *options))


def _label(name: str, value: str, names: Mapping[str, str]) -> Child:
    if name == "hardware" and value in names and names[value] != value:
        return join(value, element("small", names[value]))
    return value


def _load(query: BoardQuery) -> Html:
    asked = query.asked
    bounds = {"concurrency_min": asked.concurrency_min, "concurrency_max": asked.concurrency_max}
    fields = [
        element("label", text, _select(name, _loads(bounds[name]), str(bounds[name] or "")))
        for name, text in (("concurrency_min", "from"), ("concurrency_max", "to"))
    ]
    chosen = sum(value is not None for value in bounds.values())
    note = element("p", "Requests that the server holds at once.", class_="note")
    return _fold("Batch", chosen, note, *fields, class_="pair")


def _loads(given: int | None) -> dict[str, str]:
    steps = sorted({*_LOADS, *([given] if given else [])})
    return {"": "any"} | {str(step): f"{step:,}" for step in steps}


def _trust(query: BoardQuery) -> Html:
    tier = query.asked.tier or ""
    assert set(_TIERS) == set(TIERS)
    options = {("" if name == "self_reported" else name): text for name, text in _TIERS.items()}
    return _fold("Trust", bool(tier), element("label", "at least", _select("tier", options, tier)), class_="pair")


def _select(name: str, options: Mapping[str, str], chosen: str) -> Html:
    made = [element("option", text, value=value, selected=value == chosen) for value, text in options.items()]
    return element("select", *made, name=name)


def _columns(query: BoardQuery) -> Html:
    default = default_columns(query.asked.kind)
    options: list[Html] = []
    for column in COLUMNS:
        field = element(
            "input", type="checkbox", name="column", value=column.key, checked=column.key in query.columns,
            data_usual="1" if column.key in default else "0",
        )  # fmt: skip
        words = f"{column.group} {column.head}".strip()
        unit = element("small", column.unit) if column.unit else None
        options.append(element("label", field, element("span", words), unit, title=column.text))
    legend = element("legend", "Columns", class_="sr")
    return _fold("Columns", False, element("fieldset", legend, *options), class_="columns")


def chips(query: BoardQuery) -> Html | None:
    """The filters that are set, each as a link that takes it away; nothing where none is."""
    pairs = [(name, value) for name, value in query.parameters() if name not in ("kind", "sort")]
    if not pairs:
        return None
    links: list[Html] = []
    for name, value in pairs:
        others = [other for key, other in pairs if key == name and other != value]
        links.append(
            element(
                "a",
                f"{_NAMES.get(name, name)}: {value}",
                element("span", "\N{MULTIPLICATION SIGN}", aria_hidden="true"),
                href=query.without(name, others),
                data_state=True,
                aria_label=f"Remove the filter {_NAMES.get(name, name)} {value}",
            )
        )
    links.append(element("a", "Clear all", href=query.cleared(), data_state=True, class_="clear"))
    return element("div", *links, class_="chips")


_NAMES = {
    "q": "search",
    "concurrency_min": "batch from",
    "concurrency_max": "batch to",
    "tier": "trust at least",
}
