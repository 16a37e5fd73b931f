"""Which tokens make up a word: a word counts where its tokens begin and end with it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["words_of_tokens"]


def words_of_tokens(text: str, tokens: Sequence[tuple[int, int]], words: Sequence[tuple[int, int]]) -> list[int | None]:
    """The word to which each token belongs.

    White space at the beginning of a token belongs to no word. A token that reaches over the border of a word belongs
    to none, and that word has no tokens at all: what it says of the word cannot be told from the rest.

    Args:
        text: The caption.
        tokens: First character of each token, and that after its last.
        words: The same of each word, in their order.

    Returns:
        Numbers of words, ``None`` for tokens of none, [tokens].
    """
    found = [_word(text, *token, words) for token in tokens]
    whole = {
        number
        for number, (start, end) in enumerate(words)
        if (own := [token for token, word in zip(tokens, found, strict=True) if word == number])
        and _bare(text, *own[0])[0] == start
        and max(token[1] for token in own) == end
        and all(_apart(_bare(text, *token), (start, end)) for token in tokens if token not in own)
    }
    return [word if word in whole else None for word in found]


def _word(text: str, start: int, end: int, words: Sequence[tuple[int, int]]) -> int | None:
    start, end = _bare(text, start, end)
    return next((n for n, (first, after) in enumerate(words) if first <= start < end <= after), None)


def _bare(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the white space at its beginning."""
    while start < end and text[start].isspace():
        start += 1
    return start, end


def _apart(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[1] <= other[0] or other[1] <= one[0] or one[0] == one[1]
