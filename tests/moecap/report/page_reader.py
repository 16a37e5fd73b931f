"""Reads what a page of a report says."""

from __future__ import annotations

from html.parser import HTMLParser


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[tuple[str, str, str]] = []
        self.sections: list[str] = []
        self.headings: list[str] = []
        self.landmarks: set[str] = set()
        self._open: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "data":
            self._open = (found["data-metric"] or "", found["value"] or "")
        if tag == "section":
            self.sections.append(found.get("id") or "")
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag in ("nav", "main", "header", "footer"):
            self.landmarks.add(tag)

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.numbers.append((*self._open, data))
            self._open = None


def read_page(text: str) -> _Reader:
    """Numbers (metric, exact value, text), sections, headings and landmarks of a page."""
    reader = _Reader()
    reader.feed(text)
    return reader
