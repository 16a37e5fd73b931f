"""ImageCoDe as it is released: descriptions in JSON, images in a folder for each set (Krojer et al. 2022).

``train_data.json`` and ``valid_data.json`` are ``{"SET": {"PLACE": "description", ...}, ...}``, where PLACE, from 0 to
9, is that of the image that is meant; ``test_data_unlabeled.json`` is ``{"SET": ["description", ...], ...}``. The
images are ``SET/imgN.jpg``, ten of them, in the order of the number N, which is that of the frame in a video.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.strict_json import refuse_swelling_text
from moecap.yaml_bounds import refuse_yaml_bomb

__all__ = [
    "SPLITS",
    "Description",
    "descriptions",
    "image_files",
    "is_static",
    "place_of",
    "set_source",
    "split_file",
    "tags_of",
]

SPLITS: Mapping[str, str] = {
    "train": "train_data.json",
    "valid": "valid_data.json",
    "test": "test_data_unlabeled.json",
}
IMAGES = 10

_TAG = re.compile(r"[a-z0-9]{1,20}")
_STATIC = "open-images"
_SOURCES = ("MSR-VTT", "video-storytelling", "YouCook", _STATIC)
_IMAGE = re.compile(r"img(\d+)\.jpg")
_FOLDERS = ("", "image-sets", "data", "data/image-sets", "image-sets/image-sets")


class Description(NamedTuple):
    """A description of one image of a set.

    Attributes:
        set: Name of the set.
        key: Its name in the set: the place of the image that is meant, or its number in a list without labels.
        text: What it says.
        gold: The place that is meant; ``None`` where the file does not tell.
    """

    set: str
    key: str
    text: str
    gold: int | None


def is_static(name: str) -> bool:
    """Whether the images of a set are no frames of one video."""
    return _STATIC in name


def set_source(name: str) -> str:
    """The collection from which a set comes."""
    return next((source for source in _SOURCES if source in name), "other")


def descriptions(path: Path) -> list[Description]:
    """The descriptions of a file, in its order.

    Args:
        path: The file.

    Raises:
        NotAvailableError: If it is not there.
        BadInputError: If it is not in the format; file and line are named.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadInputError(f"{path} is no plain file; fetch it again")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotAvailableError(f"{path}: no such file; --data DIR is the folder of ImageCoDe's JSON files") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read ({error}); fetch it again") from None
    content = _parsed(path, text)
    found: list[Description] = []
    for name, said in content.items():
        where = f"{path}, line {_line(text, name)}"
        if isinstance(said, list):
            pairs = [(str(number), line) for number, line in enumerate(said)]
        elif isinstance(said, dict):
            pairs = list(said.items())
        else:
            raise BadInputError(f"{where}: {name!r} holds neither an object nor a list of descriptions; fetch it again")
        for key, line in pairs:
            if not isinstance(line, str) or not line.strip():
                raise BadInputError(f"{where}: description {key!r} of {name!r} is no text; fetch it again")
            gold = place_of(key, where) if isinstance(said, dict) else None
            found.append(Description(name, key, line.strip(), gold))
    if not found:
        raise BadInputError(f"{path}: no description in it; fetch it again")
    return found


def split_file(folder: Path, split: str) -> Path:
    """The file of a split in a folder, or in its folder ``data``.

    Raises:
        UnknownNameError: If there is no such split.
    """
    if split not in SPLITS:
        raise UnknownNameError("split of ImageCoDe", split, SPLITS)
    places = [folder / SPLITS[split], folder / "data" / SPLITS[split]]
    return next((path for path in places if path.is_file()), places[0])


def place_of(key: str, where: str) -> int:
    """The place that a key of a set is, from 0 to 9.

    Raises:
        BadInputError: If it is none.
    """
    if not (key.isascii() and key.isdecimal() and int(key) < IMAGES):
        raise BadInputError(f"{where}: {key!r} is no place from 0 to {IMAGES - 1}; fetch it again")
    return int(key)


def image_files(folder: Path, name: str) -> list[Path]:
    """The ten images of a set, in the order of the numbers in their names.

    Args:
        folder: A folder of sets, or one in which they lie in ``image-sets``, ``data`` or both.
        name: The set.

    Raises:
        BadInputError: If the set is not there, has not ten images, or one has another name.
    """
    place = next((folder / part / name for part in _FOLDERS if (folder / part / name).is_dir()), None)
    if place is None:
        raise BadInputError(f"{folder} has no set {name}; unpack image-sets.zip there (Zenodo 6518944)")
    numbered: dict[int, Path] = {}
    for path in place.iterdir():
        if path.suffix.lower() != ".jpg":
            continue
        found = _IMAGE.fullmatch(path.name)
        if found is None:
            raise BadInputError(f"{path}: not imgN.jpg with a number N; fetch it again")
        if int(found[1]) in numbered:
            raise BadInputError(f"{path} and {numbered[int(found[1])].name} have the same number; fetch them again")
        numbered[int(found[1])] = path
    if len(numbered) != IMAGES:
        raise BadInputError(f"{place} has {len(numbered)} images imgN.jpg, not {IMAGES}; fetch it again")
    return [numbered[number] for number in sorted(numbered)]


def tags_of(path: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """The phenomena that annotators found in each description, by set and key, out of ``manual_annotation_valid.yaml``.

    Raises:
        NotAvailableError: If the file is not there.
        BadInputError: If it is not in the format; file and line are named.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadInputError(f"{path} is no plain file; give ImageCoDe's annotations")
        text = path.read_text(encoding="utf-8")
        refuse_yaml_bomb(text, yaml.CSafeLoader)
        content = yaml.load(text, yaml.CSafeLoader)
    except OSError as error:
        raise NotAvailableError(f"{path} cannot be read ({error.strerror}); give ImageCoDe's annotations") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise BadInputError(f"{path}{line}: not YAML; fetch it again") from None
    found = {}
    try:
        for name, of_set in content.items():
            for key, entry in of_set.items():
                tags = [tag.strip() for tag in str(entry["annotation"] or "").split(",") if tag.strip()]
                if wrong := [tag for tag in tags if not _TAG.fullmatch(tag)]:
                    number = text.count("\n", 0, max(text.find(str(name)), 0)) + 1
                    raise BadInputError(
                        f"{path}, line {number}: tag {wrong[0]!r} of {key} in {name!r} is not of small letters and "
                        "digits, 20 at most; write it so"
                    )
                found[str(name), str(key)] = tuple(dict.fromkeys(tags))
    except (AttributeError, KeyError, TypeError):
        raise BadInputError(
            f"{path}: not SET: PLACE: annotation: TAG,TAG, as ImageCoDe's annotations are; fetch it again"
        ) from None
    return found


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        refuse_swelling_text(text)
        content = json.loads(text, object_pairs_hook=_unrepeated(path, text))
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}, line {error.lineno}: not JSON ({error.msg}); fetch it again") from None
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: not JSON ({error}); fetch it again") from None
    if not isinstance(content, dict):
        raise BadInputError(f"{path}, line 1: no object of sets; fetch it again")
    return content


def _unrepeated(path: Path, text: str) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                at = f"{path}, line {_line(text, name, last=True)}"
                raise BadInputError(f"{at}: {name!r} comes twice; leave one out")
            found[name] = value
        return found

    return made


def _line(text: str, name: str, *, last: bool = False) -> int:
    """The line on which a name stands."""
    quoted = json.dumps(name, ensure_ascii=False)
    place = text.rfind(quoted) if last else text.find(quoted)
    return text.count("\n", 0, max(place, 0)) + 1
