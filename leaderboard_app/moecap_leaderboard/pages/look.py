"""How the pages look: Gradio's theme on the site's colours, one colour an engine, the parts that all pages share."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import gradio as gr

from moecap.report.markup import Child, Html, element, join

__all__ = [
    "ENGINE_COLOURS",
    "FILES",
    "engine_colour",
    "engine_mark",
    "file_bytes",
    "html_block",
    "loading",
    "page_head",
    "theme",
]

ENGINE_COLOURS = {
    "vllm": "#0072b2",
    "sglang": "#c8500a",
    "trtllm": "#00946b",
    "transformers": "#b0608a",
    "llamacpp": "#b87a00",
    "ktransformers": "#3a8fc9",
}
"""After Okabe and Ito's palette, each at least 3 : 1 on the light and on the dark paper."""

_OTHER_ENGINE = "#7f8790"

FILES = {
    "look.css": "text/css; charset=utf-8",
    "board.css": "text/css; charset=utf-8",
    "about.css": "text/css; charset=utf-8",
    "answers.css": "text/css; charset=utf-8",
    "evidence.css": "text/css; charset=utf-8",
    "radar.css": "text/css; charset=utf-8",
    "look.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Files that the frame serves, with their types."""


@cache
def file_bytes(name: str) -> bytes:
    """A file of :data:`FILES`."""
    package = "moecap.report" if name == "radar.css" else "moecap_leaderboard.pages"
    return files(package).joinpath(name).read_bytes()


def engine_colour(name: str) -> str:
    """The colour of an engine, by its name in a row; grey of one that has none of its own."""
    return ENGINE_COLOURS.get(name, _OTHER_ENGINE)


def engine_mark(name: str) -> Html:
    """A dot in the engine's colour, which screen readers pass over."""
    return element("span", class_="engine-mark", style=f"background:{engine_colour(name)}", aria_hidden="true")


def page_head(title: str, lead: Child = None) -> Html:
    """The heading of a page and the sentence under it."""
    under = None if lead is None else element("p", lead, class_="lead")
    return element("div", element("h1", title), under, class_="page-head")


def html_block(content: Html | str = "", *, id: str | None = None, js: str | None = None) -> Any:
    """A place for markup without Gradio's own typography.

    Args:
        content: What it holds at first.
        id: Its id in the page.
        js: A script that runs once, with ``element`` and ``trigger`` (Gradio's ``js_on_load``).
    """
    return gr.HTML(str(content), apply_default_css=False, padding=False, container=False, elem_id=id, js_on_load=js)


def loading(text: str = "Loading") -> Html:
    """What stands where content comes as soon as the server has answered."""
    return join(element("p", text, "\N{HORIZONTAL ELLIPSIS}", class_="loading", role="status"))


_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
_MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

_COLOURS = {
    "body_background_fill": "var(--paper)",
    "body_text_color": "var(--ink)",
    "body_text_color_subdued": "var(--muted)",
    "background_fill_primary": "var(--paper)",
    "background_fill_secondary": "var(--soft)",
    "border_color_primary": "var(--line)",
    "border_color_accent": "var(--accent)",
    "color_accent": "var(--accent)",
    "color_accent_soft": "var(--shade)",
    "block_background_fill": "transparent",
    "block_border_color": "var(--line)",
    "block_border_width": "0px",
    "block_label_background_fill": "transparent",
    "block_label_text_color": "var(--muted)",
    "block_title_text_color": "var(--muted)",
    "block_info_text_color": "var(--muted)",
    "block_shadow": "none",
    "panel_background_fill": "transparent",
    "input_background_fill": "var(--field)",
    "input_background_fill_focus": "var(--field)",
    "input_border_color": "var(--edge)",
    "input_border_color_focus": "var(--accent)",
    "input_placeholder_color": "var(--muted)",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "button_primary_background_fill": "var(--accent)",
    "button_primary_background_fill_hover": "var(--accent)",
    "button_primary_text_color": "var(--paper)",
    "button_primary_border_color": "var(--accent)",
    "button_secondary_background_fill": "var(--field)",
    "button_secondary_background_fill_hover": "var(--soft)",
    "button_secondary_text_color": "var(--ink)",
    "button_secondary_border_color": "var(--edge)",
    "checkbox_background_color": "var(--field)",
    "checkbox_background_color_selected": "var(--accent)",
    "checkbox_border_color": "var(--edge)",
    "checkbox_border_color_selected": "var(--accent)",
    "checkbox_border_color_focus": "var(--accent)",
    "checkbox_label_background_fill": "transparent",
    "checkbox_label_background_fill_hover": "var(--soft)",
    "checkbox_label_background_fill_selected": "var(--shade)",
    "checkbox_label_border_color": "var(--line)",
    "checkbox_label_text_color": "var(--ink)",
    "checkbox_label_text_color_selected": "var(--ink)",
    "slider_color": "var(--accent)",
    "link_text_color": "var(--accent)",
    "link_text_color_hover": "var(--accent)",
    "link_text_color_active": "var(--accent)",
    "link_text_color_visited": "var(--accent)",
    "loader_color": "var(--accent)",
    "table_border_color": "var(--line)",
    "table_even_background_fill": "transparent",
    "table_odd_background_fill": "transparent",
    "table_row_focus": "var(--shade)",
    "code_background_fill": "var(--soft)",
    "error_background_fill": "var(--soft)",
    "error_border_color": "var(--alarm)",
    "error_text_color": "var(--alarm)",
    "stat_background_fill": "var(--shade)",
}
"""Gradio's variables on those of look.css, which know light and dark."""


def theme() -> Any:
    """Gradio's base theme with the fonts of the reader's system and the colours of look.css."""
    base = gr.themes.Base(
        primary_hue="blue",
        secondary_hue="blue",
        neutral_hue="gray",
        text_size="sm",
        spacing_size="sm",
        radius_size="sm",
        font=[gr.themes.Font(name) for name in _SANS],
        font_mono=[gr.themes.Font(name) for name in _MONO],
    )
    names = vars(base)
    both = {f"{name}_dark": colour for name, colour in _COLOURS.items() if f"{name}_dark" in names}
    return base.set(**_COLOURS, **both)
