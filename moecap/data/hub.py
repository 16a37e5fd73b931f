"""Data sets on the Hugging Face hub: the files of one commit, in the hub's own cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moecap.data.download import downloads_allowed
from moecap.errors import NotAvailableError
from moecap.models.hub import reaches

__all__ = ["HubFiles", "hub_answers", "hub_folder"]


@dataclass(frozen=True, slots=True)
class HubFiles:
    """What of a data set on the hub is used.

    Attributes:
        repository: Its identifier there, ``ORG/NAME``.
        patterns: Which of its files, as glob patterns.
    """

    repository: str
    patterns: tuple[str, ...]


def hub_answers() -> bool:
    """Whether the hub may be asked and answers at all, asked once: its client would retry for half a minute."""
    from huggingface_hub import constants

    return downloads_allowed() and reaches(constants.ENDPOINT)


def hub_folder(files: HubFiles, revision: str | None, say: Callable[[str], None]) -> Path:
    """Fetch files of a data set, or find them in the hub's cache where the hub cannot be reached.

    Args:
        files: Which.
        revision: A branch, tag or commit; ``None`` for the main branch.
        say: Called with a line of progress.

    Returns:
        The folder, whose name is the commit.

    Raises:
        NotAvailableError: If they are in neither, or the hub refuses.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = files.repository
    online = hub_answers()
    if online:
        say(f"fetching {name} from the hub")
    try:
        return Path(
            snapshot_download(
                name,
                repo_type="dataset",
                revision=revision,
                allow_patterns=list(files.patterns),
                local_files_only=not online,
            )
        )
    except GatedRepoError:
        reason = "is gated on the hub; accept its terms there and log in with `hf auth login`"
    except RepositoryNotFoundError:
        reason = "is not on the hub; give its folder with --data DIR"
    except RevisionNotFoundError:
        reason = f"has no revision {revision!a} on the hub; give a branch, tag or commit that it has"
    except LocalEntryNotFoundError:
        why = "the hub cannot be reached" if downloads_allowed() else "nothing is to be fetched"
        reason = f"is in no package and not in the hub's cache, and {why}; connect, or give its folder with --data DIR"
    except Exception as error:  # the hub's client and its transport raise many kinds
        reason = f"could not be had from the hub ({type(error).__name__}); connect, or give its folder with --data DIR"
    raise NotAvailableError(f"the data set {name} {reason}")
