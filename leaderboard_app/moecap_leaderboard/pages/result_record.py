"""Where a result comes from and what became of it: how to repeat it, its files, its provenance, its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

from moecap.errors import MoecapError
from moecap.report.cost import constants_table
from moecap.report.figures import NO_VALUE, display_value
from moecap.report.headline import long_date
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap.report.provenance import dependencies
from moecap.result import Result
from moecap_leaderboard.pages.links import page_url, result_url
from moecap_leaderboard.pages.naming import plural

__all__ = ["command_line", "files", "history", "provenance", "repeating"]


def command_line(id: str, text: str) -> Html:
    """A command with a button that copies it.

    Args:
        id: Its id in the page.
        text: The command.
    """
    button = element("button", "Copy", type="button", class_="plain-button", data_copy=id)
    return element("div", element("code", text, id=id), button, class_="command")


def repeating(found: Mapping[str, Any], site: str) -> Html:
    """The commands that repeat the run and check it; in words why there are none.

    Args:
        found: The row as ``GET /results/{id}`` gives it.
        site: The address of this leaderboard.
    """
    content = found["result"]
    if "provenance" not in content:
        if found["kind"] == "imported":
            return paragraph("moecap did not run this: the figure is its source's, and so is the way to repeat it.")
        return paragraph(
            "Nothing ran: ",
            element("code", "moecap validate"),
            " gives the same projection for the published configuration that the source names.",
        )
    identifier, place = found["id"], quote(site)
    parts: list[Child] = [
        element("h3", "Run it again and compare, on the same kind of hardware"),
        command_line("reproduce-command", f"moecap reproduce {identifier} --url {place}"),
    ]
    if found["recomputed_metrics"]:
        parts += [
            element("h3", "Recompute every number on your machine from the observations"),
            command_line("verify-command", f"moecap verify {identifier} --url {place}"),
        ]
    parts += [
        element("h3", "The run's own configuration"),
        command_line("run-command", content["provenance"]["command"]),
    ]
    return join(*parts)


def files(found: Mapping[str, Any], sizes: Mapping[str, int]) -> Html:
    """The files of a result, and where they can be fetched.

    Args:
        found: The row as ``GET /results/{id}`` gives it.
        sizes: Bytes of the files that are here, by their names.
    """
    place = f"/api/v1/results/{found['id']}"
    links = [element("a", "all that is known of it (JSON)", href=place)]
    if sizes:
        links.insert(0, element("a", "result.json", href=f"{place}/result.json", download="result.json"))
    if len(sizes) > 1:
        whole = display_value(sum(sizes.values()), "B")
        text = f"result.json with its observations (tar.gz; {whole} unpacked)"
        links.insert(0, element("a", text, href=f"{place}/observations", download=True))
    digests: Mapping[str, str] = found["result"].get("observations", {})
    rows = [
        (
            name,
            display_value(sizes[name], "B") if name in sizes else "stayed with its submitter",
            element("code", digest, class_="digest"),
        )
        for name, digest in digests.items()
    ]
    table = data_table("Observation files", ("File", "Size", "SHA-256"), rows) if rows else None
    return join(
        element("ul", *(element("li", link) for link in links), class_="downloads"),
        folded(plural(len(rows), "observation file"), table) if table else None,
    )


def provenance(found: Mapping[str, Any]) -> Html:
    """What the result depended on: of a run everything that it states, of a figure its source."""
    content = found["result"]
    if "provenance" in content:
        result = Result.model_validate(content)
        prices = folded("Prices and other constants of cost, each with its source and date", constants_table(result))
        try:
            return join(dependencies(result), prices)
        except MoecapError as error:  # of another tool, whose words nothing has checked
            return join(paragraph(f"What the result states of its model cannot be read: {error}."), prices)
    pairs = {
        "source": content["source"],
        "published": content["date"] or "date not stated",
        "hardware": f"{content['devices']} of {content['hardware_name']} (profile {content['hardware']})",
        "engine": content["engine_version"],
        "number format": content["precision"],
        "split": content["parallel"] or "not stated",
        "remarks": "; ".join(content["notes"]) or NO_VALUE,
    }
    return data_table("What its source says", ("", ""), list(pairs.items()), class_="pairs")


def history(found: Mapping[str, Any], asked: Mapping[str, Any]) -> Html:
    """Earlier and later versions, repetitions by others, and every change of state.

    Args:
        found: The row as ``GET /results/{id}`` gives it, or its tombstone with ``history`` alone.
        asked: ``reproduces``: id of the result that this one repeats, or ``None``.
    """
    parts: list[Child] = []
    if first := asked["reproduces"]:
        parts.append(paragraph("It was sent as a repetition of ", _link(first), "."))
    if others := found.get("other_versions"):
        rows = [(_link(other["id"]), f"version {other['version']}", _date(other["published"])) for other in others]
        parts.append(data_table("Other versions of the same owner and configuration", ("Result", "", "Date"), rows))
    if repeats := found.get("reproductions"):
        agreement = {True: "within the margins", False: "outside of the margins"}
        cells = [(_link(r["id"]), r["owner"], agreement[r["within"]], _date(r["published"])) for r in repeats]
        parts.append(data_table("Repetitions by others", ("Result", "Owner", "Agreement", "Date"), cells))
    if found["kind"] == "measured":
        tried = f"{found['owner']} has sent {plural(found['attempts'], 'result')} of this configuration in all; "
        every = element("a", "every row of this model", href=page_url("/board", model=found["model"]["id"]))
        parts.append(paragraph(tried, every, ".", class_="faint"))
    parts.append(_audit(found["history"]))
    return join(*parts)


def _audit(lines: Sequence[Mapping[str, Any]]) -> Html:
    rows = [
        (_date(line["time"]), line["actor"], line["action"], line["state"], line["reason"] or NO_VALUE)
        for line in lines
    ]
    return data_table("Every change of its state", ("Time", "By", "Action", "State", "Reason"), rows)


def _link(identifier: str) -> Html:
    return element("a", element("code", identifier[:16]), href=result_url(identifier))


def _date(stamp: str | None) -> str:
    return NO_VALUE if stamp is None else long_date(stamp)
