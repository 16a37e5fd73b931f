"""Checkpoints from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moecap.errors import NotAvailableError

__all__ = ["fetch_checkpoint"]

FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer*", "*.model", "*.jinja")


def fetch_checkpoint(hub_id: str, revision: str | None, say: Callable[[str], None]) -> Path:
    """Download a checkpoint into the hub's own cache, or find it there.

    Args:
        hub_id: ``org/name``.
        revision: A branch, tag or commit, or ``None``.
        say: Called with a line of progress.

    Returns:
        The folder.

    Raises:
        NotAvailableError: If the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    say(f"fetching {hub_id}")
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotAvailableError(
            f"{hub_id} cannot be fetched from the hub: {reason}; connect, log in where it is gated, "
            "or give a local folder with --model"
        ) from None
