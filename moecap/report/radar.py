"""The CAP radar as inline SVG: it needs no script, prints, and carries its normalisation on every axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from moecap.report.cap import Axis, Place
from moecap.report.figures import display
from moecap.report.markup import Html, element, join

__all__ = ["CENTRE", "RADIUS", "point", "radar"]

WIDTH, HEIGHT = 392, 328
CENTRE = (196.0, 162.0)
RADIUS = 96.0
LABEL_GAP = 12.0
LINE = 14.0
RINGS = (0.25, 0.5, 0.75, 1.0)


def point(number: int, of: int, share: float) -> tuple[float, float]:
    """Where a share of an axis is drawn.

    Args:
        number: Number of the axis; the axes run clockwise and the second of them points up.
        of: How many axes there are.
        share: 0 at the centre, 1 at the rim.

    Returns:
        x to the right and y downwards, in units of the drawing.
    """
    angle = 2 * math.pi * (number - 1) / of
    return CENTRE[0] + share * RADIUS * math.sin(angle), CENTRE[1] - share * RADIUS * math.cos(angle)


def radar(systems: Sequence[tuple[str, str, tuple[Place, ...]]]) -> Html:
    """The radar of one system or of several over each other.

    An axis without a value has no mark, and the outline has a gap there: it is never drawn as 0.

    Args:
        systems: Name, kind (measured, projected or imported) and places of each, on the same three axes or more.
    """
    axes = [place.axis for place in systems[0][2]]
    n = len(axes)
    single = systems[0][2] if len(systems) == 1 else None
    parts = [_rings(n)]
    for i in range(n):
        x, y = point(i, n, 1)
        absent = all(places[i].share is None for _, _, places in systems)
        parts.append(_line(CENTRE, (x, y), "spoke absent" if absent else "spoke"))
    parts += [_system(number, kind, places) for number, (_, kind, places) in enumerate(systems)]
    for i in range(n):
        parts.append(_label(i, axes, single[i] if single else None))
    text = "; ".join(_spoken(name, places) for name, _, places in systems)
    return element(
        "svg",
        element("title", f"CAP radar. {text}"),
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="radar",
    )


def _spoken(name: str, places: tuple[Place, ...]) -> str:
    words = (f"{p.axis.name} {display(p.metric) if p.share is not None else 'no value'}" for p in places)
    return f"{name}: {', '.join(words)}"


def _number(value: float) -> str:
    return f"{value:.2f}"


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _line(a: tuple[float, float], b: tuple[float, float], class_: str) -> Html:
    return element("line", x1=_number(a[0]), y1=_number(a[1]), x2=_number(b[0]), y2=_number(b[1]), class_=class_)


def _rings(n: int) -> Html:
    rings = (_points([point(i, n, share) for i in range(n)]) for share in RINGS)
    return join(*(element("polygon", points=points, class_="ring") for points in rings))


def _system(number: int, kind: str, places: tuple[Place, ...]) -> Html:
    n = len(places)
    drawn = [None if p.share is None else point(i, n, p.share) for i, p in enumerate(places)]
    fills, edges, marks = [], [], []
    for i, here in enumerate(drawn):
        after = drawn[(i + 1) % n]
        if here is None:
            continue
        if after is not None:
            fills.append(element("polygon", points=_points([CENTRE, here, after]), class_="fill"))
            edges.append(_line(here, after, "edge"))
        title = f"{places[i].axis.name}: {display(places[i].metric)}"
        marks.append(
            element(
                "circle",
                element("title", title),
                cx=_number(here[0]),
                cy=_number(here[1]),
                r=3.4,
                class_="mark beyond" if places[i].beyond else "mark",
                data_axis=places[i].axis.key,
            )
        )
    return element("g", *fills, *edges, *marks, class_=f"system s{number} {kind}")


def _label(number: int, axes: Sequence[Axis], here: Place | None) -> Html:
    axis = axes[number]
    x, y = point(number, len(axes), 1 + LABEL_GAP / RADIUS)
    lean = x - CENTRE[0]
    anchor = "middle" if abs(lean) < 0.2 * RADIUS else "start" if lean > 0 else "end"
    lines: list[tuple[str, str]] = [(axis.name, "axis-name")]
    if here is not None:
        missing = here.share is None
        value = "no value" if missing else display(here.metric) + (" (beyond)" if here.beyond else "")
        lines.append((value, "axis-value none" if missing else "axis-value"))
    lines.append((f"{axis.from_text} → {axis.to_text}", "axis-range"))
    depth = (y - CENTRE[1]) / RADIUS  # -1 at the top, where the text ends above the point; 1 at the bottom
    first = y + LINE * (0.75 + (len(lines) - 1) / 2 * (depth - 1)) - (3 if depth < -0.5 else 0)
    texts = (
        element(
            "text",
            text,
            element("tspan", f" {axis.scale}", class_="axis-range") if i == 0 else None,
            x=_number(x),
            y=_number(first + i * LINE),
            text_anchor=anchor,
            class_=class_,
        )
        for i, (text, class_) in enumerate(lines)
    )
    reason = here.metric.reason if here is not None else None
    return element("g", element("title", reason) if reason else None, *texts, data_label=axis.key)
