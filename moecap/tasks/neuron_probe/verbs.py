"""Verb forms of six languages with tense, number and person, by the paradigms of mlconjug3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moecap.data.rows import data_set_rows
from moecap.data.verbs import LANGUAGES, NAME, PARADIGMS, VERBS
from moecap.errors import UnknownNameError
from moecap.tasks.neuron_probe.words import Word

__all__ = ["VERB_ATTRIBUTES", "verb_words"]

VERB_ATTRIBUTES = ("Number", "Person", "Tense")

DRAW_SEED = 0
"""Seed with which forms are drawn, the same in every run."""

_TENSES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "en": {"PRS": ("indicative", "indicative present"), "PST": ("indicative", "indicative past tense")},
    "es": {
        "PRS": ("Indicativo", "Indicativo presente"),
        "PST": ("Indicativo", "Indicativo pretérito imperfecto"),
        "FUT": ("Indicativo", "Indicativo futuro"),
    },
    "fr": {"PRS": ("Indicatif", "Présent"), "PST": ("Indicatif", "Imparfait"), "FUT": ("Indicatif", "Futur")},
    "it": {
        "PRS": ("Indicativo", "Indicativo presente"),
        "PST": ("Indicativo", "Indicativo imperfetto"),
        "FUT": ("Indicativo", "Indicativo futuro semplice"),
    },
    "pt": {
        "PRS": ("Indicativo", "Indicativo presente"),
        "PST": ("Indicativo", "Indicativo pretÃ©rito imperfeito"),  # as the file spells it
        "FUT": ("Indicativo", "Indicativo Futuro do Presente Simples"),
    },
    "ro": {"PRS": ("Prezent", "Prezent"), "PST": ("Imperfect", "Imperfect")},
}
"""Mood and tense of the simple indicative forms in the files; the past is the imperfect where a language has one."""

_SLOTS = [(number, person, tense) for tense in ("PRS", "PST", "FUT") for number in ("SG", "PL") for person in "123"]
"""Places of a paradigm: number, person and tense."""

_REFLEXIVE = {"es": "se", "it": "si", "pt": "se"}
"""End of infinitives whose forms are those of another verb, as the files have no pronouns for them."""


def verb_words(languages: Sequence[str], count: int, data: Path | None) -> tuple[list[Word], bool]:
    """Forms of each language, drawn evenly from tenses, numbers and persons, and whether forms were left out.

    A form of several verbs is left out, and an attribute of which a form has several values: what it is follows from a
    sentence, and here there is none.

    Args:
        languages: Languages.
        count: Forms of a language, at most.
        data: A folder with the files, instead of the package.

    Raises:
        UnknownNameError: If there is no such language.
        UsageError: If the data cannot be had.
    """
    if unknown := [language for language in languages if language not in LANGUAGES]:
        raise UnknownNameError(f"language of {NAME}", unknown[0], LANGUAGES)
    words: list[Word] = []
    limited = False
    for language in languages:
        lemmas, slots = _readings(language, data)
        drawn = _drawn(slots, count)
        limited |= len(drawn) < len(slots)
        for number, form in enumerate(drawn):
            of = [values for slot, values in enumerate(_SLOTS) if slots[form] >> slot & 1]
            attributes = {
                name: values.pop()
                for place, name in enumerate(VERB_ATTRIBUTES)
                if len(values := {one[place] for one in of}) == 1
            }
            words.append(Word(f"{language}-{number}", language, form, lemmas[form], attributes, form))
    return words, limited


def _readings(language: str, data: Path | None) -> tuple[dict[str, str], dict[str, int]]:
    """The lemma of each form of one verb, and what the form can be: the sum of 2 to the power of each place it has."""
    templates = {
        row["template"]: _endings(row["moods"], _TENSES[language])
        for _, row in data_set_rows(NAME, PARADIGMS, config=language, data=data)
    }
    lemmas: dict[str, str] = {}
    slots: dict[str, int] = {}
    several: set[str] = set()
    for _, row in data_set_rows(NAME, VERBS, config=language, data=data):
        lemma, root = row["lemma"], row["root"]
        if not lemma.isalpha() or lemma.endswith(_REFLEXIVE.get(language, " ")):
            continue
        for slot, ending in templates.get(row["template"], ()):
            form = root + ending
            if lemmas.setdefault(form, lemma) != lemma:
                several.add(form)
            slots[form] = slots.get(form, 0) | 1 << slot
    return lemmas, {form: of for form, of in slots.items() if form not in several and form.isalpha()}


def _endings(moods: Any, tenses: Mapping[str, tuple[str, str]]) -> list[tuple[int, str]]:
    """Place in the paradigm and ending of each form of a template."""
    return [
        (_SLOTS.index(("SG" if person < 3 else "PL", str(person % 3 + 1), tense)), ending)
        for tense, (mood, name) in tenses.items()
        for person, ending in moods.get(mood, {}).get(name, ())
        if isinstance(ending, str) and 0 <= person < 6
    ]


def _drawn(slots: Mapping[str, int], count: int) -> list[str]:
    """Forms in the order of drawing: one of each place of the paradigm in turn, by the first that a form has."""
    random = np.random.default_rng(DRAW_SEED)
    groups: dict[tuple[str, str, str], list[str]] = {}
    for form in sorted(slots):
        first = (slots[form] & -slots[form]).bit_length() - 1
        groups.setdefault(_SLOTS[first], []).append(form)
    orders = [[group[i] for i in random.permutation(len(group))] for _, group in sorted(groups.items())]
    turns = (order[turn] for turn in range(max(map(len, orders))) for order in orders if turn < len(order))
    return [form for form, _ in zip(turns, range(count), strict=False)]
