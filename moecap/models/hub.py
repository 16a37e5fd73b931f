"""A model on the Hugging Face hub: its ``config.json``, and its whole checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moecap.errors import NotAvailableError

__all__ = ["HubModelMissingError", "fetch_checkpoint", "fetch_config", "reaches"]

CHECKPOINT_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer*", "*.model", "*.jinja")

_PATIENCE_S = 10.0


class HubModelMissingError(Exception):
    """The hub has no public model of this id."""


def fetch_config(hub_id: str, revision: str | None) -> Path:
    """Fetch the configuration of a model, from the local cache where the hub cannot be reached.

    Args:
        hub_id: ``org/name``.
        revision: A branch, tag or commit; ``None`` for the main branch.

    Returns:
        The file in the hub's own cache.

    Raises:
        HubModelMissingError: If the hub has no such model.
        NotAvailableError: If it cannot be reached, or does not give the file.
    """
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        offline = not reaches(hf_hub_url(hub_id, "config.json"))
        path = hf_hub_download(hub_id, "config.json", revision=revision, local_files_only=offline)
    except GatedRepoError:
        reason = "is gated; accept its terms on the hub and log in with `hf auth login`"
    except (HFValidationError, RepositoryNotFoundError):
        raise HubModelMissingError(hub_id) from None
    except RevisionNotFoundError:
        reason = f"has no revision {revision!a} on the hub; give a branch, tag or commit that it has"
    except LocalEntryNotFoundError:
        reason = "is not in the local cache and the hub cannot be reached; connect or give a local folder"
    except EntryNotFoundError:
        reason = "has no config.json on the hub; give a model in the format of transformers"
    except Exception as error:  # the hub's client and its transport raise many kinds
        reason = f"could not be had from the hub ({type(error).__name__}); connect or give a local folder"
    else:
        return Path(path)
    raise NotAvailableError(f"the model {hub_id!a:.100} {reason}")


def fetch_checkpoint(
    hub_id: str, revision: str | None, say: Callable[[str], None], *, tokenizer_only: bool = False
) -> Path:
    """Download a checkpoint into the hub's own cache, or find it there.

    Args:
        hub_id: ``org/name``.
        revision: A branch, tag or commit; ``None`` for the main branch.
        say: Called with a line of progress.
        tokenizer_only: Fetch the tokenizer and the configuration, for a server elsewhere that has the weights.

    Returns:
        The folder.

    Raises:
        NotAvailableError: If the hub cannot be reached or refuses.
    """
    from huggingface_hub import hf_hub_url, snapshot_download

    say(f"fetching {hub_id}")
    try:
        offline = not reaches(hf_hub_url(hub_id, "config.json"))
        patterns = [p for p in CHECKPOINT_FILES if not (tokenizer_only and "safetensors" in p)]
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns, local_files_only=offline))
    except Exception as error:  # the hub's client and its transport raise many kinds
        reason = (str(error).strip().splitlines() or [""])[0]
        raise NotAvailableError(
            f"the weights of {hub_id!a:.100} could not be had from the hub ({type(error).__name__}: {reason:.200}); "
            "connect, log in where it is gated, or give a local folder with --model"
        ) from None


def reaches(url: str) -> bool:
    """Whether the hub answers at all, asked once: its client would retry for half a minute."""
    from huggingface_hub import get_session

    try:
        get_session().head(url, timeout=_PATIENCE_S)
    except Exception:  # offline mode, no name, no route, no answer: all the same here
        return False
    return True
