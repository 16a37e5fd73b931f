"""A copy of the store in a private dataset repository on the Hugging Face hub, for machines whose disks do not last."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from moecap.errors import BadInputError, MoecapError, NotAvailableError
from moecap.files import file_sha256
from moecap_leaderboard.blobs import WORKPLACES
from moecap_leaderboard.database import open_database
from moecap_leaderboard.settings import Settings
from moecap_leaderboard.snapshot import write_snapshot
from moecap_leaderboard.workplace import Workplace

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

__all__ = ["HubCopy"]

DATABASE = "leaderboard.sqlite"
OBSERVATIONS = "observations"

FILES_AT_ONCE = 500
"""Files of one commit at most, so that one that fails is soon made again."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class HubCopy:
    """The repository, and the store that it keeps a copy of.

    It holds one file of SQLite, as it was at one moment, and every observation file under its SHA-256. The hashes of
    keys and what is rejected are in it, too, so it has to be private.

    Args:
        repository: Its id, ``OWNER/NAME``; it is made at the first saving if need be.
        settings: Where the store is; the database must be a file of SQLite.
        say: Hears what is saved and what fails.

    Raises:
        BadInputError: If the database is not a file of SQLite.
    """

    def __init__(self, repository: str, settings: Settings, say: Callable[[str], None]) -> None:
        from huggingface_hub import HfApi

        url = make_url(settings.database)
        if url.get_backend_name() != "sqlite" or not url.database:
            raise BadInputError("a copy on the hub is of a file of SQLite; save Postgres with pg_dump")
        self.repository, self._say = repository, say
        self._database, self._url, self._folder = Path(url.database), settings.database, settings.data / OBSERVATIONS
        self._hub = HfApi(library_name="moecap")
        self._saved = ""
        self._there: set[str] | None = None

    def restore(self) -> bool:
        """Get the store from the repository, where this machine has none; whether one was got.

        Raises:
            NotAvailableError: If the hub cannot be reached, or what came is not what was saved.
        """
        if self._database.exists():
            return False
        with _hub_errors(f"the leaderboard cannot be restored from {self.repository}"):
            files = self._listed()
            if DATABASE not in files:
                return False
            self._database.parent.mkdir(parents=True, exist_ok=True)
            with Workplace(self._database.parent / WORKPLACES) as place:
                self._hub.snapshot_download(self.repository, repo_type="dataset", local_dir=place)
                for path in sorted((place / OBSERVATIONS).glob("*/*")):
                    if file_sha256(path) != path.name:
                        raise NotAvailableError(f"{path.name} in {self.repository} is damaged; restore an older commit")
                    target = self._folder / path.name[:2] / path.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)
                (place / DATABASE).replace(self._database)  # last, so that a broken restoring begins anew
        self._say(f"restored {len(files)} files from {self.repository}")
        return True

    def save(self) -> int:
        """Put what is new into the repository; the number of files that were.

        Raises:
            NotAvailableError: If the hub cannot be reached or refuses, or the repository is public.
        """
        from huggingface_hub import CommitOperationAdd

        with Workplace(self._database.parent / WORKPLACES) as place:
            snapshot = place / DATABASE
            database = open_database(self._url)
            try:
                write_snapshot(database, snapshot)  # first: the files that it names are in the folder before it is made
            finally:
                database.close()
            digest = file_sha256(snapshot)
            if digest == self._saved:
                return 0
            with _hub_errors(f"the leaderboard cannot be saved to {self.repository}"):
                self._require_private()
                there = self._listed()
                new = [path for path in self._files() if _name(path) not in there]
                for start in range(0, len(new), FILES_AT_ONCE):
                    part = new[start : start + FILES_AT_ONCE]
                    self._commit([CommitOperationAdd(_name(path), path) for path in part], "Observations")
                self._commit([CommitOperationAdd(DATABASE, snapshot)], "The store")
                self._there = there | {_name(path) for path in new} | {DATABASE}
            self._saved = digest
        return len(new) + 1

    @contextmanager
    def saving(self, seconds: float) -> Iterator[None]:
        """Save every so many seconds during a block, and once more at its end; what fails is told and tried again."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(seconds):
                self._try()

        thread = threading.Thread(target=run, name="hub-copy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._try()

    def _try(self) -> None:
        try:
            if count := self.save():
                self._say(f"saved {count} new files to {self.repository}")
        except MoecapError as error:
            self._say(str(error))

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*/*") if _DIGEST.fullmatch(path.name))

    def _listed(self) -> set[str]:
        """Names of the files in the repository; none where there is no repository yet."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        if self._there is None:
            try:
                self._there = set(self._hub.list_repo_files(self.repository, repo_type="dataset"))
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return set()
        return self._there

    def _require_private(self) -> None:
        self._hub.create_repo(self.repository, repo_type="dataset", private=True, exist_ok=True)
        if not self._hub.dataset_info(self.repository).private:
            raise NotAvailableError(
                f"the dataset {self.repository} is public, and the store holds hashes of keys; make it private"
            )

    def _commit(self, operations: list[CommitOperationAdd], what: str) -> None:
        self._hub.create_commit(
            self.repository, operations, commit_message=f"{what}: {len(operations)} files", repo_type="dataset"
        )


def _name(path: Path) -> str:
    return f"{OBSERVATIONS}/{path.parent.name}/{path.name}"


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line."""
    try:
        yield
    except MoecapError:
        raise
    except Exception as error:  # the hub's client and its transport raise many kinds
        reason = (str(error).strip().splitlines() or [""])[0]
        raise NotAvailableError(
            f"{what} ({type(error).__name__}: {reason:.200}); check HF_TOKEN, the repository and the network"
        ) from None
