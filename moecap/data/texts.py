"""Real texts from which prompts of an exact length are cut."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from moecap.errors import BadInputError, UnknownNameError

__all__ = ["TEXT_SETS", "prompt_texts"]

TEXT_SETS = ("arc_easy",)
"""Data sets whose questions serve as prompts."""


def prompt_texts(dataset: str, data: Path | None, seed: int) -> Sequence[str]:
    """Texts in an order drawn at random.

    Args:
        dataset: A name of ``TEXT_SETS``, or a JSONL file with a ``prompt`` field on every line.
        data: Folder with data sets in their published formats, or ``None`` for the cache.
        seed: Seed of the order.

    Raises:
        UsageError: If the data set is unknown, not here or malformed.
    """
    path = Path(dataset)
    if dataset in TEXT_SETS:
        from moecap.data.arc import load_arc

        texts = [q.question + "\n" + "\n".join(q.choices) for q in load_arc("easy", split="test", data=data)]
    elif path.suffix in (".jsonl", ".json") or path.exists():
        texts = _read_prompts(path)
    else:
        raise UnknownNameError("data set of prompts", dataset, TEXT_SETS, "or give a JSONL file with a prompt field")
    random.Random(seed).shuffle(texts)
    return texts


def _read_prompts(path: Path) -> list[str]:
    texts = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
                    raise BadInputError(f"{path} line {number}: no text field named 'prompt'")
                texts.append(row["prompt"])
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read ({error})") from None
    except (json.JSONDecodeError, RecursionError):
        raise BadInputError(f"{path} line {number}: not JSON") from None
    return texts
