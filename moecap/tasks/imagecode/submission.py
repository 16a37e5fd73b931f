"""The file that the leaderboard of ImageCoDe takes: ``{"SET": [place, ...], ...}`` in the order of the descriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from moecap.errors import BadInputError
from moecap.files import write_text
from moecap.tasks.imagecode.questions import Question
from moecap.tasks.imagecode.tables import NO_PICK

__all__ = ["refuse_unwritable", "write_submission"]


def refuse_unwritable(path: Path, *, limited: bool) -> None:
    """Refuse a submission that could not be written, or would not be whole, before anything starts.

    Args:
        path: The file.
        limited: Whether a limit leaves questions out.

    Raises:
        BadInputError: With the reason.
    """
    if limited:
        raise BadInputError(f"--task-arg export={path}: a submission has every description of the split; add --limit 0")
    if not path.parent.is_dir() or path.is_dir():
        raise BadInputError(f"--task-arg export={path}: no file in a folder that is there; name another")


def write_submission(path: Path, asked: Sequence[Question], picks: Mapping[str, int]) -> None:
    """Write the submission; a question without an answer gets place 0, which the leaderboard counts as an answer.

    Args:
        path: The file.
        asked: The questions, all of the split.
        picks: The picked place by the question's id.

    Raises:
        BadInputError: If it cannot be written.
    """
    places: dict[str, list[int]] = {}
    for question in asked:
        places.setdefault(question.set, []).append(max(picks.get(question.id, NO_PICK), 0))
    try:
        write_text(path, json.dumps(places, indent=2) + "\n")
    except OSError as error:
        raise BadInputError(f"--task-arg export={path}: cannot be written ({error.strerror}); name another") from None
