"""A tiny mixture whose tokens are bytes, open in this process, and a file in QuALITY's format."""

import json
import shutil

import pytest

from moecap.backend import EngineJob
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap_backends.transformers import TransformersEngine

STORY = (
    "Ada keeps nine geese behind the mill. Her brother Tom sells their eggs in Lund on Fridays. "
    "One winter the river froze, and the geese walked to the island."
)
QUESTIONS = [
    ("How many geese does Ada keep?", ["Nine", "Four", "Two", "None"], 1),
    ("Where are the eggs sold?", ["In Oslo", "In Lund", "At home", "Nowhere"], 2),
]


@pytest.fixture(scope="session")
def story():
    """The text of the articles."""
    return STORY


@pytest.fixture(scope="session")
def byte_model(tiny_model, byte_tokenizer, tmp_path_factory):
    """The folder of a tiny Mixtral of 8 experts."""
    folder = tmp_path_factory.mktemp("bytes") / "tiny-mixtral"
    shutil.copytree(tiny_model("mixtral"), folder)
    shutil.copy(byte_tokenizer.folder / "tokenizer.json", folder / "tokenizer.json")
    for name in ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="module")
def engine(byte_model):
    spec = read_model(read_config_file(byte_model / "config.json"), "tiny", weights="fp32", kv="fp32")
    with TransformersEngine(EngineJob(byte_model, spec, "cpu", "fp32", 1, 0, {}, lambda _line: None)) as engine:
        yield engine


def _article(number, questions=QUESTIONS, text=STORY):
    """A line of QuALITY's file."""
    rows = [
        {"question": question, "question_unique_id": f"{number}_{i}", "options": options, "gold_label": label}
        for i, (question, options, label) in enumerate(questions)
    ]
    return {"article_id": str(number), "title": f"Story {number}", "article": text, "questions": rows}


@pytest.fixture(scope="session")
def quality_file(tmp_path_factory):
    """Three articles, the third of them of another text."""
    path = tmp_path_factory.mktemp("quality") / "QuALITY.v1.0.1.htmlstripped.dev"
    third = _article(3, text=STORY.replace("nine", "four").replace("Lund", "Oslo"))
    path.write_text("".join(json.dumps(row) + "\n" for row in (_article(1), _article(2), third)))
    return path
