"""A checkpoint's ``tokenizer.json`` as the metadata under which llama.cpp reads a vocabulary.

The backend sends token ids and gets token ids, so the rule by which llama.cpp splits text is used by its text endpoints
alone; a rule that is not recognised becomes llama.cpp's ``default``, and :func:`vocabulary` says so.

Source: llama.cpp, ``src/llama-vocab.cpp`` (names of the rules, kinds of tokens).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError, NotBuiltError

__all__ = ["Vocabulary", "vocabulary"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {_WORDS + r"\p{N}{1,3}" + _REST: "llama-bpe", _WORDS + r"\p{N}" + _REST: "qwen2"}
_SPECIAL = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer.

    Attributes:
        model: ``gpt2`` for byte-level BPE, ``llama`` for SentencePiece's BPE.
        rule: llama.cpp's name of the rule that splits text first.
        tokens: The tokens in the order of their ids, filled up to the model's vocabulary.
        kinds: What each token is.
        merges: The merges, best first.
        scores: A score for each token, for ``llama`` only.
        special: Ids by ``bos``, ``eos``, ``unknown`` and ``padding``, where there are such tokens.
        chat_template: The chat template, or an empty string.
    """

    model: str
    rule: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    scores: list[float]
    special: dict[str, int]
    chat_template: str


def vocabulary(folder: Path, size: int) -> Vocabulary:
    """Read the tokenizer of a checkpoint.

    Args:
        folder: The checkpoint.
        size: Rows of the model's embedding; ids without a token become unused ones.

    Raises:
        BadInputError: If ``tokenizer.json`` is missing or not readable, or has more tokens than the model.
        NotBuiltError: If it is not byte-pair encoding.
    """
    content = _json(folder / "tokenizer.json")
    if content is None:
        raise BadInputError(f"{folder}: no readable tokenizer.json; save the tokenizer beside the weights")
    model = content.get("model") or {}
    if model.get("type") != "BPE":
        raise NotBuiltError(f"{folder.name}: a {model.get('type')} tokenizer cannot be put into a GGUF file yet")
    added = {int(token["id"]): token for token in content.get("added_tokens") or ()}
    by_id = {int(index): text for text, index in model["vocab"].items()}
    by_id |= {index: str(token["content"]) for index, token in added.items()}
    if max(by_id) >= size:
        raise BadInputError(f"{folder}: tokenizer.json has the id {max(by_id)}, the model has {size} rows")
    pieces = bool(model.get("byte_fallback"))
    named = _named(folder)
    config = _json(folder / "config.json") or {}
    found = {key: _id(named.get(name), config.get(f"{name}_id"), by_id) for key, name in _SPECIAL.items()}
    special = {key: index for key, index in found.items() if index is not None}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(size)]
    kinds = [_kind(i, by_id, added, pieces, special.get("unknown")) for i in range(size)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges") or ()]
    return Vocabulary(
        model="llama" if pieces else "gpt2",
        rule="default" if pieces else _rule(content.get("pre_tokenizer")),
        tokens=tokens,
        kinds=kinds,
        # llama.cpp wants a list and the writer knows no empty one; this merge makes no token
        merges=merges or ["\u0120 \u0120"],
        # SentencePiece numbers the pieces of its BPE by falling score
        scores=[-float(i) for i in range(size)] if pieces else [],
        special=special,
        chat_template=str(named.get("chat_template") or _template(folder)),
    )


def _kind(index: int, by_id: Mapping[int, str], added: Mapping[int, Any], pieces: bool, unknown: int | None) -> int:
    if index not in by_id:
        return UNUSED
    if index in added and not (pieces and index == unknown):
        return CONTROL if added[index].get("special") else USER_DEFINED
    if pieces and index == unknown:
        return UNKNOWN
    text = by_id[index]
    return BYTE if pieces and len(text) == 6 and text.startswith("<0x") else NORMAL


def _rule(pre_tokenizer: Any) -> str:
    steps = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    kinds = [step.get("type") for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Split", "ByteLevel"]:
        return _SPLITS.get(str((steps[0].get("pattern") or {}).get("Regex")), "default")
    return "default"


def _named(folder: Path) -> dict[str, Any]:
    return (_json(folder / "special_tokens_map.json") or {}) | (_json(folder / "tokenizer_config.json") or {})


def _id(token: Any, configured: Any, by_id: Mapping[int, str]) -> int | None:
    """The id of a special token by its text, else the one of the model's configuration."""
    text = token.get("content") if isinstance(token, dict) else token
    first = configured[0] if isinstance(configured, list) and configured else configured
    own = first if isinstance(first, int) and first in by_id else None
    return next((index for index, known in by_id.items() if known == text), own)


def _template(folder: Path) -> str:
    file = folder / "chat_template.jinja"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
