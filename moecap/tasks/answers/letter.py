"""The letter of a multiple-choice answer that stands in prose."""

from __future__ import annotations

import re
from collections.abc import Sequence

from moecap.tasks.answers.statement import last_boxed, statements
from moecap.tasks.answers.thinking import without_thinking

__all__ = ["LETTERS", "stated_letter"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_FUNCTION_WORDS = (
    "is was are were would will should can could may might must has have had does did seems seem looks appears "
    "because since as and or but which who that for due given if by from in on at with over than here makes"
).split()
"""Words that follow the letter of a choice and never an article."""

_PRONOUN_NEXT = frozenset("is are has because since as and or which due given by from makes".split())
_PRAISE = "(?:correct|right|true|best|answer|accurate)"
_DENIAL = r"\s*[\"')\]*]*\s*(?:is|are|was|would\s+be|seems|looks|can)?\s*(?:n[o']t\b|not\b|n't|incorrect|wrong|false)"


def stated_letter(text: str, count: int, choices: Sequence[str] | None = None) -> str | None:
    r"""The letter that an answer chooses, or ``None`` if it chooses none or several.

    Looked for, the first that is found: the last ``\boxed{}``, the last "the answer is", the last "X is correct",
    "choice X" or "I choose X", a first or last line that is a letter alone or begins with one ("B) ..."), one letter in
    parentheses, one letter on its own; at last the text of exactly one of the choices after "the answer is". The
    article A and the pronoun I are no letters of choices, and a list of all the choices chooses none. Text in thinking
    tags does not count.

    Args:
        text: The answer.
        count: Choices of the question.
        choices: Their texts, for an answer that names the choice in words.
    """
    letters = LETTERS[:count]
    text = without_thinking(text)
    boxed = last_boxed(text)
    if boxed is not None and (letter := _only(re.sub(r"\\(?:text|mathrm|mathbf|textbf)\b", "", boxed), letters)):
        return letter
    said = [statement.text for statement in statements(text)]
    for sentence in reversed(said):
        found = _leading(sentence, letters)
        if found is not None:
            return found or None
    unlisted = _without_list(text, choices or (), letters)
    for find in (_named, _own_line, _in_parentheses, _on_its_own):
        found = find(unlisted, letters)
        if found is not None:
            return found or None
    return _by_text(said or [text], choices or (), letters)


def _without_list(text: str, choices: Sequence[str], letters: str) -> str:
    """The text without lists of all the choices, each after its letter, which choose none of them."""
    if not choices:
        return text
    one = (rf"{letter}[)\].:]\W*{re.escape(choice.strip())}" for letter, choice in zip(letters, choices, strict=False))
    return re.sub(r"[(\[]?" + r"\W+".join(one), " ", text)


def _only(text: str, letters: str) -> str | None:
    """The letter that is all of a text, whatever brackets, dots and stars stand around it."""
    bare = text.strip(" \t\n.,:;()[]{}*_\"'`$\\")
    return bare.upper() if len(bare) == 1 and bare.upper() in letters else None


def _leading(sentence: str, letters: str) -> str | None:
    """The letter that begins what is said to be the answer; empty where several are named; ``None`` for no letter."""
    word = r"(?:(?:option|choice|letter|answer|alternative)\s+)?"
    found = re.match(
        rf"[\s\"'(\[*_$\\{{]*(?:text\{{)?(?:the\s+)?{word}[\s\"'(\[*_$\\{{]*([A-Za-z])(?![\w'])", sentence, re.I
    )
    if found is None or (letter := found[1].upper()) not in letters:
        return None
    rest = sentence[found.end() :]
    bracketed = sentence[: found.start(1)].rstrip().endswith(("(", "[", "*", "{", '"'))
    if found[1].islower() and not bracketed and rest.strip(" .,;:)]*\"'}$"):
        return None  # "the answer is a function of x"
    if not bracketed and not _is_letter(letter, rest):
        return None
    more = re.match(rf"[\s)\]*\"']*(?:,|/|&|\band\b|\bor\b)[\s(\[*\"']*(?:both\s+)?([{letters}])(?![\w'])", rest)
    return "" if more and more[1] != letter and _is_letter(more[1], rest[more.end() :]) else letter


def _is_letter(letter: str, rest: str) -> bool:
    """Whether A is no article and I no pronoun, by what follows."""
    following = re.match(r"\s+([a-z']+)", rest)
    if letter not in "AI" or following is None:
        return not (letter == "I" and re.match(r"['\u2019](?:m|ve|d|ll)\b", rest))
    return following[1] in (_FUNCTION_WORDS if letter == "A" else _PRONOUN_NEXT)


def _named(text: str, letters: str) -> str | None:
    """The last letter that is called the choice and not denied."""
    one = rf"[\s\"'(\[*_]*([{letters}])(?![\w'])"
    patterns = (
        rf"\b(?:option|choice|alternative|[Oo]ption|[Cc]hoice)s?\b\s*:?{one}",
        rf"\b(?:choose|chose|select|pick|go\s+with|going\s+with|opt\s+for)\b\s+(?:(?:option|choice|letter)\s+)?{one}",
        rf"(?<![\w'])([{letters}])[\"')\]*]*\s+(?:is|seems|(?:would|must)\s+be)\s+(?:the\s+)?(?:most\s+)?{_PRAISE}\b",
    )
    found = []
    for pattern in patterns:
        for match in re.finditer(pattern, text, re.I if "option" in pattern else 0):
            rest = text[match.end(1) :]
            called = match[1].isupper() or not rest.strip(" .,;:)]*\"'")
            if called and _is_letter(match[1].upper(), rest) and not re.match(_DENIAL, rest):
                found.append((match.start(1), match[1].upper()))
    return max(found)[1] if found else None


def _own_line(text: str, letters: str) -> str | None:
    """The letter that the first or the last line is, or with which lines begin if it is always the same."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines[:1] + lines[-1:]:
        if letter := _only(line, letters):
            return letter
    starts = {
        match[1]
        for line in lines
        if (match := re.match(rf"[\s(\[*]*([{letters}])(?:[)\].:]|\s+[-\u2013\u2014]\s)", line)) is not None
    }
    return starts.pop() if len(starts) == 1 else "" if starts else None


def _in_parentheses(text: str, letters: str) -> str | None:
    found = set(re.findall(rf"[(\[]\s*([{letters}])\s*[)\]]", text))
    return found.pop() if len(found) == 1 else "" if found else None


def _on_its_own(text: str, letters: str) -> str | None:
    found = {
        match[1]
        for match in re.finditer(rf"(?<![\w'\u2019])([{letters}])(?![\w'\u2019])", text)
        if _is_letter(match[1], text[match.end() :]) and not re.match(_DENIAL, text[match.end() :])
    }
    return found.pop() if len(found) == 1 else "" if found else None


def _by_text(said: Sequence[str], choices: Sequence[str], letters: str) -> str | None:
    """The letter of the one choice whose text is what is said."""
    for sentence in reversed(said):
        plain = _words(sentence)
        equal = [letter for letter, choice in zip(letters, choices, strict=False) if _words(choice) == plain]
        if len(equal) == 1:
            return equal[0]
    return None


def _words(text: str) -> str:
    return re.sub(r"^(?:the|an?)\s+", "", " ".join(re.findall(r"[\w.%$+-]+", text.lower())).strip(". "))
