"""Charts of the pages: Plotly's figures in the site's template, with their sentence and how to read them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from moecap.report.markup import Child, Html, element, folded, join

__all__ = ["explained", "plot", "shown_plot", "styled"]

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
_INK = "#6f7780"
_LINE = "rgba(127, 135, 144, 0.3)"
"""Colours of an exported picture; in the page look.css sets those of texts and grids, for light and dark."""

_AXIS: dict[str, Any] = {
    "gridcolor": _LINE,
    "linecolor": _LINE,
    "zerolinecolor": _LINE,
    "automargin": True,
    "ticks": "",
    "tickfont": {"size": 12},
    "title": {"font": {"size": 12.5}, "standoff": 8},
}


def styled(figure: Any) -> Any:
    """A figure in the site's template; what it sets itself stays.

    Args:
        figure: A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go

    layout = {
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 12.5, "color": _INK},
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8, "pad": 2},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"font": {"family": _FONT, "size": 12.5}},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "polar": {"bgcolor": "rgba(0,0,0,0)", "radialaxis": {"gridcolor": _LINE}, "angularaxis": {"gridcolor": _LINE}},
    }
    figure.update_layout(template=go.layout.Template(layout=layout))
    return figure


def plot(figure: Any = None, *, label: str, id: str | None = None) -> Any:
    """A place for a chart.

    Args:
        figure: The figure it shows at first; null where it comes when the page is opened. Figures that come later pass
            through :func:`styled`.
        label: What it shows, for screen readers.
        id: Its id in the page.
    """
    return gr.Plot(
        None if figure is None else styled(figure),
        label=label,
        show_label=False,
        container=False,
        elem_id=id,
        elem_classes=["chart-place"],
    )


def shown_plot(figure: Any) -> Any:
    """What fills a place of a chart: the figure, or nothing that is seen where there is none (look.css).

    The place stays in the page: one that Gradio hid or took out does not show the next figure.
    """
    return gr.update(value=figure)


def explained(sentence: Child, how: Child) -> Html:
    """What stands under every chart: one sentence of what it shows, computed from the data, and how to read it.

    Args:
        sentence: What it shows, with the number of rows that it rests on.
        how: How to read it.
    """
    return element(
        "div",
        element("p", sentence, class_="shows"),
        folded("How to read this", join(how), class_="how"),
        class_="explained",
    )
