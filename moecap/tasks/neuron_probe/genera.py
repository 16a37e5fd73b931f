"""Genera of languages: two languages of a genus are close relatives."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml

__all__ = ["genus_of"]


def genus_of(language: str) -> str | None:
    """The genus of a language by the first part of its code (``pt`` of ``pt_br``); ``None`` where it is not known."""
    return _genera().get(language.replace("-", "_").partition("_")[0].lower())


@cache
def _genera() -> dict[str, str]:
    text = files("moecap.tasks.neuron_probe").joinpath("genera.yaml").read_text(encoding="utf-8")
    genera: dict[str, list[str]] = yaml.safe_load(text)
    return {code: genus for genus, codes in genera.items() for code in codes}
