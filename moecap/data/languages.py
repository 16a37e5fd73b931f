"""Languages by their code of ISO 639-3, with the genus that groups them and the code of two letters, if there is one.

The sixteen of SIGTYP 2021 have the groups of the shared task; the others have the genera of the World Atlas of Language
Structures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from moecap.errors import BadInputError

__all__ = ["LANGUAGES", "SIGTYP16", "Language", "language_named", "language_of"]


class Language(NamedTuple):
    """A language.

    Attributes:
        code: Three letters (ISO 639-3).
        short: Two letters (ISO 639-1); empty where there are none.
        name: Its English name.
        family: The genus to which it belongs.
    """

    code: str
    short: str
    name: str
    family: str


SIGTYP16 = tuple("kab ind sun jav eus tam kan tel hin por rus eng mar tha iba cnh".split())
"""The languages of the shared task, in the order of its page."""

_ALL = (
    Language("ara", "ar", "Arabic", "Semitic"),
    Language("bel", "be", "Belarusian", "Slavic"),
    Language("bul", "bg", "Bulgarian", "Slavic"),
    Language("cat", "ca", "Catalan", "Romance"),
    Language("ces", "cs", "Czech", "Slavic"),
    Language("cnh", "", "Hakha Chin", "Kuki-Chin"),
    Language("dan", "da", "Danish", "Germanic"),
    Language("deu", "de", "German", "Germanic"),
    Language("ell", "el", "Greek", "Greek"),
    Language("eng", "en", "English", "Germanic"),
    Language("eus", "eu", "Basque", "Basque"),
    Language("fra", "fr", "French", "Romance"),
    Language("heb", "he", "Hebrew", "Semitic"),
    Language("hin", "hi", "Hindi", "Indic"),
    Language("hun", "hu", "Hungarian", "Ugric"),
    Language("iba", "", "Iban", "Malayo-Sumbawan"),
    Language("ind", "id", "Indonesian", "Malayo-Sumbawan"),
    Language("ita", "it", "Italian", "Romance"),
    Language("jav", "jv", "Javanese", "Javanese"),
    Language("kab", "", "Kabyle", "Berber"),
    Language("kan", "kn", "Kannada", "Dravidian"),
    Language("lit", "lt", "Lithuanian", "Baltic"),
    Language("mal", "ml", "Malayalam", "Dravidian"),
    Language("mar", "mr", "Marathi", "Indic"),
    Language("nds", "", "Low German", "Germanic"),
    Language("nld", "nl", "Dutch", "Germanic"),
    Language("nob", "nb", "Norwegian", "Germanic"),
    Language("por", "pt", "Portuguese", "Romance"),
    Language("ron", "ro", "Romanian", "Romance"),
    Language("rus", "ru", "Russian", "Slavic"),
    Language("spa", "es", "Spanish", "Romance"),
    Language("sun", "su", "Sundanese", "Malayo-Sumbawan"),
    Language("tam", "ta", "Tamil", "Dravidian"),
    Language("tel", "te", "Telugu", "Dravidian"),
    Language("tha", "th", "Thai", "Kam-Tai"),
    Language("tsn", "tn", "Tswana", "Bantoid"),
    Language("ukr", "uk", "Ukrainian", "Slavic"),
)

LANGUAGES: Mapping[str, Language] = {language.code: language for language in _ALL}
"""Every language by its code of three letters."""

_BY_SHORT = {language.short: language for language in _ALL if language.short}


def language_of(short: str) -> str | None:
    """The code of three letters to a folder's or a file's name such as ``pt_BR`` or ``nds``; ``None`` if unknown."""
    bare = short.partition("_")[0]
    found = LANGUAGES.get(bare) or _BY_SHORT.get(bare)
    return None if found is None else found.code


def language_named(code: str, where: str, known: tuple[str, ...] = ()) -> str:
    """A code that a file gives, if it is one of three letters.

    Args:
        code: What the file says.
        where: File and line.
        known: The codes that can be; all of three small letters if empty.

    Raises:
        BadInputError: If it is another one; for one of two letters the code that is meant is named.
    """
    if code in known or (not known and len(code) == 3 and code.isascii() and code.isalpha() and code.islower()):
        return code
    meant = _BY_SHORT.get(code.lower(), LANGUAGES.get(code.lower()))
    if meant is not None and (not known or meant.code in known):
        hint = f"did you mean {meant.code}?"
    elif known:
        hint = f"known here: {', '.join(known)}"
    else:
        hint = "give three letters of ISO 639-3"
    raise BadInputError(f"{where}: no language {code!r}; {hint}")
