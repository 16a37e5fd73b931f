"""Arena-Hard (Li et al. 2024, arXiv 2406.11939) on disk: questions, a baseline's answers, the judge's instructions.

The folder is that of its repository (``lmarena/arena-hard-auto``): ``data/arena-hard-v0.1`` or ``data/arena-hard-v2.0``
with ``question.jsonl`` and ``model_answer/MODEL.jsonl``, and ``utils/judge_utils.py`` with what the judge is told, of
which only the texts are read.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moecap.data.published import json_lines, parsed
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError

__all__ = ["VERSIONS", "Battle", "Version", "load_arena_hard"]

Version = Literal["v0.1", "v2.0"]
VERSIONS: tuple[Version, ...] = ("v0.1", "v2.0")

REPOSITORY = "lmarena/arena-hard-auto"
INSTRUCTIONS = ("utils/judge_utils.py", "src/arenahard/utils/judge_utils.py")


@dataclass(frozen=True, slots=True)
class Battle:
    """A question with the baseline's answer.

    Attributes:
        id: The question's id.
        category: Its category, by which baseline and instructions are chosen.
        question: Its text.
        baseline: Name of the model that gave the answer against which others are judged.
        answer: That answer.
        instructions: What the judge is told.
    """

    id: str
    category: str
    question: str
    baseline: str
    answer: str
    instructions: str


def load_arena_hard(
    version: Version, data: Path, baseline: str | None = None, instructions: str | None = None
) -> tuple[Battle, ...]:
    """Return the questions of one version in the published order, each with its baseline's answer.

    Args:
        version: Which.
        data: The folder.
        baseline: The baseline's name; ``None`` for the authors'.
        instructions: What the judge is told; ``None`` for the authors' own words.

    Raises:
        NotAvailableError: A file is not in the folder.
        BadInputError: A file is malformed, or the baseline did not answer a question.
    """
    folder = _folder(data, version)
    settings = {} if baseline and instructions else _settings(data)
    battles: list[Battle] = []
    answers: dict[str, dict[str, str]] = {}
    path = _file(folder / "question.jsonl")
    for name, category, question in parsed(json_lines(path), _question(version), "a question of Arena-Hard"):
        own = _setting(settings, category, version) if settings else {}
        model = baseline or own["baseline"]
        if model not in answers:
            answers[model] = _answers(folder, model)
        if name not in answers[model]:
            raise BadInputError(f"{path}: {model} has no answer to {name}; take another --task-arg baseline")
        told = instructions or own["system_prompt"]
        battles.append(Battle(name, category, question, model, answers[model][name], told))
    return tuple(battles)


def _folder(data: Path, version: Version) -> Path:
    name = f"arena-hard-{version}"
    for folder in (data / "data" / name, data / name, data):
        if (folder / "question.jsonl").is_file():
            return folder
    raise NotAvailableError(f"{data} holds no data/{name}/question.jsonl; {REPOSITORY} does")


def _file(path: Path) -> Path:
    if not path.is_file():
        raise NotAvailableError(f"{path}: not there; {REPOSITORY} holds it")
    return path


def _question(version: Version) -> Callable[[int, Mapping[str, Any]], tuple[str, str, str]]:
    """What reads id, category and text of a question."""

    def read(_number: int, row: Mapping[str, Any]) -> tuple[str, str, str]:
        if "prompt" in row:
            return str(row["uid"]), str(row["category"]), str(row["prompt"])
        (turn,) = row["turns"]
        return str(row["question_id"]), f"arena-hard-{version}", str(turn["content"])

    return read


def _answers(folder: Path, model: str) -> dict[str, str]:
    """Each question's answer by one model."""
    path = folder / "model_answer" / f"{model}.jsonl"
    if not path.is_file():
        known = [found.stem for found in (folder / "model_answer").glob("*.jsonl")]
        raise UnknownNameError(f"answers in {folder / 'model_answer'}", model, known)
    return dict(parsed(json_lines(path), _answer, "an answer of Arena-Hard"))


def _answer(_number: int, row: Mapping[str, Any]) -> tuple[str, str]:
    """A question's id and the answer."""
    if "choices" in row:
        return str(row["question_id"]), str(row["choices"][0]["turns"][0]["content"])
    content = row["messages"][-1]["content"]
    return str(row["uid"]), str(content["answer"] if isinstance(content, dict) else content)


def _setting(settings: Mapping[str, Mapping[str, str]], category: str, version: Version) -> Mapping[str, str]:
    for name in (category, f"arena-hard-{version}"):
        if {"baseline", "system_prompt"} <= settings.get(name, {}).keys():
            return settings[name]
    raise BadInputError(f"judge_utils.py: no baseline and instructions for {category}; use the published file")


def _settings(data: Path) -> dict[str, dict[str, str]]:
    """The literal texts of ``JUDGE_SETTINGS``; nothing of the file is executed."""
    path = next((data / place for place in INSTRUCTIONS if (data / place).is_file()), None)
    if path is None:
        raise NotAvailableError(
            f"{data} holds no {INSTRUCTIONS[0]} with the judge's instructions; take the repository's folder, or give "
            "--task-arg baseline=MODEL and --task-arg instructions=FILE"
        )
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); use the published file") from error
    texts: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts[node.targets[0].id] = node.value.value
        elif node.targets[0].id == "JUDGE_SETTINGS" and isinstance(node.value, ast.Dict):
            return {_text(key, texts): _texts(value, texts) for key, value in _pairs(node.value)}
    raise BadInputError(f"{path}: no JUDGE_SETTINGS in it; use the published file")


def _texts(node: ast.expr, texts: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(node, ast.Dict):
        return {}
    return {_text(key, texts): _text(value, texts) for key, value in _pairs(node)}


def _pairs(node: ast.Dict) -> list[tuple[ast.expr, ast.expr]]:
    return [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]


def _text(node: ast.expr, texts: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return texts.get(node.id, "")
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
