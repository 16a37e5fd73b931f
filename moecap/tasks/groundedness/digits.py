"""An experiment whose groundedness is known in closed form: captions of real handwritten digits.

A caption is ``the bold|thin page shows|has a|an DIGIT .``: the adjective and the numeral follow from the picture, the
article from the numeral, the verb from nothing. Had a captioner and a language model learnt all there is to learn, a
word's groundedness would be its surprisal by the frequencies of the captions: what the closed form gives.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.data.digits import load_digits

__all__ = ["CLASSES", "NUMERALS", "Digits", "captioned_digits", "closed_form", "template"]

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASSES = ("DET", "ADJ", "NOUN", "VERB", "DET", "NUM", "PUNCT")
"""The class of each word of a caption."""


@dataclass(frozen=True, slots=True)
class Digits:
    """Pictures with their captions.

    Attributes:
        pictures: Grey values 0 to 1, [pictures, 64].
        captions: The words of each caption, [pictures, 7].
    """

    pictures: npt.NDArray[np.float32]
    captions: tuple[tuple[str, ...], ...]

    def __getitem__(self, part: slice) -> Digits:
        return Digits(self.pictures[part], self.captions[part])

    def __len__(self) -> int:
        return len(self.captions)


def template(digit: int, bold: bool, verb: str) -> tuple[str, ...]:
    """The words of a caption."""
    numeral = NUMERALS[digit]
    return ("the", "bold" if bold else "thin", "page", verb, "an" if numeral == "eight" else "a", numeral, ".")


def captioned_digits(seed: int) -> Digits:
    """The 1,797 digits of 8 by 8 pixels that scikit-learn carries; bold is what has more ink than the median.

    Args:
        seed: Seed with which the verbs are drawn.

    Raises:
        NotAvailableError: If scikit-learn is not installed.
    """
    images, digits = load_digits()
    pictures = images.reshape(len(images), -1)
    ink = pictures.sum(1)
    bold = ink > np.median(ink)
    verbs = np.random.RandomState(seed).randint(0, 2, len(pictures))
    captions = tuple(
        template(int(digit), bool(b), ("has", "shows")[v]) for digit, b, v in zip(digits, bold, verbs, strict=True)
    )
    return Digits(pictures, captions)


def closed_form(train: Sequence[Sequence[str]], test: Sequence[Sequence[str]]) -> npt.NDArray[np.float64]:
    """Groundedness of each word had both models learnt all that the captions hold, nats.

    The captioner knows all but the verb, which the picture does not tell and on which nothing else depends; the
    language model knows how often each word followed those before it, the verb left out.

    Args:
        train: Words of the captions that the models saw.
        test: Words of those to be judged.

    Returns:
        [captions, 7].
    """
    verb = CLASSES.index("VERB")
    seen: Counter[tuple[str, ...]] = Counter()
    for words in train:
        told = [*words[:verb], *words[verb + 1 :]]
        seen.update(tuple(told[:length]) for length in range(len(told) + 1))
    found = np.zeros((len(test), len(CLASSES)))
    for row, words in enumerate(test):
        told = [*words[:verb], *words[verb + 1 :]]
        for place in range(len(told)):
            before, until = seen[tuple(told[:place])], seen[tuple(told[: place + 1])]
            found[row, place + (place >= verb)] = math.log(before) - math.log(until)
    return found
