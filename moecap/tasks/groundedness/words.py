"""The surprisal of each word in each condition, out of the tables of tokens and words."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.data.conllu import UPOS
from moecap.errors import BadInputError
from moecap.tasks.groundedness.correction import corrected

__all__ = ["CLASSES", "OPEN", "Words", "word_surprisals"]

CLASSES = (
    "NOUN",
    "PROPN",
    "VERB",
    "ADJ",
    "ADV",
    "NUM",
    "AUX",
    "ADP",
    "DET",
    "PRON",
    "CCONJ",
    "SCONJ",
    "PART",
)
"""The 13 classes that are analysed, open ones first; no punctuation, interjection, symbol or rest."""

OPEN = frozenset({"NOUN", "PROPN", "VERB", "ADJ", "ADV"})
"""Those of them that Universal Dependencies calls open."""

CONDITIONS = ("null", "context", "shuffled", "blank")
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9_@-]{0,15}")
_FILE = "groundedness.{}.parquet"


@dataclass(frozen=True, slots=True)
class Words:
    """Words that have tokens of their own, [words], and whole captions, [captions].

    Attributes:
        table: ``caption, picture, word, language, upos, type`` and the surprisal in each condition, nats.
        sentences: By caption, ``language``, ``picture`` and the surprisal of all its tokens in each condition, nats.
        conditions: Names of the conditions; ``null`` is the first.
        corrected: Whether the end of each word was made the word's own.
        tokens: The tokens of the condition ``context`` with the row of their word in ``table``, -1 for none.
        words: Words in all, those without tokens of their own included.
    """

    table: pd.DataFrame
    sentences: pd.DataFrame
    conditions: tuple[str, ...]
    corrected: bool
    tokens: pd.DataFrame
    words: int

    def difference(self, one: str, other: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """How much less surprising each word and each caption is in one condition than in another, nats.

        Returns:
            [words] and [captions].
        """
        of_words, of_captions = (np.asarray(t[other] - t[one], np.float64) for t in (self.table, self.sentences))
        return of_words, of_captions


def word_surprisals(words: pd.DataFrame, tokens: pd.DataFrame) -> Words:
    """Sum the surprisal of each word's tokens, which the chain rule makes that of the word.

    Args:
        words: The table ``words``.
        tokens: The table ``tokens``.

    Raises:
        BadInputError: If they contradict themselves or each other.
    """
    _check_words(words)
    found, first = {}, None
    for condition in CONDITIONS:
        own = tokens[tokens["condition"] == condition].reset_index(drop=True)
        if own.empty:
            continue
        _check_tokens(own)
        layout = own[["caption", "token", "word", "opens"]]
        if first is not None and not layout.equals(first):
            raise BadInputError(f"{_FILE.format('tokens')}: condition {condition} has other tokens than the one before")
        first = layout
        found[condition] = own
    if first is None or not {"null", "context"} <= set(found) or sum(map(len, found.values())) != len(tokens):
        raise BadInputError(f"{_FILE.format('tokens')}: the conditions are not null, context and controls")
    known = bool(tokens["mass_known"].all())
    surprisal = first[["caption", "word"]].copy()
    for condition, own in found.items():
        columns = [own[name].to_numpy() for name in ("log_p", "mass", "opens", "caption")]
        surprisal[condition] = -(corrected(*columns) if known else columns[0])
    conditions = tuple(found)
    of_words = surprisal[surprisal["word"] >= 0].groupby(["caption", "word"], sort=True)[list(conditions)].sum()
    table = words.merge(of_words.reset_index(), on=["caption", "word"], how="inner")
    if len(table) != len(of_words):
        raise BadInputError(f"{_FILE.format('tokens')}: a token is of a word that the table of words does not have")
    facts = words.groupby("caption")[["language", "picture"]].first()
    if not set(surprisal["caption"]) <= set(facts.index):
        raise BadInputError(f"{_FILE.format('tokens')}: a token is of a caption that has no word")
    whole = pd.DataFrame({condition: -own.groupby("caption")["log_p"].sum() for condition, own in found.items()})
    whole = facts.join(whole, how="right")
    rows = pd.MultiIndex.from_frame(table[["caption", "word"]])
    context = found["context"].copy()
    context["row"] = rows.get_indexer(pd.MultiIndex.from_frame(context[["caption", "word"]]))
    of_captions = int(words["caption"].isin(whole.index).sum())
    return Words(table, whole, conditions, known, context, of_captions)


def _check_words(words: pd.DataFrame) -> None:
    file = _FILE.format("words")
    if words.duplicated(["caption", "word"]).any():
        raise BadInputError(f"{file}: a word of a caption comes twice")
    if unknown := sorted(set(words["upos"]) - UPOS - {""}):
        raise BadInputError(f"{file}: {unknown[0]!r} in column upos is no universal part of speech")
    if (words.groupby("caption")["picture"].nunique() > 1).any():
        raise BadInputError(f"{file}: column picture does not give each caption one picture")
    if (words.groupby("caption")["language"].nunique() > 1).any() or not all(
        _LANGUAGE.fullmatch(language) for language in words["language"].unique()
    ):
        raise BadInputError(f"{file}: column language does not give each caption one language, such as en or pt_BR")


def _check_tokens(own: pd.DataFrame) -> None:
    file = _FILE.format("tokens")
    caption, token = own["caption"].to_numpy(), own["token"].to_numpy()
    follows = np.diff(caption, prepend=caption[0] - 1) == 0
    if (np.diff(caption) < 0).any() or (token[~follows] != 0).any() or (np.diff(token)[follows[1:]] != 1).any():
        raise BadInputError(
            f"{file}: column token does not count the tokens of each caption from 0, caption by caption"
        )
    if (own["log_p"] > 0).any() or (own["mass"] > 1e-3).any():
        raise BadInputError(f"{file}: a log-probability in column log_p or mass is above 0")
