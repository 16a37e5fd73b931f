"""Where the weights and the tokenizer of a run lie, fetched where they are not here yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moecap.errors import BadInputError
from moecap.models.registry import ModelRef
from moecap.tokenizer import Tokenizer

__all__ = ["fetch_checkpoint", "tokenizer_here"]


def fetch_checkpoint(model: ModelRef, say: Callable[[str], None], *, tokenizer_only: bool) -> Path:
    """The folder with the weights and the tokenizer, or with the tokenizer alone where a server has the weights.

    Args:
        model: The model.
        say: Called with lines of progress.
        tokenizer_only: Whether the weights stay where they are.

    Raises:
        BadInputError: If the model is a config.json with nothing beside it.
        NotAvailableError: If the hub does not give it.
    """
    if model.origin == "embedded":
        from moecap.models import embedded

        return embedded.ensure()
    if model.path is not None:
        if model.path.is_dir():
            return model.path
        if not (model.path.parent / "tokenizer.json").exists():
            raise BadInputError(
                f"{model.path}: a config.json without weights cannot be run; give the checkpoint's folder"
            )
        return model.path.parent
    from moecap.models import hub

    return hub.fetch_checkpoint(model.id, model.revision, say, tokenizer_only=tokenizer_only)


def tokenizer_here(model: ModelRef) -> Tokenizer | None:
    """The tokenizer of a model that lies on this machine; ``None`` where its files are not here."""
    if model.origin == "embedded":
        from moecap.models import embedded

        return Tokenizer(embedded.ensure())
    if model.path is None:
        return None
    folder = model.path if model.path.is_dir() else model.path.parent
    return Tokenizer(folder) if (folder / "tokenizer.json").is_file() else None
