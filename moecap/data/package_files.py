"""What is used of one version of a package of the Python index, with the checksums that it must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PackageFiles"]


@dataclass(frozen=True, slots=True)
class PackageFiles:
    """Some files of one version of a package.

    Attributes:
        package: The package's name in the index.
        version: The exact version.
        archive: The file name of its wheel or sdist; of a wheel for one platform only its data can be used elsewhere.
        archive_bytes: The archive's size in bytes.
        archive_sha256: The archive's SHA-256 in hexadecimal.
        members: Path within the archive to SHA-256, of each file that is used.
        licence: The licence of these files, as their publisher states it.
        keep_archive: Whether the archive stays in the cache, for the files that are asked for later.
    """

    package: str
    version: str
    archive: str
    archive_bytes: int
    archive_sha256: str
    members: Mapping[str, str]
    licence: str
    keep_archive: bool = False

    @property
    def tags(self) -> tuple[str, str, str] | None:
        """Python, ABI and platform of a wheel that is not for all of them (PEP 425), the last of several each."""
        python, abi, platform = self.archive.removesuffix(".whl").split("-")[-3:]
        if not self.archive.endswith(".whl") or (abi, platform) == ("none", "any"):
            return None
        return python.split(".")[-1], abi.split(".")[-1], platform.split(".")[-1]

    @property
    def name(self) -> str:
        """The cache entry of the files."""
        return f"packages/{self.package}-{self.version}"
