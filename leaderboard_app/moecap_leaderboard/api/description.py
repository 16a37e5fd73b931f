"""The API in words at ``/docs``: every path with its parameters, from its OpenAPI document, without foreign scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from moecap.report.markup import Child, Html, data_table, element, join
from moecap_leaderboard.api.answers import FRAMED, bytes_answer
from moecap_leaderboard.pages.shell import file_url

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_POLICY = f"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; {FRAMED}"

_METHODS = ("get", "post", "patch", "delete")


@router.get("/docs")
def docs(request: Request) -> Response:
    """The page."""
    described: dict[str, Any] = request.app.openapi()
    body = join(
        element("h1", "API"),
        element("p", described["info"]["summary"]),
        element(
            "p",
            "Errors are problem details (RFC 9457). The same as an OpenAPI document: ",
            element("a", "openapi.json", href=request.app.openapi_url),
            ". Back to the ",
            element("a", "pages", href="/"),
            ".",
        ),
        *(_operation(*operation) for operation in _operations(described)),
    )
    head = join(
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"API \N{EN DASH} {described['info']['title']}"),
        element("link", rel="icon", href=file_url("icon.svg"), type="image/svg+xml"),
        element("link", rel="stylesheet", href=file_url("look.css")),
    )
    page = element("html", element("head", head), element("body", element("main", body, class_="reference")), lang="en")
    text, headers = f"<!doctype html>{page}".encode(), {"Content-Security-Policy": _POLICY}
    return bytes_answer(request, text, "text/html; charset=utf-8", seconds=60, headers=headers)


def _operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield method.upper(), path, methods[method]


def _operation(method: str, path: str, operation: dict[str, Any]) -> Html:
    parts: list[Child] = [element("h2", element("code", f"{method} {path}")), element("p", operation["description"])]
    if operation.get("security"):
        parts.append(element("p", element("code", "Authorization: Bearer KEY"), " where a scope is needed."))
    if "requestBody" in operation:
        parts.append(element("p", "Body: ", element("code", ", ".join(operation["requestBody"]["content"]))))
    rows = [
        (element("code", one["name"]), one["in"], _type(one["schema"]), "yes" if one.get("required") else _default(one))
        for one in operation.get("parameters", ())
    ]
    if rows:
        parts.append(data_table(f"Parameters of {method} {path}", ("Name", "In", "Type", "Needed or default"), rows))
    return element("section", *parts)


def _type(schema: dict[str, Any]) -> str:
    """A JSON Schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"{_type(schema['items'])}, may be repeated"
    return str(schema.get("const", schema.get("type", "any")))


def _default(parameter: dict[str, Any]) -> str:
    default = parameter["schema"].get("default")
    return "" if default in (None, []) else str(default)
