"""What of an answer is reasoning aloud, which does not count as the answer."""

from __future__ import annotations

import re

__all__ = ["without_thinking"]

_TAGS = (
    (r"<\s*{0}\s*>", r"<\s*/\s*{0}\s*>", ("think", "thinking", "thought", "reasoning")),
    (r"\[{0}\]", r"\[/{0}\]", ("think",)),
    (r"◁{0}▷", r"◁/{0}▷", ("think",)),
)
_PAIRS = tuple(
    (re.compile(opening.format(name), re.I), re.compile(closing.format(name), re.I))
    for opening, closing, names in _TAGS
    for name in names
)
_FINAL = re.compile(r"<\|channel\|>\s*final\s*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*(?:analysis|commentary)")
_END = re.compile(r"<\|(?:end|return|call)\|>")


def without_thinking(text: str) -> str:
    """The answer without what stands in thinking tags, stripped then; one without such tags as it is.

    A tag that is never closed takes all that follows with it; a closing tag without an opening one, which the prompt
    then held, takes all that stands before. Of channels (gpt-oss) the final one counts, and nothing if there is none.
    """
    whole = text
    if final := list(_FINAL.finditer(text)):
        text = _END.split(text[final[-1].end() :])[0]
    elif _CHANNEL.search(text):
        return ""
    for opening, closing in _PAIRS:
        text = _outside(text, opening, closing)
    return whole if text == whole else text.strip()


def _outside(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    marks = sorted(
        [(found.start(), found.end(), True) for found in opening.finditer(text)]
        + [(found.start(), found.end(), False) for found in closing.finditer(text)]
    )
    kept: list[str] = []
    outside, place = True, 0
    for begin, end, opens in marks:
        if opens and outside:
            kept.append(text[place:begin])
            outside = False
        elif not opens:
            if outside:  # the opening one stood in the prompt
                kept.clear()
            outside, place = True, end
    return "".join(kept) + (text[place:] if outside else "")
