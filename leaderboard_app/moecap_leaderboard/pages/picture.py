"""Pictures of a page's drawing to take away, made in the reader's browser: SVG, and PNG of twice its size."""

from __future__ import annotations

from moecap.report.markup import Html, element

__all__ = ["PICTURE_SCRIPT", "picture_buttons"]

PICTURE_SCRIPT = """
const drawn = () => {
  const source = element.querySelector("svg.radar");
  const copy = source.cloneNode(true);
  const kept = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "font-family",
    "font-size", "font-style", "font-weight", "color", "opacity"];
  const from = [source, ...source.querySelectorAll("*")], to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((node, i) => {
    const style = getComputedStyle(node);
    to[i].setAttribute("style", kept.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
  });
  const [, , width, height] = source.getAttribute("viewBox").split(" ").map(Number);
  const names = [...element.querySelectorAll(".legend li")], line = 18, place = "http://www.w3.org/2000/svg";
  const whole = document.createElementNS(place, "svg"), tall = height + 16 + line * names.length, wide = width + 260;
  const paper = document.createElementNS(place, "rect");
  const ink = getComputedStyle(source.querySelector("text")).fill, font = getComputedStyle(source).fontFamily;
  paper.setAttribute("width", "100%");
  paper.setAttribute("height", "100%");
  paper.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
  whole.setAttribute("xmlns", place);
  whole.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
  whole.setAttribute("width", wide);
  whole.setAttribute("height", tall);
  copy.setAttribute("x", 130);
  copy.setAttribute("overflow", "visible");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  whole.append(paper, copy);
  names.forEach((item, i) => {
    const dot = document.createElementNS(place, "rect"), text = document.createElementNS(place, "text");
    const y = height + 8 + line * i;
    const words = [item.querySelector("a"), item.querySelector(".badge"), item.querySelector("small")];
    for (const [name, value] of Object.entries({ x: 20, y, width: 9, height: 9,
      fill: getComputedStyle(item.querySelector(".key")).color })) dot.setAttribute(name, value);
    for (const [name, value] of Object.entries({ x: 36, y: y + 9, fill: ink, "font-size": 11, "font-family": font }))
      text.setAttribute(name, value);
    text.textContent = words.map((part) => part.textContent).join(", ");
    whole.append(dot, text);
  });
  return [new XMLSerializer().serializeToString(whole), wide, tall];
};
const save = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-picture]");
  if (!button) return;
  const [text, wide, tall] = drawn(), name = `${button.dataset.picture}.${button.value}`;
  if (button.value === "svg") { save(new Blob([text], { type: "image/svg+xml" }), name); return; }
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = wide * 2;
    canvas.height = tall * 2;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => save(blob, name), "image/png");
  };
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
});
"""
"""Draws the radar with its legend and normalisation into one file, in the colours that are shown."""


def picture_buttons(name: str) -> Html:
    """Buttons that save the drawing.

    Args:
        name: Of the file, without its ending.
    """
    return element(
        "p",
        *(
            element(
                "button", f"Save as {form.upper()}", type="button", value=form, data_picture=name, class_="plain-button"
            )
            for form in ("svg", "png")
        ),
        class_="onward",
    )
